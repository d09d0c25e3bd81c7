"""A run's folder: configuration, checkpoints, and how a stopped run goes on."""

import os
import pickle
import platform
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.utils.deterministic
from omegaconf import OmegaConf
from rich.console import Console

from shuhari.envs.validation import first_line
from shuhari.loops import health_table
from shuhari.loops.config import TrainConfig, stored_config
from shuhari.loops.distributed import SINGLE_PROCESS, Ranks, launcher
from shuhari.loops.rank_failure import Interrupted
from shuhari.loops.report.progress import working

PACKAGES = ("shuhari", "torch", "transformers", "peft", "gymnasium", "open_spiel", "numpy")
CHECKPOINT = 6  # the version of its form


@dataclass
class Progress:
    """How far a run is; all of it is in the checkpoint."""

    finished: list[str] = field(default_factory=list)  # phases
    phases: list[dict[str, Any]] = field(default_factory=list)  # what each has consumed
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # of phases that could teach nothing
    updates: int = 0  # by finished phases
    seconds: float = 0.0
    replays: dict[str, list[Any]] = field(default_factory=dict)  # of phases, for later ones to start with

    def close(self, summary: dict[str, Any], failures: list[str]) -> None:
        """The phase under way has ended: what it has consumed, and why it taught nothing, if it did not."""
        self.failures += failures
        self.finished.append(summary["name"])
        self.phases.append(summary)
        self.updates += summary["updates"]

    def found(self) -> dict[str, Any]:
        """What the report says of it. A phase's health stands in a block of its own."""
        health = health_table.summary(self.phases)
        phases = [{k: v for k, v in phase.items() if k != "health"} for phase in self.phases]
        ended = {"ended": self.finished, "phases": phases}  # also those with nothing to learn from
        return ended | {"health": health, "notes": self.notes, "failures": self.failures}


