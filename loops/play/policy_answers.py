"""A policy that answers problems, token by token before a person's eyes."""

from typing import Any

import numpy as np

from shuhari.loops.play.terminal import Terminal
from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.request import Completion, Request
from shuhari.policy.policy import Tokens
from shuhari.policy.render import Renderer

UNFINISHED = "\ufffd"  # what a character decodes to before all its tokens are there


class PolicyAnswers:
    """The messages of one conversation at a time.

    history: whether the policy sees all of it, or the newest observation alone
    """

    def __init__(
        self,
        name: str,
        generator: Generator,
        renderer: Renderer,
        adapter: str | None,
        terminal: Terminal,
        rng: np.random.Generator,
        *,
        history: bool,
        max_new_tokens: int,
        temperature: float,
    ) -> None:
        self.name, self.generator, self.renderer, self.adapter = name, generator, renderer, adapter
        self.terminal, self.rng, self.history = terminal, rng, history
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self._said: Tokens = ()

    def first(self, observation: str, info: dict[str, Any]) -> str:
        return self._complete(self.renderer.first(observation, info.get("instructions")))

    def next(self, observation: str) -> str:
        if not self.history:
            return self._complete(self.renderer.first(observation))
        return self._complete(self.renderer.following(self._said, observation))

    def _complete(self, prompt: Tokens) -> str:
        """The completion's text, which is shown as it grows. Raises ValueError where a prompt is too long."""
        generator, policy = self.generator, self.generator.policy
        room = min(self.max_new_tokens, policy.max_length - len(prompt))
        if room < 1:
            raise ValueError(f"a prompt of {len(prompt)} tokens: {self.name} takes {policy.max_length}")
        seed = int(self.rng.integers(2**31))
        generator.submit(Request(prompt, room, self.temperature, seed, self.adapter))
        (running,) = generator.scheduler.waiting
        shown, ended = "", list[tuple[int, Completion]]()
        while not ended:
            ended = generator.step()
            text = policy.decode(tuple(running.tokens)).rstrip(UNFINISHED)
            if self.terminal.is_one and text.startswith(shown):
                self.terminal.show(text[len(shown) :], end="")
                shown = text
        ((_, completion),) = ended
        if completion.error:
            raise ValueError(f"{self.name}: {completion.error}")
        self._said = prompt + completion.tokens
        more = "" if completion.finished else f" … ({room} tokens and no end)"
        rest = completion.text[len(shown) :] if completion.text.startswith(shown) else f"\n{completion.text}"
        self.terminal.show(f"{rest.rstrip()}{more}")
        return self.renderer.answer(completion.text)
