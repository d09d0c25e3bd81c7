"""How well does each player play a game that can be listed? By the game's solution, and in matches."""

from typing import Any

import numpy as np
import numpy.typing as npt

from shuhari.envs.games.graph import GameGraph, backward_induction, optimal_moves
from shuhari.envs.games.players import PerfectPlayer
from shuhari.envs.player import GreedyPlayer, Ints, Player
from shuhari.loops.evaluate.evaluation import (
    MISTAKES,
    Column,
    Entrant,
    GameEvaluation,
    Row,
    versus,
)
from shuhari.loops.evaluate.search_curve import Searchers
from shuhari.loops.evaluate.skill_curve import percent
from shuhari.policy.continuation_search import PolicyTable, Table
from shuhari.policy.lm_player import Models
from shuhari.policy.match import play_pairs, tally
from shuhari.policy.policy import LEARNING
from shuhari.rewards.statistics import Scores, share, wilson

OPENING_PLIES = 3  # matches start from positions at most this far into the game, each played from both seats
MANY = 10_000  # a game with more positions has its shares estimated
SAMPLE = 5_000  # on so many of its positions
SEARCHED = 2_000  # critical positions behind each point of skill against simulations
POSITIONS = 4  # for each match that is wanted, behind a point of the learning curve


def _worst(row: Row) -> str | None:
    worst = row["worst_case"]  # None: there are too many replies
    return None if None in worst.values() else f"{worst['0']:+.2f} {worst['1']:+.2f}"


def _share(key: str, head: str) -> Column:
    return Column(head, lambda row: percent(row[key]) if key in row else None)


