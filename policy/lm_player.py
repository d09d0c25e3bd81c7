"""The language model as a player of games: it chooses among the legal moves by their probability."""

from collections.abc import Callable, Sequence

import numpy as np

from shuhari.envs.player import Floats, Player
from shuhari.envs.progress import counting
from shuhari.envs.types import Turn
from shuhari.policy.policy import LEARNING, REMEMBERED, Policy
from shuhari.policy.render import Renderer
from shuhari.policy.shared_scoring import shared_logprobs

MOST = 256  # turns of one forward pass: more do not fit the processor's caches and take 1.4 times as long


class LMPlayer(Player):
    """A policy with one of its adapters, or (`adapter=None`) the base alone.

    What it has answered at the present weights it remembers: a measure asks for the same turns greedily, by
    samples, and for the mass of legal moves.
    """

    def __init__(self, policy: Policy, renderer: Renderer, adapter: str | None = LEARNING) -> None:
        self.policy, self.renderer, self.adapter = policy, renderer, adapter
        self._known: dict[tuple[str, tuple[str, ...]], Floats] = {}  # log-probabilities of a turn's moves
        self._known_at = self.version

    @property
    def version(self) -> int:  # type: ignore[override]
        return self.policy.versions[self.adapter]

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        """The model's probabilities, renormalised over each turn's legal moves, at temperature 1."""
        return self.probabilities_and_mass(turns)[0]

    def probabilities_and_mass(self, turns: Sequence[Turn]) -> tuple[list[Floats], list[float]]:
        """The same, and beside it the probability that the model gives to all legal moves of each turn."""
        self._ask(turns)
        known = [self._known[turn.observation, turn.legal_actions] for turn in turns]
        shares = [np.exp(x - x.max()) for x in known]  # these do not vanish, however small the mass is
        return [p / p.sum() for p in shares], [float(np.exp(x).sum()) for x in known]

    def _ask(self, turns: Sequence[Turn]) -> None:
        """Make sure that the answers to these turns are known."""
        if self._known_at != self.version or len(self._known) > REMEMBERED:
            self._known, self._known_at = {}, self.version
        asked = {(turn.observation, turn.legal_actions): turn for turn in turns}
        new = [(key, turn) for key, turn in asked.items() if key not in self._known]
        with counting("positions", len(new)) as tell:
            for i in range(0, len(new), MOST):
                tell(i)
                keys, chunk = zip(*new[i : i + MOST], strict=True)
                self._known.update(zip(keys, self._logprobs(chunk), strict=True))

    def _logprobs(self, turns: Sequence[Turn]) -> list[Floats]:
        """The log-probability of each legal move of each turn, as the text that the model would write."""
        prompts = [self.renderer.first(turn.observation) for turn in turns]
        moves = [self.renderer.choices(turn.legal_actions) for turn in turns]
        pairs = [(prompt, move) for prompt, own in zip(prompts, moves, strict=True) for move in own]
        with self.policy.inference():
            scored = shared_logprobs(self.policy, pairs, self.adapter)
        logprobs = np.zeros(len(pairs))
        np.add.at(logprobs, scored.sequence_N.cpu().numpy(), scored.logprobs_N.double().cpu().numpy())
        return np.split(logprobs, np.cumsum([len(own) for own in moves])[:-1])


Models = Callable[[str | None], LMPlayer]  # adapter, or None for the base alone, to its player
