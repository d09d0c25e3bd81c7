"""What the run of an adapter says: its configuration and its report, where they lie beside the adapter."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from shuhari.envs.validation import first_line
from shuhari.loops.export.destination import CannotExportError
from shuhari.policy.base_source import HUB_ID, BaseNotFoundError, find_base

PATH = re.compile(r"(?<![\w.:/~<])~?(?:/[\w.+@%=-]+)+/?")  # an absolute one, or one of the home folder


@dataclass(frozen=True)
class RunFacts:
    """Of one adapter. player: its name in the report; written_base: where it says that its base lies; config,
    report: {} where there is none."""

    player: str
    written_base: str
    config: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def policy(self) -> dict[str, Any]:
        """The configuration's `policy`."""
        return dict(self.config.get("policy") or {})


def read_run(adapter: Path) -> RunFacts:
    """What lies around an adapter's folder. Raises CannotExportError for no adapter, and what is damaged."""
    if not (adapter / "adapter_config.json").is_file():
        held = sorted(path.name for path in adapter.glob("adapter-*") if path.is_dir())
        remedy = f"give one of it: {', '.join(held)}" if held else "give an adapter's folder"
        raise CannotExportError(f"{adapter}: no adapter_config.json there; {remedy}")
    folder, player = adapter.resolve().parent, adapter.resolve().name.removeprefix("adapter-")
    written, config, report = adapter / "adapter_config.json", folder / "config.yaml", folder / "report.json"
    facts: dict[str, Any] = {}
    which = written
    try:
        facts["written_base"] = str(json.loads(written.read_text())["base_model_name_or_path"])
        if (which := config).is_file():
            facts["config"] = dict(OmegaConf.to_container(OmegaConf.load(config)))  # type: ignore[arg-type]
        if (which := report).is_file():
            facts["report"] = dict(json.loads(report.read_text(encoding="utf-8")))
    except Exception as error:  # YAML, OmegaConf and JSON have unrelated ways to say "not this"
        raise CannotExportError(f"{which}: is damaged ({first_line(error)[:160]})") from None
    return RunFacts(player, **facts)


def base_of(run: RunFacts) -> str:
    """The base of an adapter: as its run calls it, else where the adapter says that it lies."""
    if called := str(run.policy.get("base") or ""):
        try:
            find_base(called)
        except BaseNotFoundError:
            return run.written_base
    return called or run.written_base


def public_name(base: str) -> str:
    """A base's name for others: a hub's id whole, else the last part of its path."""
    return base if HUB_ID.fullmatch(base) and not Path(base).exists() else Path(base).name


def without_paths(text: str) -> str:
    """The text with each path of this machine cut to its last part."""
    return PATH.sub(lambda found: Path(found[0]).name, text)
