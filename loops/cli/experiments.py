"""The experiments that `experiment=NAME` finds: ours, and those of installed plug-ins.

A plug-in's experiments lie in `conf/experiment/` of its package: of the one that its entry point in the group
`shuhari.envs` names.
"""

from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

OURS = Path(__file__).parents[1] / "conf"


def plugin_folders() -> dict[str, Path]:
    """By the name of each plug-in's package, its folder `conf`, where it has one. Imports none of them."""
    found = dict[str, Path]()
    for entry in entry_points(group="shuhari.envs"):
        package = entry.module.partition(".")[0]
        try:
            spec = find_spec(package)
        except (ImportError, ValueError):  # `load_plugins` says what is wrong with it
            continue
        for place in (spec and spec.submodule_search_locations) or ():
            if (folder := Path(place, "conf")).is_dir():
                found.setdefault(package, folder)
    return found


def experiments() -> dict[str, Path]:
    """The file of every experiment, by its name. Of one name, ours comes first, as it does for Hydra."""
    folders = [*reversed(plugin_folders().values()), OURS]
    return {path.stem: path for folder in folders for path in sorted((folder / "experiment").glob("*.yaml"))}
