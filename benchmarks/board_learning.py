"""How well does an adapter learn a board from perfect labels? By rank, and with values as text or by a head.

    python benchmarks/board_learning.py --ranks 8 32 128            a row for each rank
    python benchmarks/board_learning.py --ranks 32 --value head     a linear layer on the last hidden state

It is no training: labels are read from the solved game, Connect Four 4x4, to see what the base and the
adapter can hold. Every critical position has two targets, its best moves, all alike, and how it ends. 4,000
positions are withheld, with their mirror images. `text` asks for the end after `=` in place of `>`; `head`
reads it from the hidden state of the `>`. Shown are the withheld positions in which the most likely move is
a best one, and in which the most likely end is right, with its cross-entropy in nats.
"""

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shuhari.envs.games.graph import GameGraph, backward_induction, game_graph, optimal_moves
from shuhari.envs.games.simulator import outcome_turn
from shuhari.envs.games.symmetry import canonical, pick
from shuhari.envs.player import Floats
from shuhari.envs.types import Turn
from shuhari.loops.collect.source import move_batch
from shuhari.loops.learn.batch import Columns
from shuhari.loops.learn.objectives import DistillConfig, distill
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.policy.choice_scoring import masked_logprobs
from shuhari.policy.leaf_evaluators import outcomes_of
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.model import llama
from shuhari.policy.policy import Policy
from shuhari.policy.render import Renderer

GAME = "connect_four(rows=4,columns=4)"
WITHHELD = 4000
SHOWN = 200  # steps between two rows


class Board:
    """The critical positions of the solved game: those learned, those withheld, and what is right in each."""

    def __init__(self) -> None:
        self.graph: GameGraph = game_graph(GAME)
        optimal_NA = optimal_moves(self.graph)
        critical = np.flatnonzero((self.graph.moves_N > 0) & (optimal_NA.sum(1) < self.graph.moves_N))
        values_N = backward_induction(self.graph)
        self.moves = optimal_NA / np.maximum(1, optimal_NA.sum(1, keepdims=True))
        self.ends_NO = outcomes_of(np.stack([values_N, -values_N], axis=1))
        names = [canonical(self.graph.images, self.graph.turns[node].observation) for node in critical]
        chosen = np.random.default_rng(0).permutation(sorted(set(names)))[: WITHHELD // 2]
        withheld = np.isin(names, chosen)
        self.learned, self.withheld = critical[~withheld], critical[withheld][:WITHHELD]

    def batch(self, rng: np.random.Generator, size: int) -> tuple[list[Turn], Floats, Floats]:
        """Positions, in one of their symmetric images; their best moves [N, A]; how they end [N, 3]."""
        turns, nodes = list[Turn](), rng.choice(self.learned, size, replace=False)
        for turn in (self.graph.turns[node] for node in nodes):
            turns.append(
                Turn(*pick(self.graph.images(turn.observation, turn.legal_actions), rng.random()), turn.seat)
            )
        return turns, self.moves[nodes], self.ends_NO[nodes]


def head_logits(policy: Policy, head: nn.Linear, renderer: Renderer, observations: list[str]) -> Tensor:
    """How each position ends, as logits [N, 3], from the hidden state of its last token."""
    prompts_BT = torch.tensor([renderer.first(observation) for observation in observations])
    return head(llama.hidden(policy.weights(), prompts_BT, 1)[:, 0])


def measure(board: Board, policy: Policy, head: nn.Linear | None) -> dict[str, float]:
    player, nodes = LMPlayer(policy, Renderer(policy)), board.withheld
    turns = [board.graph.turns[node] for node in nodes]
    right = [board.moves[n][p.argmax()] > 0 for n, p in zip(nodes, player.probabilities(turns), strict=True)]
    if head is None:
        asked = [outcome_turn(turn, board.graph.outcomes) for turn in turns]
        ends_NO = np.array(player.probabilities(asked))
    else:
        with policy.inference():
            ends_NO = (
                head_logits(policy, head, player.renderer, [t.observation for t in turns]).softmax(1).numpy()
            )
    truth_NO = board.ends_NO[nodes]
    return {
        "best_move": float(np.mean(right)),
        "right_end": float((ends_NO.argmax(1) == truth_NO.argmax(1)).mean()),
        "end_nats": float(-(truth_NO * np.log(np.maximum(ends_NO, 1e-9))).sum(1).mean()),
    }


def learn(board: Board, rank: int, args: argparse.Namespace) -> dict[str, Any]:
    policy, rng = (
        Policy(args.base, rank=rank, alpha=2.0 * rank, seed=args.seed),
        np.random.default_rng(args.seed),
    )
    renderer, parameters = Renderer(policy), list(policy.parameters.values())
    head = nn.Linear(policy.width, 3) if args.value == "head" else None
    rest = list(head.parameters()) if head else []
    optimizer = Optimizer(
        parameters, rest=rest, learning_rate=args.learning_rate, rest_learning_rate=0.004, steps=args.steps
    )
    seconds, curve = 0.0, {0: measure(board, policy, head)} if head is None else {}
    for step in range(1, args.steps + 1):
        started = time.process_time()
        turns, moves_NA, ends_NO = board.batch(rng, args.batch)
        asked, targets = list(turns), moves_NA.tolist()
        if head is None:
            asked += [outcome_turn(turn, board.graph.outcomes) for turn in turns]
            targets += ends_NO.tolist()
        batch = move_batch(renderer, asked, targets)
        scored = masked_logprobs(policy, batch.pairs, batch.choices)
        loss = distill(scored.logprobs_N, Columns.of(batch, scored, batch), DistillConfig())
        if head is not None:
            said = head_logits(policy, head, renderer, [turn.observation for turn in turns])
            loss = loss + F.cross_entropy(said, torch.tensor(ends_NO, dtype=torch.float32))
        optimizer.update(loss)
        policy.updated()
        seconds += time.process_time() - started
        if step % SHOWN == 0 or step == args.steps:
            curve[step] = measure(board, policy, head)
            print(f"rank {rank}, step {step}: {curve[step]}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return {"rank": rank, "value": args.value, "processor_seconds": round(seconds, 1), "curve": curve}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="connect_four")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--value", choices=("text", "head"), default="text")
    parser.add_argument("--learning-rate", type=float, default=0.006)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    board = Board()
    rows = [learn(board, rank, args) for rank in args.ranks]
    print(json.dumps({"arguments": vars(args), "withheld": len(board.withheld), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
