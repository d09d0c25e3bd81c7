"""Prompts whose keys and values are in memory: each is computed once, for all who read it.

A prompt that nobody reads is remembered as long as its adapter's weights stay and memory lasts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from shuhari.policy.inference.memory_budget import MemoryBudget
from shuhari.policy.policy import Policy, Tokens


@dataclass(eq=False, slots=True)
class CachedPrompt:
    """A prompt in memory.

    place: where an engine has put its keys and values
    logits_1V: of the token that follows it, once it is `computed`
    readers: running requests that read it
    """

    adapter: str | None
    tokens: Tokens
    cache: "PromptCache"
    place: Any = None
    logits_1V: Tensor = field(init=False)
    computed: bool = False
    readers: int = 0

    def forget(self) -> None:
        """Free it: nobody reads it, and nobody will find it."""
        self.cache.drop(self)


class PromptCache:
    """Prompts by adapter and tokens. `free` gives back the memory that an engine has taken for one."""

    def __init__(self, policy: Policy, budget: MemoryBudget, free: Callable[[CachedPrompt], None]) -> None:
        self.policy, self.budget, self._free = policy, budget, free
        self._known: dict[tuple[str | None, Tokens], CachedPrompt] = {}
        self._versions = dict(policy.versions)  # of the adapters, when last looked at

    def __len__(self) -> int:
        return len(self._known)

    def forget_stale(self) -> None:
        """Find no prompt any more that was computed by weights which have changed since."""
        if self.policy.versions == self._versions:
            return
        before, self._versions = self._versions, dict(self.policy.versions)
        changed = {name for name, version in self._versions.items() if before.get(name) != version}
        for prompt in [p for p in self._known.values() if p.adapter in changed]:
            if prompt.readers:
                del self._known[prompt.adapter, prompt.tokens]  # its last reader frees it
            else:
                self.budget.recall(prompt)
                self.drop(prompt)

    def read(self, adapter: str | None, tokens: Tokens) -> CachedPrompt | None:
        """A known prompt, with one reader more."""
        prompt = self._known.get((adapter, tokens))
        if prompt is not None:
            if not prompt.readers:
                self.budget.recall(prompt)
            prompt.readers += 1
        return prompt

    def add(self, prompt: CachedPrompt) -> None:
        """Let a prompt be found; it has one reader."""
        prompt.readers = 1
        self._known[prompt.adapter, prompt.tokens] = prompt

    def release(self, prompt: CachedPrompt) -> None:
        """One reader less. The last one leaves it to be remembered, if it can still be found."""
        prompt.readers -= 1
        if prompt.readers:
            return
        if self._known.get((prompt.adapter, prompt.tokens)) is not prompt:
            self._free(prompt)
        elif not prompt.computed:
            self.drop(prompt)
        else:
            self.budget.remember(prompt)

    def drop(self, prompt: CachedPrompt) -> None:
        """Free a prompt that nobody reads."""
        del self._known[prompt.adapter, prompt.tokens]
        self._free(prompt)
