"""Which move a tree search tries next, and what it makes of its tries: Gumbel's rule, and PUCT.

Both see a tree's priors, visits and values, and nothing of the game.
"""

from math import ceil, log2
from typing import TYPE_CHECKING, Protocol

import numpy as np

from shuhari.envs.player import Floats, Ints, draw

if TYPE_CHECKING:
    from shuhari.policy.tree_search import Tree

# Danihelka et al. 2022, section 3.4 and appendix: a value's weight against a logit, for values from 0 to 1.
VISITS, SCALE = 50.0, 1.0
CONSIDERED = 16  # moves of the root among which the simulations are halved
EXPLORATION = 1.25  # of PUCT
NOISE, CONCENTRATION = 0.25, 10.0  # of PUCT's root: its share, and its Dirichlet's sum (Silver et al. 2018)


class Root(Protocol):
    """What is done at the roots [B] during one search."""

    def choose(self, number: int) -> Ints:
        """The move [B] that simulation `number` tries."""
        ...

    def result(self) -> tuple[Floats, Ints]:
        """The improved policy [B, A] and the move to play [B]."""
        ...


class SearchRule(Protocol):
    def root(self, tree: "Tree", simulations: int, rng: np.random.Generator | None) -> Root:
        """Begin a search. `rng`: of the noise at the root; None: there is none."""
        ...

    def inside(self, tree: "Tree", trees: Ints, nodes: Ints) -> Ints:
        """The move [M] to follow at these nodes, which are no roots."""
        ...


def softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def improved_logits(tree: "Tree", trees: Ints, nodes: Ints) -> Floats:
    """Logits [M, A] of the policy that the values so far improve (Danihelka et al. 2022, eq. 10 and 11).

    A move that was not tried has the node's mixed value (eq. 33): the evaluator's, and that of the moves that
    were tried, weighted by their priors.
    """
    logits_MA, visits_MA = tree.logits_BNA[trees, nodes], tree.visits_BNA[trees, nodes]
    values_MA, raw_M = tree.values(trees, nodes)
    tried_MA, n_M = visits_MA > 0, visits_MA.sum(1)
    prior_MA = np.where(tried_MA, softmax(logits_MA), 0.0)
    seen_M = (prior_MA * values_MA).sum(1) / np.maximum(prior_MA.sum(1), 1e-12)
    mixed_M = (raw_M + n_M * seen_M) / (1 + n_M)
    completed_MA = np.where(tried_MA, values_MA, mixed_M[:, None])
    weight_M = (VISITS + visits_MA.max(1)) * SCALE
    return np.asarray(logits_MA + weight_M[:, None] * (completed_MA + 1) / 2)


