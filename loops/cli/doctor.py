"""`shuhari doctor`: what this machine has, what will run on it and why, and what is missing."""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Literal

import torch

from shuhari.envs.registry import load_plugins
from shuhari.envs.validation import first_line
from shuhari.loops.config import processors
from shuhari.loops.learn.memory import GIB, free_memory
from shuhari.loops.report.progress import busy
from shuhari.loops.run_folder import hardware, versions
from shuhari.policy.base_source import MADE_BY, SHIPPED, names_in, prepared_bases
from shuhari.policy.inference.generator import Generator
from shuhari.policy.model.base_size import bfloat16_instructions
from shuhari.policy.policy import Policy
from shuhari.rewards import verify

OPTIONAL = {"triton": "our kernels on a GPU", "gguf": "GGUF files", "pyarrow": "Parquet files"}
LITTLE_MEMORY, LITTLE_DISK = 2 * GIB, 2 * GIB  # less is worth a warning
NEEDS_WORKER = "\\sum_{k=1}^{n} k", "n(n+1)/2"  # a pair that a worker of the verifier's pool decides
Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found and, where that is not well, what to do."""

    name: str
    status: Status
    found: str
    remedy: str = ""


def main(arguments: Sequence[str]) -> int:
    """Exit status 0; 1 if something fails."""
    parser = argparse.ArgumentParser(
        prog="shuhari doctor",
        description=__doc__,
        epilog="examples: shuhari doctor; shuhari doctor --base smollm2; shuhari doctor --json",
    )
    parser.add_argument("--base", default="math", help="what policy.base will be; default: a shipped one")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(arguments)
    with busy("examining"):
        findings = list(examine(options.base))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for f in findings:
            print(f"{f.status:<4} {f.name:<{width}}  {f.found}{f'; {f.remedy}' if f.remedy else ''}")
    return int(any(finding.status == "fail" for finding in findings))


def examine(base: str) -> Iterator[Finding]:
    """Every finding, in the order in which a reader needs them. What raises has failed, and says so."""
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "versions": _versions,
        "machine": _machine,
        "memory and disk": _room,
        "verifier": _verifier,
        "plug-ins": _plugins,
        "bases": _bases,
        f"base {base}": lambda: _policy(base),
    }
    for name, look in looks.items():
        try:
            yield from look()
        except Exception as error:  # the very faults that people run it for
            yield Finding(name, "fail", f"{type(error).__name__}: {first_line(error)}")


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "ok", ", ".join(f"{name} {number}" for name, number in versions().items()))
    for name, use in OPTIONAL.items():
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "ok", f"not installed: no {use}")


def _machine() -> Iterator[Finding]:
    cpu = hardware(torch.get_num_threads(), torch.device("cpu"), torch.float32)
    cores = f"{processors()} of {cpu['cores']} cores for this process, {cpu['instructions']}"
    yield Finding("processor", "ok", f"{cpu['processor']}, {cores}")
    wide = bfloat16_instructions()
    yield Finding(
        "16 bits",
        "ok",
        f"bfloat16 by {' and '.join(wide)}: taken for bases above 10 million parameters (policy.dtype=auto)"
        if wide
        else "this processor has no instructions for them: bases run in float32 (policy.dtype=auto)",
    )
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        gpu = f"{torch.cuda.get_device_name()}, sm_{major}{minor}"
        yield Finding("GPU", "ok", f"{gpu}: Triton kernels and captured steps (policy.device=auto)")
    else:
        yield Finding("GPU", "ok", "none that torch sees: torch's attention and the CPU engine run")


def _room() -> Iterator[Finding]:
    free = free_memory(torch.device("cpu"))
    little = free < LITTLE_MEMORY
    remedy = "close something, or take a smaller policy.base" if little else ""
    yield Finding("memory", "warn" if little else "ok", f"{free / GIB:.1f} GiB free", remedy)
    for name, path in (("disk, runs", Path.cwd()), ("disk, bases", prepared_bases())):
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        left, writable = shutil.disk_usage(there).free, os.access(there, os.W_OK)
        found = f"{left / GIB:.1f} GiB free in {there}" + ("" if writable else ", which cannot be written")
        well = writable and left >= LITTLE_DISK
        yield Finding(name, "ok" if well else "warn", found, "" if well else "out=PATH, SHUHARI_HOME=PATH")


def _verifier() -> Iterator[Finding]:
    began = time.perf_counter()
    verdict = verify(*NEEDS_WORKER)
    seconds = time.perf_counter() - began
    took = f"{verdict.status} by {verdict.rung} in {seconds:.1f} s, with the start of a worker"
    alive = verdict.status == "correct"
    yield Finding("verifier", "ok" if alive else "fail", took, "" if alive else "shuhari verify says more")


def _plugins() -> Iterator[Finding]:
    names = [entry.name for entry in entry_points(group="shuhari.envs")]
    for message in (problems := load_plugins()):
        yield Finding("plug-in", "fail", message, "mend or uninstall it")
    if not problems:
        yield Finding("plug-ins", "ok", ", ".join(names) or "none installed")


def _bases() -> Iterator[Finding]:
    yield Finding("bases", "ok", f"shipped: {', '.join(names_in(SHIPPED))}")
    prepared = names_in(prepared_bases())
    missing = [f"{how} prepares {name}" for name, how in MADE_BY.items() if name not in prepared]
    yield Finding("", "ok", f"prepared: {', '.join(prepared) or 'none'}", "; ".join(missing))


def _policy(base: str) -> Iterator[Finding]:
    """Load it, and write a few tokens."""
    policy = Policy(base, rank=2, alpha=4.0, device="auto", dtype="auto")
    facts, generator = policy.summary(), Generator(policy)
    runs = f"{facts['base_parameters']:,} parameters, forward pass {facts['forward_pass']}, {facts['dtype']}"
    engine = type(generator.engine).__name__
    yield Finding(f"base {base}", "ok", f"{runs} ({facts['dtype_reason']}) on {facts['device']}, {engine}")
    (completion,) = generator.generate([policy.encode("1+1=")], 4)
    broken = completion.error
    yield Finding(
        "sampling", "fail" if broken else "ok", broken or f"{len(completion.tokens)} tokens written"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
