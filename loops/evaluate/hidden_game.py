"""How well does each player play a game that hides something? NashConv says it, over the whole game tree."""

from shuhari.envs.games.equilibrium import NoisyEquilibriumPlayer, information_turns, mean_return, nash_conv
from shuhari.envs.player import Player
from shuhari.loops.evaluate.evaluation import LEGAL, Column, Entrant, GameEvaluation, Row, versus
from shuhari.policy.lm_player import Models
from shuhari.policy.policy import LEARNING
from shuhari.rewards.statistics import share


class HiddenGame(GameEvaluation):
    """Measures players that draw their moves from their probabilities.

    Raises ValueError for a game whose tree is too large.
    """

    metric = "nash_conv"
    perfect = 0.0
    sign = -1
    unit = ""
    claim = "leaves its opponents {} to win by their best answers"
    legend = (
        "nash_conv: what both seats' best replies win together; 0 in an equilibrium. vs: mean return, over "
        "both seats. legal: the probability that a policy gives to legal moves without being limited to them."
    )
    columns = (
        Column("nash_conv", lambda row: f"{row['nash_conv']:.3f}"),
        *(versus(n, lambda match: f"{match['mean_return']:+.3f}") for n in ("random", "expert", "perfect")),
        LEGAL,
    )

    def __init__(self, game: str, expert: Player, models: Models) -> None:
        super().__init__(expert, models)
        self.game = game
        try:
            self.turns = [turn for turn, _ in information_turns(game).values()]
        except MemoryError as error:
            raise ValueError(str(error)) from None
        self.opponents["perfect"] = NoisyEquilibriumPlayer(game, 0.0)

    def policy(self, adapter: str | None) -> Entrant:
        """It plays at temperature 1: where something is hidden, who plays one move for sure is exploited."""
        model = self.models(adapter)
        return Entrant(model, model)

    def skill(self) -> float:
        return nash_conv(self.game, self.models(LEARNING))

    def counts(self) -> dict[str, int]:
        return {"situations": len(self.turns)}

    def figure(self, row: Row) -> str:
        return f"{row['nash_conv']:.3f}"

    def measure(self, name: str, player: Entrant) -> Row:
        versus = {
            opponent: {"mean_return": round(mean_return(self.game, player.player, other), 4) + 0.0}
            for opponent, other in self.opponents.items()
            if opponent != name
        }
        row: Row = {"nash_conv": round(nash_conv(self.game, player.player), 4) + 0.0, "versus": versus}
        if player.model is not None:
            row["legal_probability"] = share(player.model.probabilities_and_mass(self.turns)[1])
        return row
