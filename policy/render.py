"""The only way from a conversation to tokens: what a policy is shown, and what it would have written.

`Renderer` is plain: observations and completions as they are, one after the other, each completion closed by
the end-of-text token. Another form (a chat template, with `instructions` as its system turn) is another class
with these methods.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from shuhari.envs import Trace
from shuhari.policy.lm import REMEMBERED, Policy, Tokens


class Renderer:
    """Plain text."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.choices = lru_cache(REMEMBERED)(self._choices)

    def first(self, observation: str, instructions: str = "") -> Tokens:
        """The prompt that opens a conversation. Plain text has no place for `instructions`."""
        return self.policy.encode(observation)

    def following(self, said: Tokens, observation: str) -> Tokens:
        """The next prompt: the tokens of all that was said, never made again from text, and a new message."""
        return said + self.policy.encode(observation)

    def completion(self, text: str) -> Tokens:
        """A text as the policy would have sampled it, its end included."""
        return (*self.policy.encode(text), self.policy.eos)

    def _choices(self, texts: tuple[str, ...]) -> tuple[Tokens, ...]:
        """Texts to choose among. Where one begins another, all end with end-of-text."""
        return tuple(told_apart([self.policy.encode(text) for text in texts], self.policy.eos))

    def trace(self, trace: Trace, instructions: str = "") -> tuple[Tokens, Tokens]:
        """Prompt and completion of an expert's trace, as a rollout would have them."""
        prompt: Tokens = ()
        for observation, completion in (*trace.turns, (trace.prompt, "")):
            prompt = self.following(prompt, observation) if prompt else self.first(observation, instructions)
            if completion:
                prompt += self.completion(completion)
        return prompt, self.completion(trace.completion)


def told_apart(texts: Sequence[Tokens], end: int) -> list[Tokens]:
    """Tokens of texts to choose among. Where one begins another, all end with `end`."""
    # In sorted order a text that begins another stands right before one that it begins.
    if any(b[: len(a)] == a for a, b in pairwise(sorted(texts))):
        return [(*text, end) for text in texts]
    return list(texts)