def halving(moves: int, simulations: int) -> list[int]:
    """Sequential halving (Karnin et al. 2013): how often a move must have been tried to be tried in each
    simulation, where the better half of `moves` goes on after each phase."""
    tries: list[int] = []
    phases, done = max(1, ceil(log2(max(2, moves)))), 0
    while len(tries) < simulations:
        each = max(1, simulations // (phases * moves)) if moves > 1 else simulations
        for n in range(done, done + each):
            tries += [n] * moves
        done, moves = done + each, max(2, moves // 2) if moves > 1 else 1
    return tries[:simulations]


class GumbelRoot:
    """Sampling without replacement by Gumbel noise, then sequential halving (Danihelka et al. 2022)."""

    def __init__(self, tree: "Tree", simulations: int, rng: np.random.Generator | None) -> None:
        self.tree, self.every = tree, np.arange(len(tree.size_B))
        self.roots = np.zeros_like(self.every)
        logits_BA = tree.logits_BNA[:, 0]
        self.width = logits_BA.shape[1]  # of the roots; what is added to the tree may have more moves
        noise_BA = np.zeros(logits_BA.shape) if rng is None else rng.gumbel(size=logits_BA.shape)
        self.noise_BA = noise_BA
        moves_B = np.minimum(np.isfinite(logits_BA).sum(1), CONSIDERED)
        plans = {int(m): halving(int(m), simulations) for m in np.unique(moves_B)}
        self.tries_BS = np.array([plans[int(m)] for m in moves_B]).reshape(len(moves_B), simulations)

    def improved(self) -> Floats:
        return improved_logits(self.tree, self.every, self.roots)[:, : self.width]

    def choose(self, number: int) -> Ints:
        visits_BA = self.tree.visits_BNA[:, 0, : self.width]
        allowed_BA = visits_BA == self.tries_BS[:, number, None]
        scores_BA = np.where(allowed_BA, self.noise_BA + self.improved(), -np.inf)
        return np.asarray(scores_BA.argmax(1))

    def result(self) -> tuple[Floats, Ints]:
        """The move is the best of those that were tried most."""
        visits_BA, improved_BA = self.tree.visits_BNA[:, 0, : self.width], self.improved()
        most_BA = visits_BA == visits_BA.max(1, keepdims=True)
        moves_B = np.where(most_BA, self.noise_BA + improved_BA, -np.inf).argmax(1)
        return softmax(improved_BA), np.asarray(moves_B)


class Gumbel:
    """Gumbel AlphaZero: improves the policy even with few simulations."""

    def root(self, tree: "Tree", simulations: int, rng: np.random.Generator | None) -> GumbelRoot:
        return GumbelRoot(tree, simulations, rng)

    def inside(self, tree: "Tree", trees: Ints, nodes: Ints) -> Ints:
        """The move whose share of visits falls the most short of the improved policy (eq. 14)."""
        visits_MA = tree.visits_BNA[trees, nodes]
        policy_MA = softmax(improved_logits(tree, trees, nodes))
        lacking_MA = policy_MA - visits_MA / (1 + visits_MA.sum(1, keepdims=True))
        return np.asarray(np.where(np.isfinite(tree.logits_BNA[trees, nodes]), lacking_MA, -np.inf).argmax(1))


def puct_scores(tree: "Tree", trees: Ints, nodes: Ints, prior_MA: Floats) -> Floats:
    """Value and exploration bonus of each move [M, A]. A move that was not tried has the node's own value."""
    visits_MA = tree.visits_BNA[trees, nodes]
    values_MA, raw_M = tree.values(trees, nodes)
    values_MA = np.where(visits_MA > 0, values_MA, raw_M[:, None])
    bonus_MA = EXPLORATION * prior_MA * np.sqrt(1 + visits_MA.sum(1, keepdims=True)) / (1 + visits_MA)
    return np.where(np.isfinite(tree.logits_BNA[trees, nodes]), values_MA + bonus_MA, -np.inf)


class PUCTRoot:
    """The prior with Dirichlet noise; the improved policy is the share of visits."""

    def __init__(self, tree: "Tree", rng: np.random.Generator | None) -> None:
        self.tree, self.rng, self.every = tree, rng, np.arange(len(tree.size_B))
        logits_BA = tree.logits_BNA[:, 0]
        legal_BA, self.prior_BA = np.isfinite(logits_BA), softmax(logits_BA)
        if rng is not None:
            shape_BA = np.where(legal_BA, CONCENTRATION / legal_BA.sum(1, keepdims=True), 1.0)
            noise_BA = np.where(legal_BA, rng.gamma(shape_BA), 0.0)
            noise_BA /= np.maximum(noise_BA.sum(1, keepdims=True), 1e-12)
            self.prior_BA = (1 - NOISE) * self.prior_BA + NOISE * noise_BA

    def choose(self, number: int) -> Ints:
        roots, wider = np.zeros_like(self.every), self.tree.logits_BNA.shape[2] - self.prior_BA.shape[1]
        prior_BA = np.pad(self.prior_BA, ((0, 0), (0, wider)))  # what was added may have more moves
        return np.asarray(puct_scores(self.tree, self.every, roots, prior_BA).argmax(1))

    def result(self) -> tuple[Floats, Ints]:
        """The move is drawn by its visits or, without noise, the most visited one."""
        visits_BA = self.tree.visits_BNA[:, 0, : self.prior_BA.shape[1]]
        policy_BA = visits_BA / visits_BA.sum(1, keepdims=True)
        if self.rng is None:
            return policy_BA, np.asarray(visits_BA.argmax(1))
        return policy_BA, draw(policy_BA, self.rng.random(len(policy_BA)))


class PUCT:
    """AlphaZero's rule (Silver et al. 2018; Rosin 2011)."""

    def root(self, tree: "Tree", simulations: int, rng: np.random.Generator | None) -> PUCTRoot:
        return PUCTRoot(tree, rng)

    def inside(self, tree: "Tree", trees: Ints, nodes: Ints) -> Ints:
        prior_MA = softmax(tree.logits_BNA[trees, nodes])
        return np.asarray(puct_scores(tree, trees, nodes, prior_MA).argmax(1))


RULES: dict[str, type[Gumbel] | type[PUCT]] = {"gumbel": Gumbel, "puct": PUCT}
