"""Phase 2 in games that hide something: the policy plays itself and leans towards the moves that did better.

Smooth fictitious play (Fudenberg & Levine 1998, ch. 4), by situation: the target of a move is the softmax of
its mean return over all of the policy's own games so far, later ones counting more. A best reply to the
present self alone would run in circles; a reply to the average of past selves, soft at first and ever
sharper, ends near an equilibrium. Nothing here reads a solver.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from shuhari.envs.nash import Probabilities
from shuhari.envs.openspiel import turn_of
from shuhari.envs.referee import Referee
from shuhari.envs.types import Turn
from shuhari.loops.choices import update_choices
from shuhari.loops.config import SearchConfig
from shuhari.loops.optimizer import Optimizer
from shuhari.loops.phase import Counts
from shuhari.policy.generator import Generator
from shuhari.policy.player import LMPlayer
from shuhari.policy.search import Floats

Values = dict[tuple[int, str], tuple[Turn, Floats]]  # by seat and observation


class _Asked:
    """A player's probabilities, each situation asked about once."""

    def __init__(self, player: Probabilities) -> None:
        self.player = player
        self._known: dict[tuple[int, str], Floats] = {}

    def __call__(self, turns: Sequence[Turn]) -> list[Floats]:
        new = {(t.seat, t.observation): t for t in turns if (t.seat, t.observation) not in self._known}
        if new:
            tables = self.player(list(new.values()))
            self._known.update((key, np.asarray(p)) for key, p in zip(new, tables, strict=True))
        return [self._known[t.seat, t.observation] for t in turns]


def _move(referees: Sequence[Referee], tables: Sequence[Floats], rng: np.random.Generator) -> None:
    """One drawn move, and what chance does then, in every game."""
    for referee, p, draw in zip(referees, tables, rng.random(len(referees)), strict=True):
        chosen = min(int((p.cumsum() <= draw * p.sum()).sum()), len(p) - 1)
        referee.apply(referee.legal_actions[chosen])
        referee.resolve_chance(rng)


def action_values(
    game: str, player: Probabilities, *, games: int, continuations: int, rng: np.random.Generator
) -> Values:
    """The mover's mean return after each legal move of every situation met in `games` games.

    In each game one seat moves at random and its situations are valued: so the rare ones are met too, and
    what is hidden in them is distributed as the other seat's play leaves it. From there both seats play on
    by their probabilities, `continuations` times a move.
    """
    asked = _Asked(player)
    live = [Referee(game) for _ in range(games)]
    explorer = {id(referee): number % 2 for number, referee in enumerate(live)}
    met: list[tuple[Turn, Referee]] = []
    for referee in live:
        referee.resolve_chance(rng)
    while live := [referee for referee in live if not referee.over]:
        turns = [turn_of(referee) for referee in live]
        tables = asked(turns)
        for i, (turn, referee) in enumerate(zip(turns, live, strict=True)):
            if turn.seat == explorer[id(referee)]:
                met.append((turn, referee.clone()))
                tables[i] = np.ones(len(tables[i]))
        _move(live, tables, rng)
    branches = [
        (turn, move, referee.clone())
        for turn, referee in met
        for move in range(len(turn.legal_actions))
        for _ in range(continuations)
    ]
    for turn, move, referee in branches:
        referee.apply(turn.legal_actions[move])
        referee.resolve_chance(rng)
    while running := [referee for _, _, referee in branches if not referee.over]:
        _move(running, asked([turn_of(referee) for referee in running]), rng)
    returns: dict[tuple[int, str], list[list[float]]] = {}
    seen: dict[tuple[int, str], Turn] = {}
    for turn, move, referee in branches:
        key = turn.seat, turn.observation
        seen[key] = turn
        returns.setdefault(key, [[] for _ in turn.legal_actions])[move].append(referee.returns[turn.seat])
    return {key: (seen[key], np.array([np.mean(r) for r in rows])) for key, rows in returns.items()}


class HiddenSelfplay:
    """One step is one round: value moves in `starts` games, then `updates` optimizer steps."""

    def __init__(self, generator: Generator, game: str, cfg: SearchConfig, rng: np.random.Generator) -> None:
        self.generator, self.game, self.cfg, self.rng = generator, game, cfg, rng
        self.player = LMPlayer(generator)
        self.total, self.counts = cfg.rounds, Counts()
        self.optimizer = Optimizer(
            generator.policy.parameters.values(),
            learning_rate=cfg.learning_rate,
            steps=cfg.rounds * cfg.updates,
        )
        # By seat and observation: the turn, rounds in which it was met, mean return of each move.
        self._means: dict[tuple[int, str], tuple[Turn, int, Floats]] = {}

    @property
    def steps(self) -> int:
        return self.counts.updates // self.cfg.updates

    @property
    def done(self) -> bool:
        return self.steps >= self.total

    def _value_situations(self) -> None:
        """Take the returns of one round's games into the means."""
        values = action_values(
            self.game,
            self.player.probabilities,
            games=self.cfg.starts,
            continuations=self.cfg.continuations,
            rng=self.rng,
        )
        for key, (turn, value) in values.items():
            _, rounds, mean = self._means.get(key, (turn, 0, value))
            weight = 2 / (rounds + 2)  # the n-th round counts n times
            self._means[key] = turn, rounds + 1, mean + weight * (value - mean)
        self.counts.episodes += self.cfg.starts

    def step(self) -> dict[str, float]:
        self._value_situations()
        first, last = self.cfg.temperature
        temperature = first * (last / first) ** (self.steps / max(1, self.total - 1))
        turns = [turn for turn, _, _ in self._means.values()]
        targets = [_softmax(mean / temperature) for _, _, mean in self._means.values()]
        losses = []
        for _ in range(self.cfg.updates):
            drawn = self.rng.permutation(len(turns))[: self.cfg.batch]
            chosen, wanted = [turns[i] for i in drawn], [targets[i] for i in drawn]
            losses.append(update_choices(self.generator, self.optimizer, chosen, wanted, self.counts)[0])
        entropy = float(np.mean([-(t * np.log(np.maximum(t, 1e-12))).sum() for t in targets]))
        return {"loss": float(np.mean(losses)), "target_entropy": entropy, "situations": len(turns)}

    def sample(self) -> str:
        """One game of the present policy against itself, as its seats saw it."""
        rng, lines = np.random.default_rng(self.counts.updates), []  # looking on must not change the run
        referee = Referee(self.game)
        referee.resolve_chance(rng)
        while not referee.over:
            (p,) = self.player.probabilities([turn := turn_of(referee)])
            move = int(rng.choice(len(p), p=p))
            lines.append(f"{turn.observation} {turn.legal_actions[move]}   (p = {p[move]:.2f})")
            referee.apply(turn.legal_actions[move])
            referee.resolve_chance(rng)
        return "\n".join([*lines, f"first seat's return: {referee.returns[0]:+g}"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "counts": asdict(self.counts),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "means": [(asdict(turn), n, torch.from_numpy(mean)) for turn, n, mean in self._means.values()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = Counts(**state["counts"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        means = [(Turn(**turn), n, mean.numpy()) for turn, n, mean in state["means"]]
        self._means = {(turn.seat, turn.observation): (turn, n, mean) for turn, n, mean in means}


def _softmax(x: Floats) -> Floats:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())
