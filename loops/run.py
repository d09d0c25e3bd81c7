"""A run's folder: configuration, checkpoints, and how a stopped run goes on."""

import os
import platform
import signal
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.utils.deterministic
from omegaconf import OmegaConf

from shuhari.loops.config import TrainConfig, stored_config

PACKAGES = ("shuhari", "torch", "transformers", "peft", "gymnasium", "open_spiel", "numpy")
CHECKPOINT = 2  # of its form


class Interrupted(Exception):
    """The run was asked to stop, and its state is on disk."""


class Run:
    """`runs/<experiment>/<time>/`, newly made or taken up again."""

    def __init__(self, folder: Path, cfg: TrainConfig) -> None:
        self.folder, self.cfg = folder, cfg
        self.asked_to_stop = False

    @classmethod
    def create(cls, cfg: TrainConfig) -> "Run":
        """Make the folder and write the configuration. Raises ValueError where that cannot be written."""
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
            return cls(folder, cfg)
        raise ValueError(f"out={cfg.out}: no free name left for {stamp}")

    @classmethod
    def resume(cls, folder: Path) -> "Run":
        """Take up a stopped run with its own configuration. Raises ValueError where there is none."""
        if not (folder / "config.yaml").is_file():
            raise ValueError(f"resume={folder}: no config.yaml there; give the folder of a run")
        if not (folder / "checkpoint.pt").is_file():
            raise ValueError(f"resume={folder}: no checkpoint there, it stopped too early; start it anew")
        try:
            stored: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
            cfg = stored_config(stored)
        except Exception as error:  # YAML and OmegaConf have a dozen unrelated ways to say "not this"
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"resume={folder}: config.yaml is damaged or another version's ({reason})"
            ) from None
        return cls(folder, cfg)

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint; a crash in the middle leaves the one before."""
        partial = self.folder / "checkpoint.partial"
        torch.save(state | {"version": CHECKPOINT}, partial)
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
        return state

    def __enter__(self) -> "Run":
        """From here on Ctrl-C asks to stop after the current step; a second one stops at once."""
        self._previous = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked_to_stop:
            raise KeyboardInterrupt
        self.asked_to_stop = True
        print("\nstopping after the current step (once more to stop at once)", file=sys.stderr)


def prepare_torch(threads: int) -> None:
    """So many threads, and one result a seed."""
    torch.set_num_threads(threads)
    # Some of torch's CPU kernels add in whatever order their threads arrive, unless told not to.
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def hardware(threads: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
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
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """The versions behind a figure."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
