"""The only way from a conversation to tokens and back: what a policy is shown, and what it would have said.

`Renderer` writes plain text: observations and completions one after the other, each completion closed by the
end-of-text token. `ChatRenderer` writes a tokenizer's own chat template. What was sampled stays as its
tokens, and is never made again from its text.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from shuhari.envs import Trace
from shuhari.envs.types import RankedPair
from shuhari.policy.policy import REMEMBERED, Policy, Tokens


class Renderer:
    """Plain text, which has no place for an environment's `instructions`.

    examples: worked examples that stand before every conversation, as its earlier turns
    """

    format = "plain"

    def __init__(self, policy: Policy, instructions: str = "", examples: Sequence[Trace] = ()) -> None:
        self.policy, self.instructions, self.examples = policy, instructions, examples
        self.choices = lru_cache(REMEMBERED)(self._choices)

    def notes(self, turns: bool) -> list[str]:
        """What a reader of a report must know of how conversations are written. `turns`: whether they have
        several."""
        begin = f"every prompt begins with {self.policy.begin_text}, as the base's tokenizer says"
        return [begin] if self.policy.begin else []

    def first(self, observation: str, instructions: str | None = None) -> Tokens:
        """The prompt that opens a conversation. `instructions`: in place of the environment's."""
        said: Tokens = ()
        for example in self.examples:
            turn = example.prompt
            said = self.following(said, turn) if said else self._opening(turn, instructions)
            said += self.completion(example.completion)
        return self.following(said, observation) if said else self._opening(observation, instructions)

    def _opening(self, observation: str, instructions: str | None) -> Tokens:
        """The same without examples, with begin-of-text where the tokenizer adds it."""
        return self.policy.opening(observation)

    def following(self, said: Tokens, observation: str) -> Tokens:
        """The next prompt: the tokens so far, never made again from text, and those of a new message."""
        return said + self.policy.encode(observation)

    def completion(self, text: str) -> Tokens:
        """A text as the policy would have sampled it, its end included."""
        return (*self.policy.encode(text), self.policy.eos)

    def answer(self, text: str) -> str:
        """What an environment is given of the text that a policy wrote."""
        return text

    def _choices(self, texts: Sequence[str]) -> tuple[Tokens, ...]:
        """Tokens of texts to choose among, of which none begins another: if one does, the end of a
        completion closes all."""
        tokens = [self.policy.encode(text) for text in texts]
        # In sorted order a text that begins another stands right before one that it begins.
        if any(b[: len(a)] == a for a, b in pairwise(sorted(tokens))):
            return tuple(self.completion(text) for text in texts)
        return tuple(tokens)

    def pair(self, pair: RankedPair) -> tuple[Tokens, Tokens, Tokens]:
        """Prompt, better and worse completion of a comparison."""
        prompt, chosen = self.trace(Trace(pair.prompt, pair.chosen, pair.turns, pair.instructions))
        return prompt, chosen, self.completion(pair.rejected)

    def trace(self, trace: Trace) -> tuple[Tokens, Tokens]:
        """Prompt and completion of an expert's trace, as a rollout would have them."""
        prompt: Tokens = ()
        for observation, completion in (*trace.turns, (trace.prompt, "")):
            if prompt:
                prompt = self.following(prompt, observation)
            else:
                prompt = self.first(observation, trace.instructions)
            if completion:
                prompt += self.completion(completion)
        return prompt, self.completion(trace.completion)
