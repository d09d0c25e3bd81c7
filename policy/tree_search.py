"""Tree search over a `Simulator`: many games in lockstep, whose leaves are scored in one call.

Each simulation takes every tree from its root to a leaf, scores all leaves at once, and adds what they say to
the moves on the way. A leaf says how likely each outcome is: that the first seat wins, that the second does,
or a draw. So nothing changes its sign from one seat to the other. Chance is drawn anew on each way through a
move, so a move's value is the mean over what may follow it. The split between what the root does and what all
other nodes do is that of mctx (DeepMind 2021).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.player import Floats, Ints, Player
from shuhari.envs.progress import counting
from shuhari.envs.types import Turn
from shuhari.policy.leaf_evaluators import OUTCOMES, Evaluator, outcomes_of
from shuhari.policy.search_rules import Root, SearchRule, softmax

TREES = 512  # that grow in lockstep: more take more memory and are not faster


@dataclass(frozen=True, slots=True)
class Found:
    """What searches say of N positions.

    policy_NA: the improved policy, which a policy learns
    outcomes_NO: how likely each outcome is
    visits_NA: how often each move was tried
    moves_N: the moves to play
    surprise_N: the divergence KL(improved policy || the policy as it is), in nats
    """

    policy_NA: Floats
    outcomes_NO: Floats
    visits_NA: Floats
    moves_N: Ints
    surprise_N: Floats


class Tree:
    """B trees of at most N nodes with at most A moves, as arrays. Node 0 is the root.

    positions_BN   the simulator's handles
    children_BNA   the node after a move; -1 if there is none yet
    logits_BNA     the logarithm of the prior probability; -inf where there is no move
    visits_BNA     how often a move was tried
    totals_BNAO    the sum of the outcomes that it led to
    outcomes_BNO   what the evaluator says of the node, or how the game ended there
    sign_BN        1 where the first seat moves, -1 where the second does, 0 where the game is over
    """

    def __init__(self, positions: Positions, nodes: int) -> None:
        B, moves = len(positions), 1  # wider when a position has more
        self.size_B = np.zeros(B, dtype=np.int64)
        self.positions_BN = np.empty((B, nodes), dtype=positions.dtype)
        self.children_BNA = np.full((B, nodes, moves), -1, dtype=np.int32)
        self.logits_BNA = np.full((B, nodes, moves), -np.inf)
        self.visits_BNA = np.zeros((B, nodes, moves))
        self.totals_BNAO = np.zeros((B, nodes, moves, OUTCOMES))
        self.outcomes_BNO = np.zeros((B, nodes, OUTCOMES))
        self.sign_BN = np.zeros((B, nodes), dtype=np.int64)
        # Where chance follows moves: the node of a tree, a node, a move, and what is seen after it.
        self.after_chance: dict[tuple[int, int, int, str], int] = {}

    def add(self, trees: Ints, positions: Positions, simulator: Simulator, evaluate: Evaluator) -> Ints:
        """A new node in each of these trees; their numbers."""
        nodes = self.size_B[trees].copy()
        self.size_B[trees] += 1
        self.positions_BN[trees, nodes] = positions
        seats = simulator.seats(positions)
        self.sign_BN[trees, nodes] = np.array([1, -1, 0])[seats]
        over = seats < 0
        if over.any():
            self.outcomes_BNO[trees[over], nodes[over]] = outcomes_of(simulator.returns(positions[over]))
        going_on = np.flatnonzero(~over)
        if len(going_on):
            logits, outcomes = evaluate(positions[going_on])
            self._widen(logits.shape[1])
            self.logits_BNA[trees[going_on], nodes[going_on], : logits.shape[1]] = logits
            self.outcomes_BNO[trees[going_on], nodes[going_on]] = outcomes
        return nodes

    def known(self, trees: Ints, nodes: Ints, moves: Ints, seen: Sequence[str]) -> Ints:
        """The nodes [M] where these moves have led to what is seen now; -1 where they had not."""
        ways = zip(trees.tolist(), nodes.tolist(), moves.tolist(), seen, strict=True)
        return np.array([self.after_chance.get(way, -1) for way in ways], dtype=np.int64)

    def link(self, trees: Ints, parents: Ints, moves: Ints, nodes: Ints, simulator: Simulator) -> None:
        """These moves have led to these nodes."""
        self.children_BNA[trees, parents, moves] = nodes
        if simulator.chance:
            seen = _seen(simulator, self.positions_BN[trees, nodes])
            ways = zip(trees.tolist(), parents.tolist(), moves.tolist(), seen, strict=True)
            self.after_chance.update(zip(ways, nodes.tolist(), strict=True))

    def _widen(self, moves: int) -> None:
        if (more := moves - self.children_BNA.shape[2]) <= 0:
            return
        pad = ((0, 0), (0, 0), (0, more))
        self.children_BNA = np.pad(self.children_BNA, pad, constant_values=-1)
        self.logits_BNA = np.pad(self.logits_BNA, pad, constant_values=-np.inf)
        self.visits_BNA = np.pad(self.visits_BNA, pad)
        self.totals_BNAO = np.pad(self.totals_BNAO, (*pad, (0, 0)))

    def values(self, trees: Ints, nodes: Ints) -> tuple[Floats, Floats]:
        """Of these nodes, for the seat to move there: the mean value of each move [M, A], 0 where it was not
        tried, and the evaluator's value of the node [M]. Both are from -1 to 1."""
        sign_M = self.sign_BN[trees, nodes]
        totals_MAO, visits_MA = self.totals_BNAO[trees, nodes], self.visits_BNA[trees, nodes]
        balance_MA = totals_MAO[..., 0] - totals_MAO[..., 1]
        outcomes_MO = self.outcomes_BNO[trees, nodes]
        raw_M = sign_M * (outcomes_MO[:, 0] - outcomes_MO[:, 1])
        return sign_M[:, None] * balance_MA / np.maximum(visits_MA, 1), raw_M


