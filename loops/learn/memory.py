"""How much memory a micro-batch takes, so how large it is, and whether layers are computed twice for it.

What a forward pass keeps for its gradients is counted, not guessed: short texts go through the model once (of
the fused forward pass through one layer), and every tensor that autograd keeps of them is added up. That
holds for any architecture and dtype, and the same sizes give the same count on any machine. It is a line in
the length of a text, since attention keeps weights by pairs. Beside it stand one layer's gradients, the
logits of one chunk, the adapter with its gradients and optimizer, and a merged copy of the base where there
is one.
"""

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shuhari.kernels.logprobs import CHUNK
from shuhari.policy.policy import Policy
from shuhari.policy.scoring import completion_logprobs, packed_hidden

MOST = 8192  # tokens of a micro-batch: larger ones are no faster
# So many tokens keep a processor's products as busy as more would: layers are computed twice, which costs a
# third more, only where fewer would fit otherwise.
ENOUGH = 2048
USABLE = 0.8  # of what is free: allocators leave gaps, and others may want some
TRIALS = (160, 320)  # tokens of the texts that are tried
LARGE = 2**22  # bytes
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
GIB = 2**30


@dataclass(frozen=True)
class MicroBatches:
    """At most `tokens` tokens of a batch at a time; `checkpointed`: layers keep their input only."""

    tokens: int
    checkpointed: bool


class TooLittleMemory(ValueError):
    """Not even one text fits."""


