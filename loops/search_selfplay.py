"""Phase 2 in games: the policy plays itself on from many positions, and learns the moves that did best.

Each round values every legal move of a sample of all reachable positions by continuations of the present
policy (`policy/search.py`), turns the values into a target, and distils the newest few thousand. The target
is the policy itself, each move weighted by exp(value / temperature) (MPO, Abdolmaleki et al. 2018): among
equals it keeps the policy's own preference, where values alone would spread it. The continuations are played
ever sharper and the targets become ever sharper, as the values grow reliable. Nothing here reads a solver.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from shuhari.envs.graph import GameGraph
from shuhari.loops.choices import update_choices
from shuhari.loops.config import SearchConfig
from shuhari.loops.optimizer import Optimizer
from shuhari.loops.phase import Counts
from shuhari.policy.generator import Generator
from shuhari.policy.search import PolicyTable, continuation_values, improved


class SearchSelfplay:
    """One step is one round: value positions, then `updates` optimizer steps."""

    def __init__(
        self,
        generator: Generator,
        graph: GameGraph,
        table: PolicyTable,
        cfg: SearchConfig,
        withheld_N: npt.NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> None:
        self.generator, self.graph, self.table, self.cfg = generator, graph, table, cfg
        self.withheld_N, self.rng = withheld_N, rng
        self.total, self.counts = cfg.rounds, Counts()
        self.optimizer = Optimizer(
            generator.policy.parameters.values(),
            learning_rate=cfg.learning_rate,
            steps=cfg.rounds * cfg.updates,
        )
        self._nodes = np.zeros(0, dtype=np.int64)
        self._targets = np.zeros((0, 0))

    @property
    def steps(self) -> int:
        return self.counts.updates // self.cfg.updates

    @property
    def done(self) -> bool:
        return self.steps >= self.total

    def _anneal(self, ends: list[float]) -> float:
        """From the first value to the last, geometrically over the rounds."""
        return float(ends[0] * (ends[1] / ends[0]) ** (self.steps / max(1, self.total - 1)))

    def _value_positions(self) -> None:
        """Targets for a fresh sample of positions go to the end of the replay."""
        candidates = np.flatnonzero((self.graph.moves_N > 0) & ~self.withheld_N)
        nodes = self.rng.choice(candidates, min(self.cfg.starts, len(candidates)), replace=False)
        values = continuation_values(
            self.graph,
            self.table,
            nodes,
            continuations=self.cfg.continuations,
            sharpness=self._anneal(self.cfg.sharpness),
            rng=self.rng,
        )
        targets = improved(self.table(nodes), values, self._anneal(self.cfg.temperature))
        old = np.pad(self._targets, ((0, 0), (0, targets.shape[1] - self._targets.shape[1])))
        self._nodes = np.concatenate([self._nodes, nodes])[-self.cfg.replay :]
        self._targets = np.concatenate([old, targets])[-self.cfg.replay :]
        self.counts.episodes += int(self.graph.moves_N[nodes].sum()) * self.cfg.continuations

    def _update(self) -> tuple[float, float]:
        drawn = self.rng.integers(len(self._nodes), size=self.cfg.batch)
        turns = [self.graph.turns[node] for node in self._nodes[drawn]]
        return update_choices(self.generator, self.optimizer, turns, list(self._targets[drawn]), self.counts)

    def step(self) -> dict[str, float]:
        self._value_positions()
        losses, norms = zip(*(self._update() for _ in range(self.cfg.updates)), strict=True)
        entropy = -(self._targets * np.log(np.maximum(self._targets, 1e-12))).sum(1).mean()
        return {
            "loss": float(np.mean(losses)),
            "gradient_norm": float(np.mean(norms)),
            "target_entropy": float(entropy),
        }

    def sample(self) -> str:
        """One game of the present policy against itself."""
        node, lines = 0, []
        rng = np.random.default_rng(self.counts.updates)  # looking on must not change the run
        while self.graph.moves_N[node]:
            self.graph.expand(np.array([node]))
            p = self.table(np.array([node]))[0]
            move = int(rng.choice(len(p), p=p / p.sum()))
            turn = self.graph.turns[node]
            lines.append(f"{turn.observation} {turn.legal_actions[move]}   (p = {p[move]:.2f})")
            node = int(self.graph.children_NA[node, move])
        return "\n".join([*lines, f"first seat's return: {self.graph.value_N[node]:+g}"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "counts": asdict(self.counts),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "replay": [torch.from_numpy(self._nodes), torch.from_numpy(self._targets)],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = Counts(**state["counts"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self._nodes, self._targets = (t.numpy() for t in state["replay"])