def expected(tree: Tree, policy_BA: Floats) -> Floats:
    """How the roots end by the improved policy, [B, O]: by each tried move as likely as it plays that.

    The mean over visits would be another player's: at the root bad moves are tried as often as good ones. The
    evaluator's own word counts as one visit, as in the mixed value of Danihelka et al. 2022 (appendix D).
    """
    visits_BA = tree.visits_BNA[:, 0, : policy_BA.shape[1]]
    means_BAO = tree.totals_BNAO[:, 0, : policy_BA.shape[1]] / np.maximum(visits_BA, 1)[..., None]
    weights_BA = policy_BA * (visits_BA > 0) + np.finfo(float).tiny * visits_BA
    weights_BA /= weights_BA.sum(1, keepdims=True)
    tried_B1 = visits_BA.sum(1, keepdims=True)
    found_BO = (weights_BA[..., None] * means_BAO).sum(1)
    return np.asarray((tree.outcomes_BNO[:, 0] + tried_B1 * found_BO) / (1 + tried_B1))


def divergence(p_NA: Floats, q_NA: Floats) -> Floats:
    """KL(p || q) of each row, [N], in nats."""
    tiny = 1e-12
    return np.asarray((p_NA * (np.log(np.maximum(p_NA, tiny)) - np.log(np.maximum(q_NA, tiny)))).sum(1))


def _seen(simulator: Simulator, positions: Positions) -> list[str]:
    """What tells positions after one move apart: a board at a game's end may not say who has won."""
    ends = zip(simulator.seats(positions), simulator.returns(positions).tolist(), strict=True)
    found = zip(simulator.views(positions), ends, strict=True)
    return [turn.observation if seat >= 0 else f"{turn.observation}{won}" for turn, (seat, won) in found]


