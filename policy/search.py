"""Search by continuations: every legal move is valued by games that a policy plays on from it.

This is rollout policy improvement (Tesauro & Galperin 1996; Bertsekas 2013): acting on the values of a
policy's own continuations is at least as good as the policy, where the values are exact. All games run in
lockstep over a `GameGraph`, so that the policy is asked once for each distinct position and weight version.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from shuhari.envs.graph import GameGraph
from shuhari.envs.players import Probabilities
from shuhari.envs.types import Turn

Floats = npt.NDArray[np.float64]
Nodes = npt.NDArray[np.int64]
UNLIKELY = 1e-9  # the least chance of a move in what is improved: values can still bring it back


class PolicyTable:
    """A player's move probabilities over the nodes of a graph, [N, A], computed on demand.

    `version` says at which version of its weights the player is; what another version computed is forgotten.
    """

    def __init__(
        self,
        graph: GameGraph,
        player: Callable[[list[Turn]], Probabilities],
        version: Callable[[], int] = lambda: 0,
    ) -> None:
        self.graph, self.player, self.version = graph, player, version
        self._version = version()
        self._table_NA = np.zeros((0, 0))
        self._known_N = np.zeros(0, dtype=bool)

    def __call__(self, nodes: Nodes) -> Floats:
        """Probabilities [len(nodes), A]; rows of nodes where the game is over are zero."""
        if self.version() != self._version:
            self._version = self.version()
            self._known_N[:] = False
        N, A = self.graph.children_NA.shape
        grow = ((0, N - len(self._table_NA)), (0, A - self._table_NA.shape[1]))
        if grow != ((0, 0), (0, 0)):
            self._table_NA = np.pad(self._table_NA, grow)
            self._known_N = np.pad(self._known_N, grow[0])
        wanted = np.unique(nodes)
        new = wanted[~self._known_N[wanted] & (self.graph.moves_N[wanted] > 0)]
        if len(new):
            for node, p in zip(new, self._compute(new), strict=True):
                self._table_NA[node, : len(p)] = p
            self._known_N[new] = True
        return self._table_NA[nodes]

    def _compute(self, nodes: Nodes) -> Sequence[Floats]:
        return self.player([self.graph.turns[node] for node in nodes])


def continuation_values(
    graph: GameGraph,
    policy: PolicyTable,
    nodes: Nodes,
    *,
    continuations: int,
    sharpness: float,
    rng: np.random.Generator,
) -> Floats:
    """The mover's mean return after each legal move of `nodes`, [len(nodes), A]; -inf where there is no move.

    Both seats go on by the policy's probabilities to the power `sharpness`, renormalised. A node with m
    moves costs m · `continuations` simulations.
    """
    graph.expand(nodes)
    row, move = np.nonzero(np.arange(graph.children_NA.shape[1]) < graph.moves_N[nodes][:, None])
    current = np.repeat(graph.children_NA[nodes[row], move].astype(np.int64), continuations)
    while True:
        live = np.flatnonzero(graph.moves_N[current] > 0)
        if not len(live):
            break
        positions, where = np.unique(current[live], return_inverse=True)
        graph.expand(positions)
        cumulative_PA = (policy(positions) ** sharpness).cumsum(1)
        draw = rng.random(len(live)) * cumulative_PA[where, -1]
        chosen = (cumulative_PA[where] <= draw[:, None]).sum(1)
        chosen = np.minimum(chosen, graph.moves_N[current[live]] - 1)  # a draw may round up to the total
        current[live] = graph.children_NA[positions[where], chosen]
    sign = np.where(graph.seat_N[nodes] == 0, 1.0, -1.0)
    values = np.full((len(nodes), graph.children_NA.shape[1]), -np.inf)
    returns = graph.value_N[current].reshape(-1, continuations).mean(1)
    values[row, move] = returns * sign[row]
    return values


def improved(policy_NA: Floats, values_NA: Floats, temperature: float) -> Floats:
    """The policy with each move weighted by exp(value / temperature), [N, A]; no move where a value is -inf.

    Of all policies the best in value less temperature · KL from the given one (MPO, Abdolmaleki et al. 2018),
    of which no legal move has less than UNLIKELY.
    """
    prior_NA = policy_NA[:, : values_NA.shape[1]]
    logits_NA = np.log(np.maximum(prior_NA, UNLIKELY)) + values_NA / temperature
    weights_NA = np.exp(logits_NA - logits_NA.max(1, keepdims=True))
    return np.asarray(weights_NA / weights_NA.sum(1, keepdims=True))


class SearchTable(PolicyTable):
    """The player that takes the move its policy's continuations value highest, [N, A], computed on demand."""

    def __init__(self, policy: PolicyTable, continuations: int, sharpness: float, seed: int) -> None:
        super().__init__(policy.graph, policy.player)
        self.policy, self.continuations, self.sharpness = policy, continuations, sharpness
        self.rng = np.random.default_rng(seed)

    def _compute(self, nodes: Nodes) -> Sequence[Floats]:
        values = continuation_values(
            self.graph,
            self.policy,
            nodes,
            continuations=self.continuations,
            sharpness=self.sharpness,
            rng=self.rng,
        )
        return list(greedy(values))


def greedy(table_NA: Floats) -> Floats:
    """The table of the player that always takes the move of the highest entry, the first of equals."""
    return np.asarray(np.eye(table_NA.shape[1])[table_NA.argmax(1)])
