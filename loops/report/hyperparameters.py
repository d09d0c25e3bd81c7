"""What TensorBoard's HPARAMS page compares runs by: the configuration's single values, and the latest skill.

They are a run of events of their own, with no other scalar and without a list of columns: then TensorBoard
makes the columns itself, and puts those first in which runs differ.
"""

from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard.summary import hparams

FOLDER, TAG = "hparams", "final/skill"
LEFT_OUT = ("resume", "out", "only")  # where a run is, and not what it is


def single_values(config: Mapping[str, Any]) -> dict[str, float | str]:
    """Numbers and words of a configuration by their keys, with dots; switches and lists as text."""
    found: dict[str, float | str] = {}
    for key, value in config.items():
        if type(value) is dict:
            found |= {f"{key}.{name}": x for name, x in single_values(value).items()}
        elif value is not None and key not in LEFT_OUT:
            found[key] = value if type(value) in (int, float, str) else str(value)
    return found


def as_summary(config: Mapping[str, Any]) -> Any:
    """The event that begins a session, as the page calls a run."""
    _, beginning, _ = hparams(single_values(config), {})  # type: ignore[no-untyped-call]
    return beginning