class TreeSearch:
    """Improves a policy at given positions with `simulations` leaves for each of them."""

    def __init__(self, simulator: Simulator, evaluate: Evaluator, rule: SearchRule, simulations: int) -> None:
        self.simulator, self.evaluate, self.rule, self.simulations = simulator, evaluate, rule, simulations

    def __call__(self, positions: Positions, rng: np.random.Generator, noise: bool = True) -> Found:
        """Search from positions that are not over, with or without the rule's noise at the root.

        `rng`: of that noise, and of chance in the game.
        """
        parts: list[Found] = []
        with counting("positions", len(positions)) as tell:
            for i in range(0, len(positions), TREES):
                tell(i)
                parts.append(self._search(positions[i : i + TREES], rng, noise))
        width = max(part.policy_NA.shape[1] for part in parts)
        policies, visits = (
            [np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in of_parts]
            for of_parts in ([part.policy_NA for part in parts], [part.visits_NA for part in parts])
        )
        outcomes, moves = [part.outcomes_NO for part in parts], [part.moves_N for part in parts]
        surprise = [part.surprise_N for part in parts]
        policy_NA, outcomes_NO, visits_NA = map(np.concatenate, (policies, outcomes, visits))
        return Found(policy_NA, outcomes_NO, visits_NA, np.concatenate(moves), np.concatenate(surprise))

    def _search(self, positions: Positions, rng: np.random.Generator, noise: bool) -> Found:
        tree, every = Tree(positions, self.simulations + 1), np.arange(len(positions))
        tree.add(every, positions, self.simulator, self.evaluate)
        root = self.rule.root(tree, self.simulations, rng if noise else None)
        for number in range(self.simulations):
            self._simulate(tree, root, number, rng)
        policy_BA, moves_B = root.result()
        visits_BA = tree.visits_BNA[:, 0, : policy_BA.shape[1]]
        surprise_B = divergence(policy_BA, softmax(tree.logits_BNA[:, 0, : policy_BA.shape[1]]))
        return Found(policy_BA, expected(tree, policy_BA), visits_BA, moves_B, surprise_B)

    def _simulate(self, tree: Tree, root: Root, number: int, rng: np.random.Generator) -> None:
        """Go from each root to a leaf, add the leaves, and add their outcomes to the moves on the way."""
        live = np.arange(len(tree.size_B))
        nodes, ends_B = np.zeros_like(live), np.zeros_like(live)
        path: list[tuple[Ints, Ints, Ints]] = []
        leaves: list[tuple[Ints, Ints, Ints, Positions]] = []
        while len(live):
            moves = self.rule.inside(tree, live, nodes) if path else root.choose(number)
            path.append((live, nodes, moves))
            if self.simulator.chance:
                after = self.simulator.play(tree.positions_BN[live, nodes], moves, rng)
                children = tree.known(live, nodes, moves, _seen(self.simulator, after))
                new = children < 0
                after = after[new]
            else:
                children = tree.children_BNA[live, nodes, moves].astype(np.int64)
                new = children < 0
                after = self.simulator.play(tree.positions_BN[live[new], nodes[new]], moves[new], rng)
            if new.any():
                leaves.append((live[new], nodes[new], moves[new], after))
            ends_B[live] = children
            goes_on = ~new & (tree.sign_BN[live, children] != 0)
            live, nodes = live[goes_on], children[goes_on]
        if leaves:
            trees, parents, moves, after = (np.concatenate(part) for part in zip(*leaves, strict=True))
            ends_B[trees] = tree.add(trees, after, self.simulator, self.evaluate)
            tree.link(trees, parents, moves, ends_B[trees], self.simulator)
        for trees, parents, moves in path:
            tree.visits_BNA[trees, parents, moves] += 1
            tree.totals_BNAO[trees, parents, moves] += tree.outcomes_BNO[trees, ends_B[trees]]


class TreeSearchPlayer(Player):
    """Plays what a search without noise finds best, in a game that hides nothing."""

    def __init__(self, search: TreeSearch, seed: int) -> None:
        self.search, self.rng = search, np.random.default_rng(seed)

    @property
    def version(self) -> int:  # type: ignore[override]
        return self.search.evaluate.version

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        """1 for the move that is played."""
        found = self.search(self.search.simulator.positions(turns), self.rng, noise=False)
        return [np.eye(len(turn.legal_actions))[m] for turn, m in zip(turns, found.moves_N, strict=True)]
