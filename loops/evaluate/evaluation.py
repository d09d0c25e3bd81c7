"""What every kind of evaluation promises: rows of players, the columns that show them, one sentence."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shuhari.envs.player import GreedyPlayer, Player, RandomPlayer
from shuhari.policy.lm_player import LMPlayer, Models

Row = dict[str, Any]  # a player's figures: what stands in report.json
Contestant = TypeVar(
    "Contestant"
)  # whom a kind of evaluation measures: an `Entrant`, or who answers problems
RIVALS = ("expert", "expert_mode", "imitation", "search_alone")  # what a policy could be mistaken for


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `cell` gives its text in a row, or None where the row has no such figure.

    Where no row has one, the column is left out.
    """

    head: str
    cell: Callable[[Row], str | None]


def versus(opponent: str, text: Callable[[Row], str]) -> Column:
    """The column of matches against an opponent, in whose row it stays empty."""
    return Column(
        f"vs {opponent}", lambda row: text(row["versus"][opponent]) if opponent in row["versus"] else ""
    )


def percent(value: float | None) -> str:
    """Rounded down, so that only what is perfect reads as 100%."""
    return "" if value is None else f"{math.floor(value * 1000 + 1e-6) / 10:.1f}%"


@dataclass(frozen=True, slots=True)
class Entrant:
    """A player of games, and the language model behind it where there is one."""

    player: Player
    model: LMPlayer | None = None


class Evaluation(Generic[Contestant]):
    """Measures players. It knows solvers and held-out problems, and what trains never sees it.

    metric: the figure of a row that decides, by its key
    perfect: the metric's value of perfect play, where that is known
    sign: 1 where more of the metric is better, -1 where less is
    claim: what the metric says of a policy, with {} for the figure
    """

    metric: str
    perfect: float | None = 1.0
    sign: int = 1
    claim: str
    legend: str
    columns: Sequence[Column]
    notes: Sequence[str] = ()  # what a reader of the report must know

    def references(self) -> dict[str, Contestant]:
        """The players that need no training, by the names of their rows."""
        raise NotImplementedError

    def policy(self, adapter: str | None) -> Contestant:
        """The policy with an adapter, or (None) the bare base."""
        raise NotImplementedError

    def searcher(self, player: Player) -> Contestant:
        """A player of moves, which a source brings along."""
        raise ValueError(
            f"{type(self).__name__}: {type(player).__name__} chooses among moves: there are none here"
        )

    def measure(self, name: str, player: Contestant) -> Row:
        """A player's row. `name` is the row's: nobody is measured against himself."""
        raise NotImplementedError

    def skill(self) -> float:
        """The present policy's figure for the learning curve, in the metric's unit."""
        raise NotImplementedError

    def solved(self, skill: float) -> bool:
        """Whether there is nothing left to learn at this figure."""
        return self.perfect is not None and self.sign * (skill - self.perfect) >= 0

    def counts(self) -> dict[str, int]:
        """What the figures rest on."""
        raise NotImplementedError

    def remember(self, name: str, player: Contestant) -> None:
        """From now on `player` is also an opponent, where there are any."""

    def brief(self) -> Sequence[Column]:
        """What is shown of an evaluation beside another: the metric first."""
        return self.columns[:1]

    def figure(self, row: Row) -> str:
        """The metric, as a person reads it."""
        return percent(row[self.metric] or 0.0)

    def surely(self, row: Row) -> float:
        """The metric's bound that chance does not explain: itself, where it is exact."""
        return float(row[self.metric] or 0.0)

    def remark(self, row: Row) -> str:
        """What else the sentence says of a policy."""
        return ""

    def sentence(self, players: dict[str, Row], learned: Sequence[str]) -> str:
        """Has the policy passed its expert, and everything it could be mistaken for?

        It speaks of the first of `learned` that there is.
        """
        name = next((n for n in learned if n in players), None)
        if name is None:
            return "Nothing was trained: the table shows the reference players only."
        own, rivals = players[name], [n for n in RIVALS if n in players and n != name]
        sure = self.sign * self.surely(own)
        beaten = [n for n in rivals if sure > self.sign * (players[n][self.metric] or 0.0)]
        compared = ", ".join(f"{n} {self.figure(players[n])}" for n in rivals)
        said = f"{name} {self.claim.format(self.figure(own))}" + (f" ({compared})" if compared else "")
        said += self.remark(own)
        if "expert" not in players:
            return f"{said}; there is no expert to compare it with."
        if len(beaten) == len(rivals):
            return f"{said}: it has passed its expert and everything it could be mistaken for."
        unbeaten = [n for n in rivals if n not in beaten]
        if "expert" in beaten:
            return f"{said}: it has passed its expert, but not {' and '.join(unbeaten)}."
        return f"{said}: it has not passed {' or '.join(unbeaten)}."


class GameEvaluation(Evaluation[Entrant]):
    """What evaluations of games share: the references are the random player, the expert and its mode."""

    def __init__(self, expert: Player, models: Models) -> None:
        self.models = models
        players = {"random": RandomPlayer(), "expert": expert, "expert_mode": GreedyPlayer(expert)}
        self._references = {name: Entrant(player) for name, player in players.items()}

    def references(self) -> dict[str, Entrant]:
        return self._references

    def searcher(self, player: Player) -> Entrant:
        return Entrant(player)
