"""Opponents of self-play: the policy's own past, and players that do not learn.

Whoever plays only himself can forget what he once knew an answer to. So a share of the games is against a
league. Its members are drawn as in prioritized fictitious self-play (Vinyals et al. 2019, "Grandmaster level
in StarCraft II using multi-agent reinforcement learning"): in proportion to (1 - w)^2, where w is the score
against a member, and with a floor, so that nobody is forgotten.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.player import Floats, Ints, Player
from shuhari.loops.collect.source import Rng
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.match import moves_of, points

PAST = 6  # earlier policies that are kept, spread over the phase
FLOOR = 0.02  # of (1 - w)^2
PRIOR = 4.0  # games that are taken for drawn, before there are any
MEMORY = 0.9  # of earlier results, each round: the policy of today is another


@dataclass
class Member:
    """An opponent, and what the policy has scored against it.

    since: the round after which it was the policy; None of those that never learned
    """

    name: str
    player: Player
    since: int | None = None
    score: float = 0.0
    games: float = 0.0

    @property
    def expected(self) -> float:
        """The policy's score against it, from 0 to 1."""
        return (self.score + PRIOR / 2) / (self.games + PRIOR)


class League:
    """Members that sit against the policy in a share of its games."""

    def __init__(
        self, present: LMPlayer, models: Callable[[str], LMPlayer], fixed: Mapping[str, Player]
    ) -> None:
        """present: the policy that learns. models: make a player of a frozen adapter. fixed: never learn."""
        self.present, self.models = present, models
        self.members = [Member(name, player) for name, player in fixed.items()]

    def add(self, number: int) -> None:
        """Keep the policy as it is after `number` rounds. Of `PAST` others the one goes whose neighbours in
        time are nearest to each other; the newest and the oldest stay."""
        past = [member for member in self.members if member.since is not None]
        names = {f"past {i}" for i in range(PAST)} - {member.name for member in past}
        if not names:
            rounds = [member.since or 0 for member in past]
            between = [rounds[i + 1] - rounds[i - 1] for i in range(1, len(past) - 1)]
            dropped = past[1 + int(np.argmin(between))]
            self.members.remove(dropped)
            names = {dropped.name}
        name = min(names)
        self.present.policy.freeze(name)
        self.members.append(Member(name, self.models(name), number))

    def draw(self, n: int, rng: Rng) -> Ints:
        """The numbers [n] of members, who meet the policy in as many games.

        All forget what they have answered before, because a resumed run would not know it.
        """
        versions = self.present.policy.versions
        versions.update({adapter: version + 1 for adapter, version in versions.items()})
        weight = np.array([max(FLOOR, (1 - member.expected) ** 2) for member in self.members])
        return rng.choice(len(self.members), size=n, p=weight / weight.sum())

    def moves(self, simulator: Simulator, positions: Positions, members: Ints, rng: Rng) -> Ints:
        """The move [N] of each position's member."""
        moves_N = np.zeros(len(positions), dtype=np.int64)
        for number in np.unique(members):
            theirs = np.flatnonzero(members == number)
            moves_N[theirs] = moves_of(self.members[number].player, simulator, positions[theirs], rng)
        return moves_N

    def record(self, members: Ints, returns: Floats) -> None:
        """What the policy has earned against each of these members, [N]."""
        for number, member in enumerate(self.members):
            own = points(returns[members == number])
            member.score = MEMORY * member.score + float(own.sum())
            member.games = MEMORY * member.games + len(own)

    def figures(self) -> dict[str, float]:
        """The mean and the least score against a member; for TensorBoard."""
        expected = [member.expected for member in self.members]
        return {"league_score": float(np.mean(expected)), "league_worst": min(expected)}

    def state(self) -> list[dict[str, Any]]:
        """Results, and the adapters of the past."""
        return [
            {
                "name": member.name,
                "since": member.since,
                "score": member.score,
                "games": member.games,
                "adapter": None if member.since is None else self.present.policy.state(member.name),
            }
            for member in self.members
        ]

    def load(self, state: Sequence[dict[str, Any]]) -> None:
        fixed = {member.name: member.player for member in self.members if member.since is None}
        self.members = []
        for kept in state:
            if kept["since"] is not None:
                self.present.policy.freeze(kept["name"], kept["adapter"])
            player = fixed.get(kept["name"]) or self.models(kept["name"])
            self.members.append(Member(kept["name"], player, kept["since"], kept["score"], kept["games"]))
