"""Episodes of a policy in any Gymnasium environment of text, many at once.

Failures are values: an environment that raises, or a prompt that does not fit, is an episode that says so
and that no loss sees; a completion that ran into the token limit is one that earned nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from shuhari.envs.types import Episode, Step, StopReason
from shuhari.policy.generator import Generator
from shuhari.policy.lm import Tokens
from shuhari.policy.requests import Completion, Request
from shuhari.policy.sampling import spread

TextLike = gymnasium.Env[str, str]


@dataclass
class _Running:
    """An episode under way."""

    env: TextLike
    seed: int
    prompt: Tokens = ()
    seat: int = 0
    steps: list[Step] = field(default_factory=list)
    result: Episode | None = None

    def end(self, stop: StopReason, counts: bool = True, **info: Any) -> None:
        self.result = Episode(self.seed, tuple(self.steps), stop, counts, info)


class Rollouts:
    """Plays episodes; environments are made once and kept."""

    def __init__(self, make: Callable[[], TextLike], generator: Generator, max_new_tokens: int) -> None:
        self.make, self.generator, self.max_new_tokens = make, generator, max_new_tokens
        self._pool: list[TextLike] = []

    def play(
        self,
        seeds: Sequence[int],
        *,
        temperature: float = 1.0,
        seed: int = 0,
        options: dict[str, Any] | None = None,
        explore: bool = False,
    ) -> list[Episode]:
        """One episode per task seed; equal seeds are a group, whose first prompt is computed once.

        An episode whose completion has ended steps its environment and asks again while others still run.
        """
        while len(self._pool) < len(seeds):
            self._pool.append(self.make())
        episodes = [_Running(env, s) for env, s in zip(self._pool, seeds, strict=False)]
        asked: dict[int, int] = {}  # ticket -> episode

        def ask(i: int) -> None:
            episode = episodes[i]
            if episode.result is None:
                turn_seed = spread(episode_seeds[i], len(episode.steps) + 1)[-1]
                request = Request(
                    episode.prompt,
                    self.max_new_tokens,
                    temperature,
                    turn_seed,
                    self.generator.adapter,
                    explore=explore,
                )
                asked[self.generator.submit(request)] = i

        episode_seeds = spread(seed, len(seeds))
        for i, episode in enumerate(episodes):
            self._guard(i, episode, lambda e: self._reset(e, options))
            ask(i)
        while asked:
            for ticket, completion in self.generator.step():
                i = asked.pop(ticket)
                self._guard(i, episodes[i], lambda e, c=completion: self._step(e, c))  # type: ignore[misc]
                ask(i)
        return [e.result for e in episodes if e.result is not None]

    def _guard(self, slot: int, episode: _Running, act: Callable[[_Running], None]) -> None:
        try:
            act(episode)
        except (
            Exception
        ) as error:  # whatever a user's environment raises is this episode's end, not the run's
            episode.end("error", counts=False, error=f"{type(error).__name__}: {error}")
            self._pool[slot] = self.make()

    def _reset(self, episode: _Running, options: dict[str, Any] | None) -> None:
        observation, info = episode.env.reset(seed=episode.seed, options=options)
        self._observe(episode, observation, info)

    def _observe(self, episode: _Running, observation: str, info: dict[str, Any]) -> None:
        tokens = self.generator.encode(observation)
        remembers = getattr(episode.env.unwrapped, "history", False)
        if remembers and episode.steps:
            last = episode.steps[-1]
            tokens = last.prompt + last.completion + tokens
        episode.prompt, episode.seat = tokens, info.get("seat", 0)
        if not self.generator.fits(tokens, self.max_new_tokens):
            limit = self.generator.policy.max_length
            episode.end(
                "error",
                counts=False,
                error=f"prompt of {len(tokens)} tokens: the policy takes {limit} in all",
            )

    def _step(self, episode: _Running, completion: Completion) -> None:
        reward, verdict = 0.0, None
        if completion.error:
            episode.end("error", counts=False, error=completion.error)
            return
        if completion.finished:
            observation, earned, terminated, truncated, info = episode.env.step(completion.text)
            reward, verdict = float(earned), info.get("verdict")
        episode.steps.append(
            Step(
                episode.seat,
                episode.prompt,
                completion.tokens,
                completion.logprobs,
                completion.text,
                reward,
            )
        )
        if not completion.finished:
            episode.end("overlong")
        elif verdict is not None and not verdict.counts:
            episode.end("done", counts=False, verdict=verdict)
        elif terminated or truncated:
            episode.end("done" if terminated else "truncated", verdict=verdict)
        else:
            self._observe(episode, observation, info)
