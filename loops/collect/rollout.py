"""Episodes in any Gymnasium environment of text, many at once, with a player in each seat.

A seat is the generator's, with an adapter: then all that speak are one batch, whatever their adapters. Or it
is a player's, who is asked for a move. Failures are values: an environment or a player that raises, or a
prompt that does not fit, is an episode that says so and that no loss sees; a completion that ran into the
token limit is one that earned nothing.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

import gymnasium

from shuhari.envs import Player, validation
from shuhari.envs.progress import counting
from shuhari.envs.text_env import turn_of
from shuhari.envs.types import Episode, Step, StopReason
from shuhari.envs.validation import EnvFault, env_name, error_line
from shuhari.loops.distributed import SINGLE_PROCESS, Ranks
from shuhari.policy.choice_scoring import legal_mass
from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.request import Completion, Request
from shuhari.policy.inference.sampler import nth_seed, spread
from shuhari.policy.policy import LEARNING, Tokens
from shuhari.policy.render import Renderer

MOST = 1024  # environments at work: more episodes wait until one is free
WEIGHED = 64  # prompts behind a figure of the mass of legal actions
TextLike = gymnasium.Env[str, str]


@dataclass(frozen=True)
class Seats:
    """Who sits where: a player, or the generator with an adapter (None: the bare base). A seat that is not
    named is the learning adapter's."""

    adapters: Mapping[int, str | None] = field(default_factory=dict)
    players: Mapping[int, Player] = field(default_factory=dict)


@dataclass
class _Running:
    """An episode under way."""

    seed: int
    seats: Seats
    own_seed: int  # of all that is drawn in it, and in no other
    begin: Tokens = ()  # what its first completion begins with
    env: TextLike = field(init=False)
    observation: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    prompt: Tokens = ()
    seat: int = 0
    legal: tuple[str, ...] = ()  # what may be said; empty: any text
    started: bool = False  # whether it has been reset
    steps: list[Step] = field(default_factory=list)
    returns: tuple[float, ...] = ()  # where the env says them
    told: dict[str, Any] = field(default_factory=dict)  # what it tells beside the reward
    result: Episode | None = None

    def end(self, stop: StopReason, counts: bool = True, **info: Any) -> None:
        earned: dict[int, float] = defaultdict(float)
        for step in self.steps:
            earned[step.seat] += step.reward
        known = tuple(earned[seat] for seat in range(max(earned, default=0) + 1))
        info = self.told | info
        self.result = Episode(self.seed, tuple(self.steps), stop, self.returns or known, counts, info)

    def listen(self, info: dict[str, Any]) -> None:
        """Keep what a step's info tells beside the reward: metrics and answer, whose last word counts, and
        how many actions were malformed."""
        told = self.told
        if metrics := info.get("metrics"):
            told["metrics"] = told.get("metrics", {}) | {name: float(x) for name, x in metrics.items()}
        if "answer" in info:
            told["answer"] = info["answer"]
        if "malformed" in info:
            told["malformed"] = told.get("malformed", 0) + bool(info["malformed"])

    def said_now(self, completion: Completion, reward: float) -> Step:
        """The mover's step; a player's has no tokens."""
        tokens, logprobs, text = completion.tokens, completion.logprobs, completion.text
        if not tokens:
            return Step(self.seat, (), (), (), text, reward)
        adapter = self.seats.adapters.get(self.seat, LEARNING)
        return Step(self.seat, self.prompt, tokens, logprobs, text, reward, adapter, self.legal)

    @property
    def begin_now(self) -> Tokens:
        """What the next completion begins with."""
        return () if self.steps else self.begin

    @property
    def turn_seed(self) -> int:
        """Of the next draw."""
        return nth_seed(self.own_seed, len(self.steps) + 1)

    def said(self) -> Tokens:
        """What the mover has seen and said before, where the policy must remember it."""
        if not getattr(self.env.unwrapped, "history", False):
            return ()
        own = [step for step in self.steps if step.seat == self.seat]
        return own[-1].prompt + own[-1].completion if own else ()