class TrainingMemory:
    """What learning with a policy takes of `free` bytes."""

    def __init__(self, policy: Policy, free: int) -> None:
        self.policy, self.free = policy, free

    @cached_property
    def _line(self) -> tuple[float, float]:
        """Bytes that a token's gradients keep: of the first of a text, and more for each token before it."""
        lengths = [min(n, self.policy.max_length) // 2 * 2 for n in TRIALS]
        short, long = (self._trial(n) / n for n in lengths)
        slope = max(0.0, (long - short) / max(1, lengths[1] - lengths[0]))
        return long - slope * lengths[1], slope

    def _trial(self, length: int) -> int:
        """Bytes kept for one text of so many tokens, half of which are its prompt."""
        one, two = (_kept(self.policy, [_text(length, number) for number in range(n)]) for n in (1, 2))
        return two - one  # without what is kept once: weights

    def _kept_by_token(self, longest: int) -> float:
        constant, slope = self._line
        return constant + slope * longest

    @property
    def fixed(self) -> int:
        """Bytes that do not depend on the micro-batch."""
        policy = self.policy
        adapter = 4 * sum(p.nbytes for p in policy.parameters.values())  # itself, gradient, two moments
        logits = 3 * min(4 * CHUNK, MOST * policy.bytes_of_logits)  # themselves, gradients, a pass between
        return adapter + policy.merged_bytes + logits

    def needed(self, tokens: int, longest: int, checkpointed: bool) -> int:
        """Bytes of a micro-batch of so many tokens, of texts of up to `longest`, beside what is fixed."""
        policy, kept = self.policy, self._kept_by_token(longest)
        layer = kept / policy.layers
        if checkpointed:  # all layers' inputs, and one layer's tensors with their gradients
            return int(tokens * (4 * policy.width * policy.layers + 2 * layer))
        return int(tokens * (kept + layer))

    @property
    def budget(self) -> int:
        return int(USABLE * self.free) - self.fixed

    def most(self, longest: int, checkpointed: bool) -> int:
        """Tokens of the largest micro-batch that fits: a power of two, at most MOST; 0 if none does."""
        fitting = self.budget / max(1, self.needed(1024, longest, checkpointed)) * 1024
        return 0 if fitting < 1 else min(MOST, 1 << (int(fitting).bit_length() - 1))

    def plan(self, longest: int, asked: int = 0) -> MicroBatches:
        """The micro-batches of texts of up to `longest` tokens; `asked`: their tokens, where a person says.

        Layers are computed twice where fewer than ENOUGH tokens (or than are asked for) fit otherwise.
        """
        plain, twice = (self.most(longest, checkpointed) for checkpointed in (False, True))
        if asked:
            return MicroBatches(asked, self.policy.can_checkpoint and min(asked, MOST) > plain)
        if plain >= min(ENOUGH, MOST) or not self.policy.can_checkpoint:
            return MicroBatches(max(1, plain), False)
        return MicroBatches(max(1, twice), True)

    def check(self, longest: int, where: str) -> None:
        """Raises TooLittleMemory, naming `where`, if one text of so many tokens cannot be learned from."""
        needed = self.fixed + self.needed(longest, longest, self.policy.can_checkpoint)
        if needed > self.free:
            raise TooLittleMemory(
                f"{where}: a text of {longest} tokens needs about {needed / GIB:.1f} GiB to learn from, and "
                f"{self.free / GIB:.1f} are free; shorten texts (policy.max_new_tokens), take a smaller "
                "policy.base or policy.dtype=bfloat16, or free some"
            )

    def line(self, chosen: MicroBatches, longest: int) -> str:
        """A phase's choice in words; "" for a small base that has all it wants."""
        if self.policy.small and chosen == MicroBatches(MOST, False):
            return ""
        about = self.fixed + self.needed(chosen.tokens, longest, chosen.checkpointed)
        layers = "on" if chosen.checkpointed else "off"
        return (
            f"micro-batches of {chosen.tokens} tokens, checkpointing of layers {layers}: about "
            f"{about / GIB:.1f} GiB of {self.free / GIB:.1f} free"
        )


def _text(length: int, number: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A prompt of its own, and a completion as long."""
    tokens = [number + 1, *(1 + i % 7 for i in range(length - 1))]
    return tuple(tokens[: length // 2]), tuple(tokens[length // 2 :])


def _kept(policy: Policy, pairs: list[Any]) -> int:
    """Bytes of all tensors that autograd keeps, each once; logits aside where they are made in chunks."""
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage  # which therefore nobody else can be given
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        if policy.fused:  # all layers keep the same
            result: Any = packed_hidden(policy, pairs, layers=1)
        else:
            result = completion_logprobs(policy, pairs)
    total: int = sum(storage.nbytes() for storage in kept.values())
    del result
    return total * policy.layers if policy.fused else total


@cache
def return_large_blocks() -> None:
    """Let glibc's allocator give tensors of LARGE bytes and more back to the system once they are freed, and
    take new pages for them. Left to itself it keeps those of up to 32 MiB between those that stay, and a
    process that computes layers twice then holds twice of what it needs. It costs about a tenth of the time.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library, which has no such switch
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)


def free_memory(device: torch.device, processes: int = 1) -> int:
    """Bytes that this process may still take on a device, if `processes` of this machine share it evenly.

    On a CPU what the system says is available, and no more than its control groups' limits leave.
    """
    if device.type == "cuda":
        free = int(torch.cuda.mem_get_info(device)[0])
        return free + int(torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    available = _available(Path("/proc/meminfo"))
    limits = [left(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")) for left in (_left_v1, _left_v2)]
    return min([available, *(n for n in limits if n is not None)]) // processes


def _available(meminfo: Path) -> int:
    try:
        lines = meminfo.read_text().splitlines()
        (kib,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kib) * 1024
    except (OSError, ValueError):  # another system: half of all it has
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) // 2


def _left_v2(root: Path, own: Path) -> int | None:
    """What control groups, version 2, leave of memory; None where they set no limit."""
    group = _group(own, lambda fields: fields[1] == "")
    return _left(root, group, "memory.max", "memory.current", "inactive_file")


def _left_v1(root: Path, own: Path) -> int | None:
    """The same of version 1."""
    group = _group(own, lambda fields: "memory" in fields[1].split(","))
    limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
    return _left(root / "memory", group, limit, usage, "total_inactive_file")


def _group(own: Path, wanted: Callable[[list[str]], bool]) -> str:
    try:
        fields = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return "/"
    return next((found[2] for found in fields if wanted(found)), "/")


def _left(root: Path, group: str, limit: str, usage: str, reclaimable: str) -> int | None:
    """The least that any group on the way up leaves: its limit, less what it uses and cannot give back."""
    found, folder = [], root / group.lstrip("/")
    for place in [folder, *folder.parents]:
        try:
            most, used = (place / limit).read_text().strip(), int((place / usage).read_text())
            rows = (line.split() for line in (place / "memory.stat").read_text().splitlines())
            files = next((int(row[1]) for row in rows if row[0] == reclaimable), 0)
            if most.isdigit():
                found.append(max(0, int(most) - used + files))
        except (OSError, ValueError):  # a group without a limit, or none of ours
            pass
        if place == root:
            break
    return min(found, default=None)
