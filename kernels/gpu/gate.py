"""The gate: every shipped kernel compiled ahead of time, without a GPU, and its machine code held to rules.

    python -m shuhari.kernels.gpu.gate [--target 80 90] [--module M ...] [--only NAME] [--few N] [--json]

What `shipped()` of each module of this package lists is compiled as a launch would compile it: pointers are
marked as multiples of 16 bytes, which torch's allocations are, and integers, unless the kernel says
`do_not_specialize`, once as multiples of 16, as strides of common head dims are, and once as anything. Exit
status 1 names what breaks a rule:

- it compiles, for every target;
- no register spills (LDL, STL) and no stack: both are memory traffic in the innermost loop;
- its shared memory fits the chip's limit for one block (CUDA C Programming Guide, technical specifications);
- where tensor cores must do the products, they do (HMMA on sm_80, HMMA or HGMMA on sm_90).

TRITON_INTERPRET is taken out of the environment: interpreted kernels cannot be compiled.
"""

import argparse
import functools
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from shuhari.kernels import gpu
from shuhari.kernels.gpu.launch import Shipped

SHARED_LIMIT = {80: 166_912, 90: 232_448}  # bytes for one block: 163 and 227 KiB


@dataclass(frozen=True, slots=True)
class Report:
    """What one kernel became on one target.

    module, name: where it is shipped, and as what
    integers: "16" where they were marked as multiples of 16, else "any"
    registers: of a thread; stack, shared: bytes of a thread, of a block
    ldl, stl, hmma, hgmma: instructions in its machine code
    seconds: to compile it, or to find it in Triton's cache
    broken: the rules it breaks, in words
    """

    module: str
    name: str
    target: int
    integers: str
    registers: int = 0
    stack: int = 0
    shared: int = 0
    ldl: int = 0
    stl: int = 0
    hmma: int = 0
    hgmma: int = 0
    seconds: float = 0.0
    broken: tuple[str, ...] = ()


def collect(modules: list[str] | None = None) -> list[tuple[str, Shipped]]:
    """(module, kernel) of everything shipped by the modules of this package, or by those named.

    Raises RuntimeError where a module has entry points for launches (`..._kernel`) and ships none.
    """
    found = []
    for info in sorted(pkgutil.iter_modules(gpu.__path__), key=lambda x: x.name):
        if info.name == "gate" or (modules and info.name not in modules):
            continue
        module = importlib.import_module(f"{gpu.__name__}.{info.name}")
        if hasattr(module, "shipped"):
            found += [(info.name, x) for x in module.shipped()]
        elif any(x.endswith("_kernel") for x in vars(module)):
            raise RuntimeError(f"kernels/gpu/{info.name}.py has kernels but no shipped()")
    return found