class Rollouts:
    """Plays episodes; environments are made once and kept. Every rank plays its part, and has all."""

    def __init__(
        self,
        make: Callable[[], TextLike],
        generator: Generator,
        renderer: Renderer,
        max_new_tokens: int,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        self.make, self.generator, self.renderer = make, generator, renderer
        self.max_new_tokens, self.ranks = max_new_tokens, ranks
        self._idle: list[TextLike] = []  # environments that no episode plays
        self._made = 0

    def play(
        self,
        seeds: Sequence[int],
        *,
        seats: Sequence[Seats] = (),
        temperature: float = 1.0,
        seed: int = 0,
        options: dict[str, Any] | None = None,
        explore: int = 0,
        begins: Sequence[Tokens] = (),
    ) -> list[Episode]:
        """One episode per task seed; equal seeds are a group, whose first prompt is computed once.

        `seats`: one an episode; where none are given all learn. `begins`: what the first completion of each
        begins with; the log-probabilities of that are not a number. An episode whose completion has ended
        steps its environment and asks again while others still run.
        """
        own_seeds = spread(seed, len(seeds))  # the same, whoever plays an episode
        who = zip(seeds, seats or [Seats()] * len(seeds), own_seeds, begins or [()] * len(seeds), strict=True)
        to_play = [_Running(*given) for given in who]
        ended = self.ranks.map_sharded(
            to_play, lambda own: self._play(own, temperature, options, explore), seeds
        )
        raised = [e for e in ended if "raised_in" in e.info]
        if raised and not any(e.stop in ("done", "truncated") for e in ended):
            where, error = (raised[0].info[name] for name in ("raised_in", "error"))
            env = self._idle[0] if self._idle else self._make()
            raise EnvFault(f"{env_name(env)}: {where} raised {error}, in each of {len(raised)} episodes")
        return ended

    def _play(
        self,
        episodes: Sequence[_Running],
        temperature: float,
        options: dict[str, Any] | None,
        explore: int,
    ) -> list[Episode]:
        to_begin = deque(episodes)
        asked: dict[int, _Running] = {}  # by ticket
        waiting: dict[Player, list[_Running]] = defaultdict(list)  # those whose mover is a player

        done = 0

        def ask(episode: _Running) -> None:
            nonlocal done
            if episode.result is not None:
                self._idle.append(episode.env)
                done += 1
                return
            if episode.seat in episode.seats.players:
                waiting[episode.seats.players[episode.seat]].append(episode)
                return
            adapter = episode.seats.adapters.get(episode.seat, LEARNING)
            choices = self.renderer.choices(episode.legal)
            longest = max(map(len, choices), default=self.max_new_tokens)
            begin = episode.begin_now
            limits = longest - len(begin), temperature, episode.turn_seed, adapter
            request = Request(episode.prompt + begin, *limits, choices=choices, explore=explore)
            asked[self.generator.submit(request)] = episode

        with counting("episodes", len(episodes)) as tell:
            while asked or waiting or to_begin:
                tell(done)
                while to_begin and (self._idle or self._made < MOST):
                    episode = to_begin.popleft()
                    episode.env = self._idle.pop() if self._idle else self._make()
                    self._guard(episode, lambda e: self._reset(e, options))
                    ask(episode)
                for player, movers in [waiting.popitem() for _ in range(len(waiting))]:
                    self._move(player, movers)
                    for episode in movers:
                        ask(episode)
                for ticket, completion in self.generator.step() if asked else ():
                    episode = asked.pop(ticket)
                    self._guard(episode, lambda e, c=completion: self._say(e, c))  # type: ignore[misc]
                    ask(episode)
        return [episode.result for episode in episodes if episode.result is not None]

    def legal_mass(self, episodes: Sequence[Episode]) -> float | None:
        """The probability that the unmasked policy gives to legal actions, on average over some of the
        prompts at which one of its adapters chose among them; None where none did."""
        chosen = [s for e in episodes for s in e.steps if s.completion and s.legal]
        if not chosen:
            return None
        adapter = chosen[0].adapter
        met = dict.fromkeys((s.prompt, s.legal) for s in chosen if s.adapter == adapter)
        turns = [(prompt, self.renderer.choices(legal)) for prompt, legal in list(met)[:WEIGHED]]
        return legal_mass(self.generator.policy, turns, adapter)

    def _make(self) -> TextLike:
        self._made += 1
        return self.make()

    def _guard(self, episode: _Running, act: Callable[[_Running], None]) -> None:
        try:
            act(episode)
        except EnvFault:
            raise
        except (Exception, SystemExit) as error:  # a user's environment: this episode's end, not the run's
            episode.end(
                "error",
                counts=False,
                error=error_line(error),
                raised_in="step" if episode.started else "reset",
            )
            episode.env = self.make()  # of the one that raised nobody knows the state

    def _reset(self, episode: _Running, options: dict[str, Any] | None) -> None:
        observation, info = validation.reset(episode.env, episode.seed, options)
        episode.started = True
        self._observe(episode, observation, info)

    def _observe(self, episode: _Running, observation: str, info: dict[str, Any]) -> None:
        episode.observation, episode.info, episode.seat = observation, info, int(info.get("seat", 0))
        episode.legal = tuple(info.get("legal_actions", ()))
        if episode.seat in episode.seats.players:
            return
        said, render = episode.said(), self.renderer
        if said:
            episode.prompt = render.following(said, observation)
        else:
            episode.prompt = render.first(observation, info.get("instructions"))
        if not self.generator.fits(episode.prompt, self.max_new_tokens):
            n, limit, new = len(episode.prompt), self.generator.policy.max_length, self.max_new_tokens
            where = f"{info['where']}: " if "where" in info else ""
            long = f"{where}a prompt of {n} tokens and {new} new ones: the policy takes {limit} in all"
            episode.end("error", counts=False, error=long)

    def _move(self, player: Player, movers: Sequence[_Running]) -> None:
        """Ask a player for all its moves at once."""
        try:
            moves = player.act([turn_of(e.env, e.observation, e.info, e.turn_seed) for e in movers])
        except Exception as error:  # somebody else's player: these episodes' end, not the run's
            for episode in movers:
                reason = f"{type(player).__name__}: {type(error).__name__}: {error}"
                episode.end("error", counts=False, error=reason)
            return
        for episode, move in zip(movers, moves, strict=True):
            self._guard(episode, lambda e, m=move: self._step(e, Completion((), (), m, True)))  # type: ignore[misc]

    def _say(self, episode: _Running, completion: Completion) -> None:
        if completion.error:
            episode.end("error", counts=False, error=completion.error)
            return
        if begin := episode.begin_now:
            tokens, logprobs = begin + completion.tokens, (nan,) * len(begin) + completion.logprobs
            completion = Completion(
                tokens, logprobs, self.generator.policy.decode(tokens), completion.finished
            )
        if completion.finished:
            self._step(episode, completion)
        else:
            episode.steps.append(episode.said_now(completion, 0.0))
            episode.end("overlong")

    def _step(self, episode: _Running, completion: Completion) -> None:
        said = self.renderer.answer(completion.text) if completion.tokens else completion.text
        observation, reward, terminated, truncated, info = validation.step(episode.env, said)
        episode.steps.append(episode.said_now(completion, reward))
        episode.listen(info)
        verdict = info.get("verdict")
        if verdict is not None and not verdict.counts:
            episode.end("done", counts=False, verdict=verdict)
        elif terminated or truncated:
            episode.returns = tuple(map(float, info.get("returns", ())))
            episode.end("done" if terminated else "truncated", verdict=verdict)
        else:
            self._observe(episode, observation, info)
