"""How well does each player play? Exact where the game can be enumerated and solved; matches beside it."""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from shuhari.envs.graph import GameGraph, backward, optimal_moves
from shuhari.envs.openspiel import OpenSpielEnv
from shuhari.envs.players import MCTSPlayer, ModePlayer, PerfectPlayer, RandomPlayer
from shuhari.loops.config import SearchConfig
from shuhari.policy.generator import Generator
from shuhari.policy.lm import LEARNING
from shuhari.policy.player import LMPlayer
from shuhari.policy.search import Floats, Nodes, PolicyTable, SearchTable, greedy
from shuhari.rewards.statistics import share, wilson

OPENING_PLIES = 3  # matches start from positions at most this far into the game, each played from both seats
MANY = 10_000  # positions of a game above which shares are estimated
SAMPLE = 4_000  # on this many of them

Table = Callable[[Nodes], Floats]  # a player: move probabilities [n, A] of n nodes


class GameEvaluation:
    """Metrics of players of one solved game.

    Of a game of more than `MANY` positions, shares are those of a sample, the same for every player and run;
    solving it, and a player's worst case, stay exact.
    """

    skill_name = "optimal_critical"
    perfect = 1.0

    def __init__(
        self, env: OpenSpielEnv, generator: Generator, *, matches: int, withhold: float, seed: int
    ) -> None:
        self.env, self.generator, self.matches, self.seed = env, generator, matches, seed
        try:
            self.graph = GameGraph.complete(env.root())
        except MemoryError as error:
            raise ValueError(f"{env.game}: {error}") from None
        self.playable = np.flatnonzero(self.graph.moves_N > 0)
        self.optimal_NA = optimal_moves(self.graph)
        self.critical_N = (self.graph.moves_N > 0) & (self.optimal_NA.sum(1) < self.graph.moves_N)
        self.withheld_N = np.array([self._withheld(node, withhold) for node in range(len(self.graph))])
        self._withheld_prompts = {self.graph.turns[n].observation for n in np.flatnonzero(self.withheld_N)}
        self.nodes = self.playable
        if len(self.nodes) > MANY:
            self.nodes = np.sort(np.random.default_rng(0).choice(self.nodes, SAMPLE, replace=False))
        self.critical = self.nodes[self.critical_N[self.nodes]]
        version = lambda: generator.policy.versions[LEARNING]  # noqa: E731
        self.table = PolicyTable(self.graph, LMPlayer(generator).probabilities, version)
        if not isinstance(expert := env.expert, MCTSPlayer):
            raise ValueError(f"{env.game}: its expert gives no move frequencies to measure")
        players = {
            "random": RandomPlayer().probabilities,
            "expert": expert.probabilities,
            "expert_mode": ModePlayer(expert).probabilities,
            "perfect": PerfectPlayer(self.graph).probabilities,
        }
        self._references: dict[str, Table] = {n: PolicyTable(self.graph, p) for n, p in players.items()}
        self._learned: dict[str, Table] = {}  # the policy as it was after each phase, greedy

    def _withheld(self, node: int, share: float) -> bool:
        """By a hash of the canonical form, so that no image of a withheld position is trained on."""
        return zlib.crc32(self.graph.canonical(node).encode()) < share * 2**32

    def is_withheld(self, prompt: str) -> bool:
        """Whether a trace with this prompt must be kept out of imitation."""
        return prompt in self._withheld_prompts

    def skill(self) -> float:
        """The present policy's figure for the learning curve: greedy, on critical positions."""
        return self._optimal(_greedy(self.table), self.critical) or 0.0

    def describe(self) -> dict[str, int]:
        """Counts behind the shares."""
        return {
            "positions": len(self.playable),
            "critical": int(self.critical_N.sum()),
            "measured_positions": len(self.nodes),
            "measured_critical": len(self.critical),
            "withheld_critical": int((self.critical_N & self.withheld_N).sum()),
        }

    def references(self) -> dict[str, dict[str, Any]]:
        """The players that need no training."""
        rows = {n: self._metrics(n, table) for n, table in self._references.items() if n != "perfect"}
        rows["base"] = self._language_model(None, "base")
        return rows

    def state_dict(self) -> dict[str, Any]:
        """The policy as it was after each phase: imitation cannot be met again once it has learned more."""
        return {name: self.generator.policy.state(name) for name in self._learned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, adapter in state.items():
            self.generator.policy.freeze(name, adapter)
            self._learned[name] = _greedy(self._table(name))

    def search_alone(self, cfg: SearchConfig) -> dict[str, Any]:
        """Self-play's search with nothing learned: uniform priors, random continuations, the same budget."""
        uniform = PolicyTable(self.graph, RandomPlayer().probabilities)
        return self._metrics("search_alone", SearchTable(uniform, cfg.continuations, 1.0, self.seed))

    def policy(self, name: str) -> dict[str, Any]:
        """The present policy, greedy; from then on also an opponent of the players to come."""
        self.generator.policy.freeze(name)
        return self._language_model(name, name)

    def policy_with_search(self, cfg: SearchConfig) -> dict[str, Any]:
        """The present policy's moves chosen by its own continuations: more compute, the same weights."""
        table = SearchTable(self.table, cfg.continuations, cfg.sharpness[1], self.seed)
        return self._metrics("selfplay_search", table)

    def _table(self, adapter: str | None) -> PolicyTable:
        return PolicyTable(self.graph, LMPlayer(Generator(self.generator.policy, adapter)).probabilities)

    def _language_model(self, adapter: str | None, name: str) -> dict[str, Any]:
        table = self._table(adapter)
        row = self._metrics(name, _greedy(table))
        if adapter is not None:
            self._learned[name] = _greedy(table)
        # The greedy player is the one that is measured; how it does when it samples, and how much
        # probability it leaves on illegal moves when nobody forbids them, stands beside it.
        player = LMPlayer(Generator(self.generator.policy, adapter))
        _, mass = player.probabilities_and_mass([self.graph.turns[node] for node in self.nodes])
        row["optimal_critical_sampled"] = self._optimal(table, self.critical)
        row["legal_probability"] = share(mass)
        return row

    def _optimal(self, table: Table, nodes: Nodes) -> float | None:
        return share((table(nodes) * self.optimal_NA[nodes]).sum(1))

    def _metrics(self, name: str, table: Table) -> dict[str, Any]:
        row: dict[str, Any] = {
            "optimal_critical": self._optimal(table, self.critical),
            "optimal_all": self._optimal(table, self.nodes),
        }
        if self.withheld_N.any():
            for suffix, part_N in (("seen", ~self.withheld_N), ("withheld", self.withheld_N)):
                for kind, nodes in (("critical", self.critical), ("all", self.nodes)):
                    row[f"optimal_{kind}_{suffix}"] = self._optimal(table, nodes[part_N[nodes]])
        row["worst_case"] = {str(seat): self._worst_case(table, seat) for seat in (0, 1)}
        opponents = self._references | self._learned
        row["versus"] = {
            opponent: self._match(table, other) for opponent, other in opponents.items() if opponent != name
        }
        return row

    def _worst_case(self, table: Table, seat: int) -> float | None:
        """What `seat` is sure of against every reply; None where more than `MANY` of its turns can come up.

        Only positions that can come up are asked about: after the player's moves, and all of the other's.
        """
        graph, table_NA = self.graph, np.zeros(self.graph.children_NA.shape)
        met_N = graph.moves_N == 0
        nodes = np.array([0])
        while len(nodes):
            met_N[nodes] = True
            own = nodes[graph.seat_N[nodes] == seat]
            if (table_NA > 0).any(1).sum() + len(own) > MANY:
                return None
            table_NA[own] = table(own)
            possible_NA = (table_NA[nodes] > 0) | (graph.seat_N[nodes] != seat)[:, None]
            after = np.unique(graph.children_NA[nodes][possible_NA & (graph.children_NA[nodes] >= 0)])
            nodes = after[~met_N[after]]
        value = float(backward(graph, table_NA, seat)[0])
        return round(value if seat == 0 else -value, 4) + 0.0

    def _match(self, table: Table, other: Table) -> dict[str, Any]:
        """Wins, draws and losses over paired games: every opening once from each seat."""
        rng = np.random.default_rng(self.seed)
        early = np.flatnonzero((self.graph.ply_N <= OPENING_PLIES) & (self.graph.moves_N > 0))
        # Where there are fewer openings than asked for, all are played: a game between two players that do
        # not vary says nothing new the second time.
        openings = rng.choice(early, min(max(1, self.matches // 2), len(early)), replace=False)
        first = self._play(table, other, openings, rng)
        second = self._play(other, table, openings, rng)
        returns = np.concatenate([first, -second])
        wins, losses = int((returns > 0).sum()), int((returns < 0).sum())
        draws = len(returns) - wins - losses
        score = (wins + draws / 2) / len(returns)
        interval = wilson(score, len(returns))
        return {"wins": wins, "draws": draws, "losses": losses, "score": round(score, 4), "ci95": interval}

    def _play(self, first: Table, second: Table, openings: Nodes, rng: np.random.Generator) -> Floats:
        """Seat 0's return of one game from each opening, `first` in seat 0."""
        current = openings.copy()
        while len(live := np.flatnonzero(self.graph.moves_N[current] > 0)):
            nodes = current[live]
            cumulative = np.zeros((len(live), self.graph.children_NA.shape[1]))
            for seat, table in enumerate((first, second)):
                here = self.graph.seat_N[nodes] == seat
                cumulative[here] = table(nodes[here]).cumsum(1)
            draw = rng.random(len(live)) * cumulative[:, -1]
            move = np.minimum((cumulative <= draw[:, None]).sum(1), self.graph.moves_N[nodes] - 1)
            current[live] = self.graph.children_NA[nodes, move]
        return self.graph.value_N[current].astype(np.float64)


def _greedy(table: PolicyTable) -> Table:
    return lambda nodes: greedy(table(nodes))
