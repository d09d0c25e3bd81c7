"""What every kind of evaluation gives: rows of players, the columns that show them, and one sentence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shuhari.envs.player import GreedyPlayer, Player, RandomPlayer
from shuhari.loops.evaluate import search_curve
from shuhari.loops.evaluate.search_curve import Searchers
from shuhari.loops.evaluate.skill_curve import percent as percent  # reports show it too
from shuhari.policy.lm_player import LMPlayer, Models
from shuhari.rewards.statistics import Scores

Row = dict[str, Any]  # a player's figures, as in report.json
Curves = dict[str, dict[int, float]]  # by kind and by number of samples, the share that is solved
Contestant = TypeVar("Contestant")  # what an evaluation measures: an `Entrant`, or what answers problems
UNWRITTEN = 0.5  # probability of legal moves, below which a policy does not know the game's text
MISTAKES = 6  # that a row keeps for a reader, under "mistakes"
RIVALS = ("expert", "expert_mode", "imitation", "search_alone")  # players that a policy must surpass


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the report's table. It is left out where no row has a text for it.

    cell: the text for a row, or None if the row has no such figure
    """

    head: str
    cell: Callable[[Row], str | None]


def versus(opponent: str, text: Callable[[Row], str]) -> Column:
    """The column of the matches against an opponent. In the opponent's own row it is empty."""
    return Column(
        f"vs {opponent}", lambda row: text(row["versus"][opponent]) if opponent in row["versus"] else ""
    )


LEGAL = Column("legal", lambda row: percent(row["legal_probability"]) if "legal_probability" in row else None)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A player of games, with its language model if it has one."""

    player: Player
    model: LMPlayer | None = None


class Evaluation(Generic[Contestant]):
    """Measures players. It knows solvers and held-out problems; the code that trains never sees it.

    metric: the key of the figure by which players are compared
    perfect: the metric of perfect play; None where it is not known
    sign: 1 if a larger metric is better, -1 if a smaller one is
    unit: "%" where the metric is a share, which people read as a percentage
    claim: what the metric says about a policy, with {} for the figure
    legend: what the columns mean
    curves_over: what curves are drawn against, by its name in TensorBoard
    curves_title, curves_legend: of their table
    notes: what a reader of the report must know
    """

    metric: str
    perfect: float | None = 1.0
    sign: int = 1
    unit = "%"
    claim: str
    legend: str
    curves_over = "samples"
    curves_title = curves_legend = ""
    columns: Sequence[Column]
    notes: Sequence[str] = ()

    def references(self) -> dict[str, Contestant]:
        """The players that need no training, by name."""
        raise NotImplementedError

    def policy(self, adapter: str | None) -> Contestant:
        """The policy with an adapter, or with None the base alone."""
        raise NotImplementedError

    def searcher(self, player: Player) -> Contestant:
        """A player from a source, such as a search. Raises ValueError where players do not choose moves."""
        raise ValueError(
            f"{type(self).__name__}: {type(player).__name__} chooses among moves, and there are none here"
        )

    def measure(self, name: str, player: Contestant) -> Row:
        """A player's row. `name`: the player's, so that it is not measured against itself."""
        raise NotImplementedError

    def skill(self) -> float:
        """The metric of the present policy, for the learning curve."""
        raise NotImplementedError

    def interval(self, skill: float, scores: Scores | None = None) -> tuple[float, float]:
        """The 95% interval of a point of the learning curve; the point itself where it is exact.

        scores: of the problems behind it, where a gate has measured it; None: `skill` was asked last
        """
        return skill, skill

    def solved(self, skill: float) -> bool:
        """Whether a policy of this skill has nothing left to learn."""
        return self.perfect is not None and self.sign * (skill - self.perfect) >= 0

    def counts(self) -> dict[str, int]:
        """How many problems or positions the figures rest on, by name."""
        raise NotImplementedError

    def remember(self, name: str, player: Contestant) -> None:
        """Make `player` an opponent of the players that are measured later, where there are opponents."""

    def brief(self) -> Sequence[Column]:
        """The columns that are shown beside another evaluation's columns: the metric first."""
        return self.columns[:1]

    def curves(self, players: dict[str, Row]) -> dict[str, Curves]:
        """Of each player that samples several answers: its skill against their number. None has any here."""
        return {}

    def samples_worth(self, players: dict[str, Row], trained: Sequence[str]) -> dict[str, Any] | None:
        """How many samples of an earlier player one sample of the last one equals, with its `sentence`."""
        return None

    def figure(self, row: Row) -> str:
        """The metric as text."""
        return percent(row[self.metric] or 0.0)

    def bound(self, row: Row) -> float:
        """The worse end of the metric's confidence interval, or the metric itself where it is exact."""
        return float(row[self.metric] or 0.0)

    def remark(self, row: Row) -> str:
        """What the sentence adds about a policy."""
        return ""

    def sentence(self, players: dict[str, Row], trained: Sequence[str]) -> str:
        """Whether the policy has surpassed its expert, and the other players that it must surpass.

        trained: names of trained players; the sentence is about the first of them that was measured
        """
        name = next((n for n in trained if n in players), None)
        if name is None:
            return "Nothing was trained: the table shows the reference players only."
        row, rivals = players[name], [n for n in RIVALS if n in players and n != name]
        surpassed = [
            n for n in rivals if self.sign * (self.bound(row) - (players[n][self.metric] or 0.0)) > 0
        ]
        compared = ", ".join(f"{n} {self.figure(players[n])}" for n in rivals)
        claim = f"{name} {self.claim.format(self.figure(row))}" + (f" ({compared})" if compared else "")
        claim += self.remark(row)
        if "expert" not in players:
            return f"{claim}; there is no expert to compare it with."
        if len(surpassed) == len(rivals):
            return f"{claim}: it has passed its expert and everything it could be mistaken for."
        others = [n for n in rivals if n not in surpassed]
        if "expert" in surpassed:
            return f"{claim}: it has passed its expert, but not {' and '.join(others)}."
        return f"{claim}: it has not passed {' or '.join(others)}."


