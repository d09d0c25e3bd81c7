"""Where batches come from: what every source promises, and what several sources share."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from shuhari.envs.games.board_view import BoardView
from shuhari.envs.games.simulator import Simulator
from shuhari.envs.player import Player, draw
from shuhari.envs.types import Turn
from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.replay import Replay
from shuhari.policy.continuation_search import PolicyTable
from shuhari.policy.policy import Tokens
from shuhari.policy.render import Renderer

Rng = np.random.Generator
COUNTS = ("episodes", "unjudged", "trouble")  # attributes that are in the state of every source


class Source:
    """Gives the batches of one round after another. It can stop after any round and continue from its state,
    bit for bit.

    It knows players and environments, and neither optimizer nor evaluation.

    kept: names of the attributes that a subclass adds to the state
    figures: what describes the last round, for TensorBoard
    shares: what became of its episodes, by the names of `loops/health_table.py`
    decisions, sampled: decisions in environments, and tokens that were sampled, since it was made
    """

    kept: ClassVar[tuple[str, ...]] = ()

    def __init__(self, rounds: int, rng: Rng, updates: int = 1, replay: int = 0) -> None:
        """`updates`: most batches of a round. `replay`: the size of the replay, in items."""
        self.rounds, self.rng, self.replay = rounds, rng, Replay[Any](replay)
        self.updates = rounds * updates  # most optimizer steps of all rounds
        self.episodes = 0  # episodes played so far, or traces read
        self.unjudged = 0  # those of them that have no verdict
        self.figures: dict[str, float] = {}
        self.shares: dict[str, float] = {}
        self.decisions = self.sampled = 0
        self.taught = True  # whether a batch so far could teach something
        self.trouble = ""  # why the first episode without a verdict has none

    def batches(self, number: int) -> Iterator[Batch]:
        """The batches of a round, one for each optimizer step. Rounds are numbered from 0.

        A batch is made only after the one before it has been learned.
        """
        raise NotImplementedError

    def fresh(self) -> Batch | None:
        """Some of what the policy has sampled as it is, at temperature 1 and without exploring, with the
        sampler's log-probabilities; None where there is nothing. Each is given once."""
        return None

    def sample(self) -> str:
        """A recent episode, as text for a person."""
        raise NotImplementedError

    def answers(self) -> str:
        """Several answers of the last round, right and wrong, as Markdown; "" where nobody judges answers."""
        return ""

    def boards(self) -> list[BoardView]:
        """What the policy would play in a few positions, always the same; none where no game is played."""
        return []

    def players(self, before: bool) -> dict[str, Player]:
        """Players of this source that are measured beside the policy, before or after the phase."""
        return {}

    def progress(self, number: int) -> float:
        """From 0 in the first round to 1 in the last."""
        return number / max(1, self.rounds - 1)

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name) for name in (*COUNTS, *self.kept)}
        return parts | {"rng": self.rng.bit_generator.state, "replay": self.replay.items}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state, self.replay.items = state["rng"], state["replay"]
        for name in (*COUNTS, *self.kept):
            setattr(self, name, state[name])


def geometric(ends: Sequence[float], share: float) -> float:
    """A value between the two ends, in geometric progression. `share`: 0 gives the first end, 1 the last."""
    return float(ends[0] * (ends[1] / ends[0]) ** share)


def mean_entropy(targets: Sequence[Sequence[float]]) -> float:
    """The mean entropy of distributions, in nats."""
    flat = np.fromiter(chain.from_iterable(targets), dtype=np.float64)
    return float(-(flat * np.log(np.maximum(flat, 1e-12))).sum() / len(targets))


def move_batch(renderer: Renderer, turns: Sequence[Turn], targets: Sequence[Sequence[float]]) -> Batch:
    """Each legal move of each turn is a completion, and its target probability is its weight."""
    prompts: list[Tokens] = []
    completions: list[Tokens] = []
    weights: list[float] = []
    groups: list[int] = []
    for number, (turn, target) in enumerate(zip(turns, targets, strict=True)):
        moves = renderer.choices(turn.legal_actions)
        prompts += [renderer.first(turn.observation)] * len(moves)
        completions += moves
        weights += target[: len(moves)]
        groups += [number] * len(moves)
    return Batch(prompts, completions, weights, groups=groups)


def game_as_text(simulator: Simulator, player: Player, seed: int) -> str:
    """One game of a player against itself, as its seats saw it. Its own seed keeps it from changing a run."""
    rng, lines = np.random.default_rng(seed), []
    table, position = PolicyTable(simulator, player), simulator.start(1, rng)
    while simulator.seats(position)[0] >= 0:
        situation = simulator.situations(position)
        p = table(situation)
        move = draw(p, rng.random(1))
        turn = simulator.turns[situation[0]]
        lines.append(f"{turn.observation} {turn.legal_actions[move[0]]}   (p = {p[0, move[0]]:.2f})")
        position = simulator.play(position, move, rng)
    return "\n".join([*lines, f"first seat's return: {simulator.returns(position)[0, 0]:+g}"])
