"""How well does each player play a game that nobody can list? By matches against others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.games.solved_positions import STAGES, SolvedPosition
from shuhari.envs.player import GreedyPlayer, Player
from shuhari.loops.evaluate.evaluation import LEGAL, Column, Entrant, GameEvaluation, Row, versus
from shuhari.loops.evaluate.search_curve import Searchers
from shuhari.loops.evaluate.skill_curve import percent
from shuhari.policy.lm_player import Models
from shuhari.policy.match import play_pairs, tally
from shuhari.policy.policy import LEARNING
from shuhari.rewards.statistics import Scores, share, wilson

WATCHED = 32  # openings behind a point of the learning curve, each played from both seats
WEIGHED = 256  # positions behind the mass of legal moves
KEEPS = (
    " keeps: of solved positions where moves differ, by plies played, the share in which it plays a move "
    "that keeps the game's value."
)
SCORE = "{wins}-{draws}-{losses}".format_map


def _keeps(stage: str) -> Column:
    return Column(
        f"keeps {stage}", lambda row: percent(row["keeps_value"][stage]) if "keeps_value" in row else None
    )


class MatchedGame(GameEvaluation):
    """Measures players by their score against the expert; a draw is half a win.

    Each opening, a few random moves into the game, is played from both seats. A policy is measured as it
    plays greedily; the expert's moves have their own luck, so no game is played twice.
    """

    metric = "score_vs_expert"
    perfect = None
    claim = "scores {} against its expert"
    legend = (
        "score: against the expert, where a draw is half a win, with its 95% interval. vs: "
        "wins-draws-losses, with every opening from both seats. legal: the probability that a policy gives "
        "to legal moves without being limited to them."
    )
    columns = (
        Column("score", lambda row: percent(row["score_vs_expert"])),
        Column("ci95", lambda row: "{:.3f} to {:.3f}".format(*row["ci95"]) if "ci95" in row else ""),
        *(versus(name, SCORE) for name in ("expert", "expert_mode", "imitation", "random")),
        LEGAL,
        *(_keeps(stage) for stage in STAGES),
    )

    def __init__(
        self,
        simulator: Simulator,
        expert: Player,
        models: Models,
        openings: Positions,
        validation: Positions,
        seed: int,
        solved: Mapping[str, Sequence[SolvedPosition]],
        searchers: Searchers | None = None,
        simulations: int = 0,
    ) -> None:
        """`openings`: of the matches that are reported. `validation`: of the learning curve's. `solved`:
        positions whose moves are solved, by stage."""
        super().__init__(expert, models, searchers, simulations)
        self.simulator, self.expert, self.seed = simulator, expert, seed
        self.openings, self._watched, self.known = openings, validation[:WATCHED], solved
        self.legend = type(self).legend + (KEEPS if solved else "")
        self._present = GreedyPlayer(models(LEARNING))

    def skill(self) -> float:
        return float(self._match(self._present, self.expert, self._watched)["score"])

    def interval(self, skill: float, scores: Scores | None = None) -> tuple[float, float]:
        """Wilson's over the games."""
        low, high = wilson(skill, 2 * len(self._watched))
        return low, high

    def counts(self) -> dict[str, int]:
        solved = {"solved_positions": n} if (n := sum(map(len, self.known.values()))) else {}
        return {"games": 2 * len(self.openings), "openings": len(self.openings)} | solved

    def bound(self, row: Row) -> float:
        return float(row["ci95"][0]) if "ci95" in row else float(row[self.metric])

    def measure(self, name: str, player: Entrant) -> Row:
        matches = {
            opponent: self._match(player.player, other, self.openings)
            for opponent, other in self.opponents.items()
            if opponent != name
        }
        row: Row = {self.metric: 0.5, "versus": matches}
        if "expert" in matches:
            row |= {self.metric: matches["expert"]["score"], "ci95": matches["expert"]["ci95"]}
        if self.known:
            row["keeps_value"] = {
                stage: self._keeps_value(player.player, found) for stage, found in self.known.items()
            }
        if player.model is not None:
            row |= self.searching(
                player, lambda p: float(self._match(p, self.expert, self._watched)["score"])
            )
            turns = self.simulator.views(self.openings[:WEIGHED])
            row["legal_probability"] = share(player.model.probabilities_and_mass(turns)[1])
        return row

    def _keeps_value(self, player: Player, solved: Sequence[SolvedPosition]) -> float | None:
        """The share of positions in which the player moves as well as can be."""
        rng = np.random.default_rng(self.seed)
        turns = [replace(position.turn, seed=int(rng.integers(2**31))) for position in solved]
        moves = player.act(turns)
        return share([float(move in position.best) for move, position in zip(moves, solved, strict=True)])

    def _match(self, player: Player, opponent: Player, openings: Positions) -> dict[str, Any]:
        def luck(seat: int) -> np.random.Generator:
            return np.random.default_rng([self.seed, seat])

        return tally(play_pairs(self.simulator, player, opponent, openings, luck))