class ListedGame(GameEvaluation):
    """Measures players of one solved game.

    In a game of more than `MANY` positions, shares are those of a sample, which is the same for every player
    and run. The solution and a player's worst case are exact. A policy is measured as it plays greedily. Its
    row also says how often its samples are optimal, and how much probability it gives to legal moves.
    """

    metric = "optimal_critical"
    claim = "plays the best move in {} of critical positions"
    legend = (
        "critical, all: share of (critical) positions in which a best move is played; in a critical one some "
        "legal move is not a best one. worst case: value from the first and the second seat against every "
        "reply. vs: wins-draws-losses, with every opening from both seats."
    )
    columns = (
        _share("optimal_critical", "critical"),
        _share("optimal_all", "all"),
        _share("optimal_critical_seen", "seen"),
        _share("optimal_critical_withheld", "withheld"),
        Column("worst case", _worst),
        *(versus(n, "{wins}-{draws}-{losses}".format_map) for n in ("expert", "perfect")),
    )

    def __init__(
        self,
        graph: GameGraph,
        expert: Player,
        models: Models,
        withheld_N: npt.NDArray[np.bool_],
        *,
        matches: int,
        seed: int,
        searchers: Searchers | None = None,
        simulations: int = 0,
    ) -> None:
        """`withheld_N`: whether each position is held out."""
        super().__init__(expert, models, searchers, simulations)
        self.graph = graph
        self.withheld_N, self.matches, self.seed = withheld_N, matches, seed
        self.playable = np.flatnonzero(graph.moves_N > 0)
        self._value = float(backward_induction(graph)[0])  # of perfect play, for the first seat
        self.optimal_NA = optimal_moves(graph)
        self.critical_N = (graph.moves_N > 0) & (self.optimal_NA.sum(1) < graph.moves_N)
        self.nodes = self.playable
        if len(self.nodes) > MANY:
            self.nodes = np.sort(np.random.default_rng(0).choice(self.nodes, SAMPLE, replace=False))
        self.critical = self.nodes[self.critical_N[self.nodes]]
        # Points of the learning curve rest on fewer positions where few matches are wanted.
        n = min(len(self.critical), POSITIONS * matches)
        self._watched = np.sort(np.random.default_rng(1).choice(self.critical, n, replace=False))
        n = min(len(self.critical), SEARCHED)
        self._searched = np.sort(np.random.default_rng(2).choice(self.critical, n, replace=False))
        self._present = PolicyTable(graph, GreedyPlayer(models(LEARNING)))
        self.opponents["perfect"] = PerfectPlayer(graph)

    def skill(self) -> float:
        return self._optimal(self._present, self._watched) or 0.0

    def interval(self, skill: float, scores: Scores | None = None) -> tuple[float, float]:
        """Wilson's over the critical positions that are watched; exact where those are all that there are."""
        if len(self._watched) == self.critical_N.sum():
            return skill, skill
        low, high = wilson(skill, len(self._watched))
        return low, high

    def bound(self, row: Row) -> float:
        """Of a game that is too large to be measured as a whole, the lower end of the sample's interval."""
        share = super().bound(row)
        return share if len(self.critical) == self.critical_N.sum() else wilson(share, len(self.critical))[0]

    def counts(self) -> dict[str, int]:
        return {
            "positions": len(self.playable),
            "critical": int(self.critical_N.sum()),
            "measured_positions": len(self.nodes),
            "measured_critical": len(self.critical),
            "withheld_critical": int((self.critical_N & self.withheld_N).sum()),
        }

    def remark(self, row: Row) -> str:
        unwritten = super().remark(row)
        if _worst(row) is None:
            return unwritten
        first, second = row["worst_case"].values()
        if first < self._value or second < -self._value:
            return f" and can still be beaten{unwritten}"
        never = "never loses" if self._value == 0 else "gets all that the game allows"
        return f" and {never}, whatever the reply{unwritten}"

    def measure(self, name: str, player: Entrant) -> Row:
        table = PolicyTable(self.graph, player.player)
        row: Row = {
            "optimal_critical": self._optimal(table, self.critical),
            "optimal_all": self._optimal(table, self.nodes),
        }
        if self.withheld_N.any():
            for suffix, part_N in (("seen", ~self.withheld_N), ("withheld", self.withheld_N)):
                for kind, nodes in (("critical", self.critical), ("all", self.nodes)):
                    row[f"optimal_{kind}_{suffix}"] = self._optimal(table, nodes[part_N[nodes]])
        row["worst_case"] = {str(seat): self._worst_case(table, seat) for seat in (0, 1)}
        row["versus"] = {n: self._match(player.player, p) for n, p in self.opponents.items() if n != name}
        if player.model is not None:
            row["mistakes"] = self._mistakes(table)
            sampled = PolicyTable(self.graph, player.model)
            row["optimal_critical_sampled"] = self._optimal(sampled, self.critical)
            turns = [self.graph.turns[node] for node in self.nodes]
            row |= self.searching(
                player, lambda p: self._optimal(PolicyTable(self.graph, p), self._searched) or 0.0
            )
            row["legal_probability"] = share(player.model.probabilities_and_mass(turns)[1])
        return row

    def _optimal(self, table: Table, nodes: Ints) -> float | None:
        """The share of positions in which a best move is played."""
        return share((table(nodes) * self.optimal_NA[nodes]).sum(1))

    def _mistakes(self, table: Table) -> list[dict[str, Any]]:
        """Critical positions in which a move that is not a best one is the likeliest, for a reader."""
        chosen = table(self.critical).argmax(1)
        wrong = np.flatnonzero(~self.optimal_NA[self.critical, chosen])[:MISTAKES]
        turns = [(i, self.graph.turns[self.critical[i]]) for i in wrong]
        return [
            {
                "position": turn.observation,
                "move": turn.legal_actions[chosen[i]],
                "best": [turn.legal_actions[a] for a in np.flatnonzero(self.optimal_NA[self.critical[i]])],
            }
            for i, turn in turns
        ]

    def _worst_case(self, table: Table, seat: int) -> float | None:
        """The least return of `seat` against any reply; None if more than `MANY` of its turns can come up.

        The table is asked only about positions that can come up after its own moves and any move of the
        opponent.
        """
        graph, table_NA = self.graph, np.zeros(self.graph.children_NA.shape)
        visited_N = graph.moves_N == 0
        nodes = np.array([0])
        while len(nodes):
            visited_N[nodes] = True
            to_move = nodes[graph.seat_N[nodes] == seat]
            if (table_NA > 0).any(1).sum() + len(to_move) > MANY:
                return None
            table_NA[to_move] = table(to_move)
            possible_NA = (table_NA[nodes] > 0) | (graph.seat_N[nodes] != seat)[:, None]
            after = np.unique(graph.children_NA[nodes][possible_NA & (graph.children_NA[nodes] >= 0)])
            nodes = after[~visited_N[after]]
        value = float(backward_induction(graph, table_NA, seat)[0])
        return round(value if seat == 0 else -value, 4) + 0.0

    def _match(self, player: Player, opponent: Player) -> dict[str, Any]:
        """Wins, draws and losses over paired games: each opening is played once from each seat."""
        rng = np.random.default_rng(self.seed)
        early = np.flatnonzero((self.graph.ply_N <= OPENING_PLIES) & (self.graph.moves_N > 0))
        # An opening is not played a second time: between deterministic players it would be the same game.
        openings = rng.choice(early, min(max(1, self.matches // 2), len(early)), replace=False)
        returns = play_pairs(self.graph, player, opponent, openings, lambda seat: rng)
        return tally(returns)
