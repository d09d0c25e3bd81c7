"""Phase 2 in games that hide nothing: the policy searches, plays what it finds, and learns it, as AlphaZero.

Each round plays some games. Every move is searched (`policy/tree_search.py`), with the present policy's
probabilities and its word for who will win. The search's improved policy becomes the target of the position's
moves (Danihelka et al. 2022), and a mix of the game's end and of what the search expected becomes the target
of its outcome. Both enter a replay, from which the policy is distilled: one adapter learns both as text.
Nothing here reads a solver.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from shuhari.envs.games.board_view import BoardView, board_views
from shuhari.envs.games.simulator import Positions, Simulator, outcome_turn
from shuhari.envs.games.symmetry import pick
from shuhari.envs.player import Floats, Ints, Player
from shuhari.envs.types import Turn
from shuhari.loops.collect.league import League
from shuhari.loops.collect.openings import Openings
from shuhari.loops.collect.source import Rng, Source, game_as_text, mean_entropy, move_batch
from shuhari.loops.config import SearchPlayConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.leaf_evaluators import Evaluator, RandomRollouts, outcomes_of
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.policy import REMEMBERED
from shuhari.policy.search_rules import RULES
from shuhari.policy.tree_search import TreeSearch, TreeSearchPlayer

# Of what enters the replay, the share that is chosen by how much a search has changed the policy's mind
# (policy surprise weighting, Wu 2019, "Accelerating self-play learning in Go"). Where all moves are as good
# there is little to learn, and so it is in two thirds of Connect Four's positions.
SURPRISING = 0.5
SNAPSHOTS = 12  # policies that a league is offered over a phase

# What is seen of a position, its moves, the seat to move, and the targets of moves and of outcomes.
Item = tuple[str, tuple[str, ...], int, list[float], list[float]]


class Decision(NamedTuple):
    """A searched position of a game: what its search has found, as in `Found`."""

    game: int
    turn: Turn
    policy: list[float]
    outcome_O: Floats
    surprise: float


class SearchPlay(Source):
    """One round plays `games` games, then gives `updates` batches from the replay."""

    def __init__(
        self,
        simulator: Simulator,
        openings: Openings,
        player: LMPlayer,
        evaluate: Evaluator,
        cfg: SearchPlayConfig,
        rng: Rng,
        seed: int,
        withholds: Callable[[str], bool] = lambda observation: False,
        league: League | None = None,
    ) -> None:
        """`evaluate`: how the searching policy scores leaves. `seed`: of the searchers that are measured.
        `withholds`: whether a position must not be learned. `league`: opponents beside the policy itself."""
        super().__init__(cfg.rounds, rng, cfg.updates, cfg.replay)
        self.simulator, self.openings, self.player = simulator, openings, player
        self.cfg, self.seed, self.withholds, self.league = cfg, seed, withholds, league
        self.search = self._search(evaluate)
        self._images = lru_cache(REMEMBERED)(simulator.images)  # a replay's positions come again and again

    def _search(self, evaluate: Evaluator) -> TreeSearch:
        return TreeSearch(self.simulator, evaluate, RULES[self.cfg.rule](), self.cfg.simulations)

    def _play(self) -> None:
        """Play a round's games, all in lockstep, and add what they teach to the replay."""
        current = self.openings.draw(self.cfg.games, self.rng)
        against_G, seat_G = self._seated(len(current))
        met, plies = self._play_out(current, against_G, seat_G)
        returns_GS, mirror_G = self.simulator.returns(current), against_G < 0
        ends_GO = outcomes_of(returns_GS)
        # How a game against somebody else ends does not say how it ends among equals.
        share_G = np.where(mirror_G, self.cfg.root_value, 1.0)
        self.replay.add(self._items(met, ends_GO, share_G))
        self.episodes += len(current)
        self.decisions += len(met)
        self.figures = {
            "target_entropy": mean_entropy([decision.policy for decision in met]),
            "surprise": float(np.mean([decision.surprise for decision in met])),
            "plies": plies / len(current),
            "first_seat_wins": float(ends_GO[mirror_G, 0].mean()),
            "draws": float(ends_GO[mirror_G, 2].mean()),
        }
        if self.league is not None:
            self.league.record(against_G[~mirror_G], returns_GS[~mirror_G, seat_G[~mirror_G]])
            self.figures |= self.league.figures()

    def _play_out(self, current: Positions, against_G: Ints, seat_G: Ints) -> tuple[list[Decision], int]:
        """Play all games to the end, where `current` then is. The policy's decisions, and all moves made."""
        simulator, met, plies = self.simulator, list[Decision](), 0
        games = np.arange(len(current))
        while len(games):
            own = (against_G[games] < 0) | (seat_G[games] == simulator.seats(current[games]))
            moves = np.zeros(len(games), dtype=np.int64)
            if own.any():
                searched = games[own]
                found = self.search(current[searched], self.rng)
                turns = simulator.views(current[searched])
                learned = found.policy_NA.tolist(), found.outcomes_NO, found.surprise_N.tolist()
                met += map(Decision, searched.tolist(), turns, *learned)
                moves[own] = found.moves_N
            if self.league is not None and not own.all():
                theirs = games[~own]
                moves[~own] = self.league.moves(simulator, current[theirs], against_G[theirs], self.rng)
            current[games] = simulator.play(current[games], moves, self.rng)
            plies += len(games)
            games = games[simulator.seats(current[games]) >= 0]
        return met, plies

    def _items(self, met: Sequence[Decision], ends_GO: Floats, share_G: Floats) -> list[Item]:
        """What decisions teach. share_G: of what a search expected, in the target of the game's outcome."""
        items = list[Item]()
        times_M = self._times(np.array([decision.surprise for decision in met]))
        for (game, turn, policy, expected_O, _), times in zip(met, times_M.tolist(), strict=True):
            if self.withholds(turn.observation):
                continue
            outcome_O = ends_GO[game] * (1 - share_G[game]) + expected_O * share_G[game]
            seen = turn.observation, turn.legal_actions, turn.seat
            items += [(*seen, policy[: len(turn.legal_actions)], outcome_O.tolist())] * times
        return items

    def _seated(self, games: int) -> tuple[Ints, Ints]:
        """Of each game [G] the number of the league's member who sits in it, -1 for none, and the policy's
        seat."""
        against_G, seat_G = np.full(games, -1), np.zeros(games, dtype=np.int64)
        if self.league is not None:
            some = np.flatnonzero(self.rng.random(games) < self.cfg.league)[: games - 1]  # one is its own
            against_G[some] = self.league.draw(len(some), self.rng)
            seat_G[some] = self.rng.integers(2, size=len(some))
        return against_G, seat_G

    def _times(self, surprise_M: Floats) -> Ints:
        """How many times each position enters the replay, [M]: once on average."""
        relative_M = surprise_M / surprise_M.mean() if surprise_M.any() else np.ones_like(surprise_M)
        weight_M = 1 - SURPRISING + SURPRISING * relative_M
        return np.floor(weight_M + self.rng.random(len(weight_M))).astype(np.int64)

    def batches(self, number: int) -> Iterator[Batch]:
        if self.league is not None and number % ceil(self.rounds / SNAPSHOTS) == 0:
            self.league.add(number)
        self._play()
        for _ in range(self.cfg.updates):
            yield self._batch(self.replay.draw(self.cfg.batch, self.rng))

    def _batch(self, items: Sequence[Item]) -> Batch:
        """Of each item one of its symmetric images, at random: the same position asked for both."""
        turns, targets = list[Turn](), list[list[float]]()
        for observation, moves, seat, policy, outcome in items:
            seen, renamed = pick(self._images(observation, moves), self.rng.random())
            turn = Turn(seen, renamed, seat)
            turns += [turn, outcome_turn(turn, self.simulator.outcomes)]
            targets += [policy, outcome]
        return move_batch(self.player.renderer, turns, targets)

    def players(self, before: bool) -> dict[str, Player]:
        """Before the phase: the search with random games to the end, where nothing is learned. After it: the
        search with the policy, that is, the same weights with more compute."""
        rollouts = RandomRollouts(self.simulator, np.random.default_rng(self.seed))
        search = self._search(rollouts) if before else self.search
        return {"search_alone" if before else "search": TreeSearchPlayer(search, self.seed)}

    def sample(self) -> str:
        return game_as_text(self.simulator, self.player, self.episodes)

    def boards(self) -> list[BoardView]:
        return board_views(self.simulator, self.player)

    def state_dict(self) -> dict[str, Any]:
        league = self.league and self.league.state()
        return super().state_dict() | {"openings": self.openings.state(), "league": league}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.openings.load(state["openings"])
        if self.league is not None:
            self.league.load(state["league"])
