"""How well does each player play? Exact where the game can be enumerated and solved; matches beside it."""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from shuhari.envs.graph import GameGraph, backward, optimal_moves
from shuhari.envs.openspiel import OpenSpielEnv
from shuhari.envs.players import MCTSPlayer, ModePlayer, PerfectPlayer, Probabilities, RandomPlayer
from shuhari.envs.types import Turn
from shuhari.policy.generator import Generator
from shuhari.policy.player import LMPlayer
from shuhari.policy.search import Floats, PolicyTable, continuation_values, greedy
from shuhari.rewards.statistics import share, wilson

OPENING_PLIES = 3  # matches start from positions at most this far into the game, each played from both seats


class GameEvaluation:
    """Metrics of players of one solved game. Every player is a table of move probabilities, [N, A]."""

    skill_name = "optimal_critical"
    perfect = 1.0

    def __init__(
        self, env: OpenSpielEnv, generator: Generator, *, matches: int, withhold: float, seed: int
    ) -> None:
        self.env, self.generator, self.matches, self.seed = env, generator, matches, seed
        self.graph = GameGraph(env.root())
        try:
            self.graph.expand_all()
        except MemoryError as error:
            raise ValueError(f"{env.game}: {error}") from None
        self.nodes = np.flatnonzero(self.graph.moves_N > 0)
        self.optimal_NA = optimal_moves(self.graph)
        self.critical_N = (self.graph.moves_N > 0) & (self.optimal_NA.sum(1) < self.graph.moves_N)
        self.withheld_N = np.array([self._withheld(node, withhold) for node in range(len(self.graph))])
        self._withheld_prompts = {self.graph.turns[n].observation for n in np.flatnonzero(self.withheld_N)}
        version = lambda: generator.policy.version  # noqa: E731
        self.table = PolicyTable(self.graph, LMPlayer(generator).probabilities, version)
        self._opponents: dict[str, Floats] = {}

    def _withheld(self, node: int, share: float) -> bool:
        """By a hash of the canonical form, so that no image of a withheld position is trained on."""
        return zlib.crc32(self.graph.canonical(node).encode()) < share * 2**32

    def is_withheld(self, prompt: str) -> bool:
        """Whether a trace with this prompt must be kept out of imitation."""
        return prompt in self._withheld_prompts

    def skill(self) -> float:
        """The present policy's figure for the learning curve: greedy, on critical positions."""
        return self._optimal(greedy(self._policy()), self.critical_N) or 0.0

    def describe(self) -> dict[str, int]:
        """Counts behind the shares."""
        return {
            "positions": len(self.nodes),
            "critical": int(self.critical_N.sum()),
            "withheld_critical": int((self.critical_N & self.withheld_N).sum()),
        }

    def references(self) -> dict[str, dict[str, Any]]:
        """The players that need no training."""
        expert = self.env.expert
        if not isinstance(expert, MCTSPlayer):
            raise ValueError(f"{self.env.game}: its expert gives no move frequencies to measure")
        self._opponents = {
            "random": self._tabulate(RandomPlayer().probabilities),
            "expert": self._tabulate(expert.probabilities),
            "expert_mode": self._tabulate(ModePlayer(expert).probabilities),
            "perfect": self._tabulate(PerfectPlayer(self.graph).probabilities),
        }
        rows = {
            name: self._metrics(name, table) for name, table in self._opponents.items() if name != "perfect"
        }
        rows["base"] = self._language_model(LMPlayer(Generator(self.generator.policy, adapter=False)), "base")
        return rows

    def state_dict(self) -> dict[str, Any]:
        """The opponents met so far; imitation cannot be met again once it has learned more."""
        return {name: torch.from_numpy(table) for name, table in self._opponents.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._opponents = {name: table.numpy() for name, table in state.items()}

    def search_alone(self, continuations: int) -> dict[str, Any]:
        """Self-play's search with nothing learned: uniform priors, random continuations, the same budget."""
        uniform = PolicyTable(self.graph, RandomPlayer().probabilities)
        return self._metrics("search_alone", self._searched(uniform, continuations, 1.0))

    def policy(self, name: str) -> dict[str, Any]:
        """The present policy, greedy; from then on also an opponent of the players to come."""
        row = self._language_model(LMPlayer(self.generator), name)
        self._opponents[name] = greedy(self._policy())
        return row

    def policy_with_search(self, continuations: int, sharpness: float) -> dict[str, Any]:
        """The present policy's moves chosen by its own continuations: more compute, the same weights."""
        return self._metrics("selfplay_search", self._searched(self.table, continuations, sharpness))

    def _policy(self) -> Floats:
        table = np.zeros(self.graph.children_NA.shape)
        table[self.nodes] = self.table(self.nodes)
        return table

    def _tabulate(self, probabilities: Callable[[list[Turn]], Probabilities]) -> Floats:
        table = PolicyTable(self.graph, probabilities)
        table(self.nodes)
        return table(np.arange(len(self.graph)))

    def _searched(self, policy: PolicyTable, continuations: int, sharpness: float) -> Floats:
        values = np.full(self.graph.children_NA.shape, -np.inf)
        rng = np.random.default_rng(self.seed)
        values[self.nodes] = continuation_values(
            self.graph, policy, self.nodes, continuations=continuations, sharpness=sharpness, rng=rng
        )
        return greedy(values)

    def _language_model(self, player: LMPlayer, name: str) -> dict[str, Any]:
        turns = [self.graph.turns[node] for node in self.nodes]
        probabilities, mass = player.probabilities_and_mass(turns)
        table = np.zeros(self.graph.children_NA.shape)
        for node, p in zip(self.nodes, probabilities, strict=True):
            table[node, : len(p)] = p
        row = self._metrics(name, greedy(table))
        # The greedy player is the one that is measured; how it does when it samples, and how much
        # probability it leaves on illegal moves when nobody forbids them, stands beside it.
        row["optimal_critical_sampled"] = self._optimal(table, self.critical_N)
        row["legal_probability"] = share(mass)
        return row

    def _optimal(self, table_NA: Floats, chosen_N: npt.NDArray[np.bool_]) -> float | None:
        return share((table_NA * self.optimal_NA).sum(1)[chosen_N])

    def _metrics(self, name: str, table_NA: Floats) -> dict[str, Any]:
        playable_N = self.graph.moves_N > 0
        row: dict[str, Any] = {
            "optimal_critical": self._optimal(table_NA, self.critical_N),
            "optimal_all": self._optimal(table_NA, playable_N),
        }
        if self.withheld_N.any():
            for suffix, part in (("seen", ~self.withheld_N), ("withheld", self.withheld_N)):
                row[f"optimal_critical_{suffix}"] = self._optimal(table_NA, self.critical_N & part)
                row[f"optimal_all_{suffix}"] = self._optimal(table_NA, playable_N & part)
        start = [backward(self.graph, table_NA, seat)[0] for seat in (0, 1)]
        row["worst_case"] = {"0": round(float(start[0]), 4) + 0.0, "1": round(-float(start[1]), 4) + 0.0}
        row["versus"] = {
            opponent: self._match(table_NA, other)
            for opponent, other in self._opponents.items()
            if opponent != name
        }
        return row

    def _match(self, table_NA: Floats, other_NA: Floats) -> dict[str, Any]:
        """Wins, draws and losses over paired games: every opening once from each seat."""
        rng = np.random.default_rng(self.seed)
        early = np.flatnonzero((self.graph.ply_N <= OPENING_PLIES) & (self.graph.moves_N > 0))
        # Where there are fewer openings than asked for, all are played: a game between two players that do
        # not vary says nothing new the second time.
        openings = rng.choice(early, min(max(1, self.matches // 2), len(early)), replace=False)
        first, second = (
            self._play(table_NA, other_NA, openings, rng),
            self._play(other_NA, table_NA, openings, rng),
        )
        returns = np.concatenate([first, -second])
        wins, losses = int((returns > 0).sum()), int((returns < 0).sum())
        draws = len(returns) - wins - losses
        score = (wins + draws / 2) / len(returns)
        interval = wilson(score, len(returns))
        return {"wins": wins, "draws": draws, "losses": losses, "score": round(score, 4), "ci95": interval}

    def _play(
        self, first_NA: Floats, second_NA: Floats, openings: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> Floats:
        """Seat 0's return of one game from each opening, `first_NA` in seat 0."""
        current = openings.copy()
        while len(live := np.flatnonzero(self.graph.moves_N[current] > 0)):
            nodes = current[live]
            first = (self.graph.seat_N[nodes] == 0)[:, None]
            cumulative = np.where(first, first_NA[nodes], second_NA[nodes]).cumsum(1)
            draw = rng.random(len(live)) * cumulative[:, -1]
            move = np.minimum((cumulative <= draw[:, None]).sum(1), self.graph.moves_N[nodes] - 1)
            current[live] = self.graph.children_NA[nodes, move]
        return self.graph.value_N[current].astype(np.float64)