def few(shipped: list[tuple[str, Shipped]], count: int) -> list[tuple[str, Shipped]]:
    """`count` configurations of each kernel, evenly spread over its list, the last among them."""
    by_kernel: dict[tuple[str, str], list[Shipped]] = {}
    for module, x in shipped:
        by_kernel.setdefault((module, x.kernel.__name__), []).append(x)
    chosen = []
    for (module, _), each in by_kernel.items():
        places = {len(each) - 1 - i * len(each) // count for i in range(min(count, len(each)))}
        chosen += [(module, each[i]) for i in sorted(places)]
    return chosen


def examine(module: str, shipped: Shipped, target: int, integers: str) -> Report:
    """Compile one kernel and read its machine code."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if list(shipped.signature) != shipped.kernel.arg_names:  # Triton takes types by place, constants by name
        return Report(module, shipped.name, target, integers, broken=("its signature is not its arguments",))
    pointers = {name for name, kind in shipped.signature.items() if kind.startswith("*")}
    aligned = pointers | (specialised(shipped) if integers == "16" else set())
    marked = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(shipped.signature) if name in aligned}
    options = {"num_warps": shipped.num_warps, "num_stages": shipped.num_stages, "enable_fp_fusion": True}
    started = time.monotonic()
    try:
        source = ASTSource(shipped.kernel, shipped.signature, shipped.constants, marked)
        compiled = triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)
    except Exception as error:  # whatever the compiler dies of is the finding
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"does not compile: {type(error).__name__}: {lines[-1] if lines else ''}"
        return Report(module, shipped.name, target, integers, broken=(reason,))
    seconds = round(time.monotonic() - started, 2)
    usage, code = _disassembled(compiled.asm["cubin"])
    registers, stack = number("REG", usage), number("STACK", usage)
    ldl, stl, hmma, hgmma = (len(re.findall(rf"\s{x}[.\s]", code)) for x in ("LDL", "STL", "HMMA", "HGMMA"))
    shared = compiled.metadata.shared
    broken = []
    if ldl or stl:
        broken.append(f"spills ({ldl} LDL, {stl} STL)")
    if stack:
        broken.append(f"stack of {stack} bytes")
    if shared > SHARED_LIMIT[target]:
        broken.append(f"{shared:,} bytes of shared memory of {SHARED_LIMIT[target]:,}")
    if shipped.tensor_cores and not hmma + hgmma:
        broken.append("no tensor core instructions")
    return Report(
        module=module,
        name=shipped.name,
        target=target,
        integers=integers,
        registers=registers,
        stack=stack,
        shared=shared,
        ldl=ldl,
        stl=stl,
        hmma=hmma,
        hgmma=hgmma,
        seconds=seconds,
        broken=tuple(broken),
    )


def specialised(shipped: Shipped) -> set[str]:
    """The integers that a launch compiles for anew where they are multiples of 16."""
    free = {x.name for x in shipped.kernel.params if x.do_not_specialize or x.do_not_specialize_on_alignment}
    return {name for name, kind in shipped.signature.items() if kind[0] in "iu" and name not in free}


def number(name: str, usage: str) -> int:
    """What stands after NAME: in cuobjdump's resource usage."""
    found = re.findall(rf"\b{name}:(\d+)", usage)
    if len(found) != 1:
        raise RuntimeError(f"cuobjdump says {name} {len(found)} times, not once: {usage!r}")
    return int(found[0])


@functools.cache
def _disassembled(cubin: bytes) -> tuple[str, str]:
    """Resource usage and machine code."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        usage = _tool("cuobjdump", "--dump-resource-usage", file.name)
        return usage, _tool("nvdisasm", "-c", file.name)


def _tool(name: str, *arguments: str) -> str:
    """Standard output of one of the tools that come with Triton."""
    import triton

    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return subprocess.run([str(path), *arguments], check=True, capture_output=True, text=True).stdout


def examine_all(
    shipped: Iterable[tuple[str, Shipped]], targets: Iterable[int], integers: Iterable[str]
) -> Iterator[Report]:
    """Every kernel on every target, integers marked each way where it takes any."""
    targets, integers = list(targets), list(integers)
    for module, x in shipped:
        for target in targets:
            for marking in integers if specialised(x) else ["any"]:
                yield examine(module, x, target, marking)


HEADER = ("registers", "stack", "shared", "ldl", "stl", "hmma", "hgmma", "seconds")


def row(report: Report) -> str:
    """One line of the table."""
    numbers = "".join(f"{getattr(report, name):>10}" for name in HEADER)
    verdict = "; ".join(report.broken) or "ok"
    name = f"{report.module}: {report.name}"
    return f"{name:<64} sm_{report.target} {report.integers:>4}{numbers}  {verdict}"


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m shuhari.kernels.gpu.gate", description=__doc__)
    parser.add_argument("--target", type=int, nargs="+", choices=sorted(SHARED_LIMIT), default=[80, 90])
    parser.add_argument("--module", nargs="+", help="modules of kernels/gpu, else all")
    parser.add_argument("--only", default="", help="kernels whose 'module: name' holds this")
    parser.add_argument("--few", type=int, help="so many configurations of each kernel, integers one way")
    parser.add_argument("--json", action="store_true", help="a list of reports on standard output")
    options = parser.parse_args(arguments)
    if os.environ.pop("TRITON_INTERPRET", None):
        print("TRITON_INTERPRET is set; taken out: the gate compiles", file=sys.stderr)
    if "triton" in sys.modules and not _compiles():
        raise RuntimeError("Triton was imported to interpret; the gate wants a process of its own")
    shipped = [x for x in collect(options.module) if options.only in f"{x[0]}: {x[1].name}"]
    if not shipped:
        print(f"nothing is shipped whose name holds {options.only!r}", file=sys.stderr)
        return 2
    shipped = few(shipped, options.few) if options.few else shipped
    return report_all(shipped, options.target, ["16"] if options.few else ["16", "any"], options.json)


def report_all(
    shipped: list[tuple[str, Shipped]], targets: list[int], integers: list[str], as_json: bool
) -> int:
    """Print the table, or JSON; 1 where a rule is broken."""
    import triton

    if not as_json:
        print(f"Triton {triton.__version__}")
        print(f"{'kernel':<64} {'chip':>5} {'ints':>4}" + "".join(f"{name:>10}" for name in HEADER))
    reports = []
    for report in examine_all(shipped, targets, integers):
        reports.append(report)
        if not as_json:
            print(row(report), flush=True)
    if as_json:
        print(json.dumps({"triton": triton.__version__, "reports": [asdict(x) for x in reports]}, indent=1))
    bad = [x for x in reports if x.broken]
    for x in bad:
        where = f"{x.module}: {x.name} on sm_{x.target}, integers {x.integers}"
        print(f"breaks a rule: {where}: {'; '.join(x.broken)}", file=sys.stderr)
    print(f"{len(reports)} compiled, {len(bad)} break a rule", file=sys.stderr)
    return 1 if bad else 0


def _compiles() -> bool:
    """Whether this process's Triton makes kernels to compile, not to interpret."""
    from triton import knobs

    return not knobs.runtime.interpret


if __name__ == "__main__":
    sys.exit(main())
