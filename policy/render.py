"""The only way from a conversation to tokens: what a policy is shown, and what it would have written.

`Renderer` writes plain text: observations and completions one after the other, each completion closed by the
end-of-text token. Another form (a chat template, with `instructions` as its system turn) is another class
with these methods.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import pairwise

from shuhari.envs import Trace
from shuhari.envs.types import RankedPair
from shuhari.policy.policy import REMEMBERED, Policy, Tokens


class Renderer:
    """Plain text, which has no place for an environment's `instructions`."""

    def __init__(self, policy: Policy, instructions: str = "") -> None:
        self.policy, self.instructions = policy, instructions
        self.choices = lru_cache(REMEMBERED)(partial(encode_choices, policy))

    def first(self, observation: str) -> Tokens:
        """The prompt that opens a conversation, with begin-of-text where the tokenizer adds it."""
        return self.policy.opening(observation)

    def following(self, said: Tokens, observation: str) -> Tokens:
        """The next prompt: the tokens so far, never made again from text, and those of a new message."""
        return said + self.policy.encode(observation)

    def completion(self, text: str) -> Tokens:
        """A text as the policy would have sampled it, its end included."""
        return (*self.policy.encode(text), self.policy.eos)

    def pair(self, pair: RankedPair) -> tuple[Tokens, Tokens, Tokens]:
        """Prompt, better and worse completion of a comparison."""
        prompt, chosen = self.trace(Trace(pair.prompt, pair.chosen, pair.turns, pair.instructions))
        return prompt, chosen, self.completion(pair.rejected)

    def trace(self, trace: Trace) -> tuple[Tokens, Tokens]:
        """Prompt and completion of an expert's trace, as a rollout would have them."""
        prompt: Tokens = ()
        for observation, completion in (*trace.turns, (trace.prompt, "")):
            prompt = self.following(prompt, observation) if prompt else self.first(observation)
            if completion:
                prompt += self.completion(completion)
        return prompt, self.completion(trace.completion)


def encode_choices(policy: Policy, texts: Sequence[str]) -> tuple[Tokens, ...]:
    """Tokens of texts to choose among, of which none begins another: if one does, end-of-text closes all."""
    tokens = [policy.encode(text) for text in texts]
    # In sorted order a text that begins another stands right before one that it begins.
    if any(b[: len(a)] == a for a, b in pairwise(sorted(tokens))):
        return tuple((*each, policy.eos) for each in tokens)
    return tuple(tokens)