class Run:
    """`runs/<experiment>/<time>/`, newly made or taken up again. Of several ranks the first writes there."""

    def __init__(self, folder: Path, cfg: TrainConfig, ranks: Ranks = SINGLE_PROCESS) -> None:
        self.folder, self.cfg, self.ranks = folder, cfg, ranks
        self._asked = False

    @classmethod
    def create(cls, cfg: TrainConfig, ranks: Ranks = SINGLE_PROCESS) -> "Run":
        """Make the folder and write the configuration. Raises ValueError where that cannot be written."""
        return cls(ranks.gather(cls._make_folder(cfg) if ranks.first else None)[0], cfg, ranks)

    @staticmethod
    def _make_folder(cfg: TrainConfig) -> Path:
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        for attempt in range(1000):
            folder = Path(cfg.out) / cfg.name / (f"{stamp}_{attempt}" if attempt else stamp)
            try:
                folder.mkdir(parents=True)
                (folder / "config.yaml").write_text(OmegaConf.to_yaml(asdict(cfg)))
            except FileExistsError:
                if (Path(cfg.out) / cfg.name).is_dir():
                    continue  # two runs in one second
                raise ValueError(f"out={cfg.out}: is not a folder; choose another with out=PATH") from None
            except OSError as error:
                raise ValueError(
                    f"out={cfg.out}: cannot be written ({error.strerror}); choose another with out=PATH"
                ) from None
            return folder
        raise ValueError(f"out={cfg.out}: no free name left for {stamp}")

    @classmethod
    def resume(cls, folder: Path, ranks: Ranks = SINGLE_PROCESS) -> "Run":
        """Take up a stopped run with its own configuration. Raises ValueError where there is none."""
        if not (folder / "config.yaml").is_file():
            raise ValueError(f"resume={folder}: no config.yaml there; give the folder of a run")
        if not (folder / "checkpoint.pt").is_file():
            raise ValueError(f"resume={folder}: no checkpoint there, it stopped too early; start it anew")
        try:
            stored: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
            cfg = stored_config(stored)
        except Exception as error:  # YAML and OmegaConf have a dozen unrelated ways to say "not this"
            reason = first_line(error)
            raise ValueError(
                f"resume={folder}: config.yaml is damaged or another version's ({reason})"
            ) from None
        return cls(folder, cfg, ranks)

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint; a crash in the middle leaves the one before.

        Raises TypeError for a state that `load` could not read, as one with NumPy's numbers: now, and not
        when somebody needs it.
        """
        if not self.ranks.first:
            return
        partial = self.folder / "checkpoint.partial"
        torch.save(state | {"version": CHECKPOINT, "ranks": self.ranks.size}, partial)
        try:
            torch.load(partial, map_location="cpu", weights_only=True, mmap=True)  # no tensor is read
        except pickle.UnpicklingError as error:
            raise TypeError(f"{partial}: no resume could read this: {first_line(error)}") from None
        os.replace(partial, self.folder / "checkpoint.pt")

    def load(self) -> dict[str, Any]:
        """The last checkpoint, in main memory. Raises ValueError where it is damaged or another's."""
        try:
            state: dict[str, Any] = torch.load(
                self.folder / "checkpoint.pt", map_location="cpu", weights_only=True
            )
            found = state.get("version", 1)
        except Exception as error:  # torch.load raises whatever its unpickler happened to meet
            raise ValueError(
                f"resume={self.folder}: checkpoint.pt is damaged ({type(error).__name__})"
            ) from None
        if found != CHECKPOINT:
            raise ValueError(
                f"resume={self.folder}: checkpoint.pt has version {found}, this program writes {CHECKPOINT}; "
                "go on with the program that began it, or start anew from adapter=FOLDER"
            )
        if (ranks := state.get("ranks", 1)) != self.ranks.size:
            raise ValueError(
                f"resume={self.folder}: is a run of {ranks} process{'es' * (ranks > 1)}, and another number "
                f"adds in another order; go on with: {self.command(ranks)}"
            )
        return state

    def command(self, ranks: int | None = None) -> str:
        """How the run goes on, with as many ranks as there are, or `ranks`."""
        return f"{launcher(ranks or self.ranks.size)} train resume={self.folder}"

    @property
    def way_on(self) -> str:
        """What to do once it has stopped."""
        saved = (self.folder / "checkpoint.pt").is_file()
        return f"go on with: {self.command()}" if saved else "it had no checkpoint yet: start it anew"

    def asked_to_stop(self) -> bool:
        """Whether some rank was asked to; all ask this at once."""
        return self.ranks.any_rank(self._asked)

    @contextmanager
    def working(self, console: Console, text: str) -> Iterator[None]:
        """Say what is being done. Whoever has asked to stop by then is heard before: it can be done anew."""
        if self.asked_to_stop():
            raise Interrupted(f"stopped before {text}")
        with working(console, text):
            yield

    def __enter__(self) -> "Run":
        """From here on Ctrl-C asks to stop after the current step; a second one stops at once."""
        self._previous = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.ranks.check()  # torchrun's signal that a rank is lost: nothing can be saved any more
        if self.ranks.size > 1:  # each may be sent it by the terminal, and again by torchrun
            once_more = ""
        elif self._asked:
            raise KeyboardInterrupt
        else:
            once_more = " (once more to stop at once)"
        if not self._asked:
            print(f"\nstopping after the current step{once_more}", file=sys.stderr)
        self._asked = True


def prepare_torch(threads: int) -> None:
    """So many threads, and one result a seed."""
    torch.set_num_threads(threads)
    # Numbers below 1e-38 can make a backward pass twice as slow, and say nothing.
    torch.set_flush_denormal(True)
    # Some of torch's CPU kernels add in whatever order their threads arrive, unless told not to.
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def hardware(threads: int, device: torch.device, dtype: torch.dtype, processes: int = 1) -> dict[str, Any]:
    """What this run ran on."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "threads": threads,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "dtype": str(dtype).removeprefix("torch."),
        "device": device.type,
        **gpu,
        **({"processes": processes} if processes > 1 else {}),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """The versions behind a figure."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