class GameEvaluation(Evaluation[Entrant]):
    """What evaluations of games share: the reference players are random, the expert and the expert's mode."""

    curves_over, curves_title, curves_legend = "simulations", search_curve.TITLE, search_curve.LEGEND

    def __init__(
        self, expert: Player, models: Models, searchers: Searchers | None = None, simulations: int = 0
    ) -> None:
        """searchers: make the policy a player that searches. simulations: up to which curves go."""
        self.models, self.searchers, self.simulations = models, searchers, simulations
        players = {"random": RandomPlayer(), "expert": expert, "expert_mode": GreedyPlayer(expert)}
        self._references = {name: Entrant(player) for name, player in players.items()}
        self.opponents = dict(players)  # of matches; earlier policies join them

    def references(self) -> dict[str, Entrant]:
        return self._references

    def policy(self, adapter: str | None) -> Entrant:
        """It plays greedily."""
        model = self.models(adapter)
        return Entrant(GreedyPlayer(model), model)

    def remember(self, name: str, player: Entrant) -> None:
        self.opponents[name] = player.player

    def remark(self, row: Row) -> str:
        legal = row.get("legal_probability")
        if legal is None or legal >= UNWRITTEN:
            return ""
        return (
            f" and gives legal moves only {percent(legal)} of its probability, as if its base had never "
            "written them (policy.base, shuhari pretrain)"
        )

    def searcher(self, player: Player) -> Entrant:
        return Entrant(player)

    def searching(self, player: Entrant, skill: Callable[[Player], float]) -> Row:
        """A policy's skill by the number of simulations, where it can search."""
        if player.model is None or self.searchers is None:
            return {}
        sizes = search_curve.sizes(self.simulations)
        found = {str(n): skill(self.searchers(player.model.adapter, n)) for n in sizes if n}
        return {"searching": {"0": skill(GreedyPlayer(player.model))} | found} if found else {}

    def curves(self, players: dict[str, Row]) -> dict[str, Curves]:
        """Of each policy that searched."""
        return {
            name: {"search": {int(n): skill for n, skill in row["searching"].items()}}
            for name, row in players.items()
            if "searching" in row
        }

    def samples_worth(self, players: dict[str, Row], trained: Sequence[str]) -> dict[str, Any] | None:
        """How many simulations of imitation's equal the last policy without any, with its `sentence`."""
        curves, rival = self.curves(players), "imitation"
        name = next((n for n in trained if n in curves), rival)
        if name == rival or rival not in curves:
            return None
        level, curve = curves[name]["search"][0], curves[rival]["search"]
        return search_curve.worth_of_no_search(name, level, rival, curve)
