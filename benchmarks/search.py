"""How many leaves does our tree search score a second? Beside one at a time, and OpenSpiel's Python MCTS.

    python benchmarks/search.py --threads 1            a table
    python benchmarks/search.py --threads 1 --json     one JSON object

All search positions of Connect Four 4x4 with a base of 0.2M parameters: its probabilities of moves, and its
word for who wins. `batched` is our search of all positions in lockstep; `one by one` the same code with one
position at a time; `open_spiel` its MCTSBot with PUCT and our base as its evaluator, which asks for one state
at a time. All remember what they have scored until the next round, and a leaf counts where the base was
asked. They take turns, and each ratio is the median of the rounds' ratios.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from open_spiel.python.algorithms import mcts

from shuhari.envs.games.referee import Referee
from shuhari.envs.games.simulator import Referees, as_positions, outcome_turn
from shuhari.envs.player import Floats
from shuhari.loops.collect.openings import random_openings
from shuhari.policy.leaf_evaluators import PolicyAndValue
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.policy import Policy
from shuhari.policy.render import Renderer
from shuhari.policy.search_rules import PUCT, Gumbel
from shuhari.policy.tree_search import TreeSearch

GAME, BASE = "connect_four(rows=4,columns=4)", "boards"
PLIES = range(2, 8)  # of the positions that are searched
EXPLORATION = 1.25  # of OpenSpiel's PUCT, as ours


class Counted(LMPlayer):
    """Counts the positions that the base is asked about; each is asked for a move and for its outcome."""

    leaves = 0

    def _logprobs(self, turns: Any) -> list[Floats]:
        self.leaves += sum(turn.observation.endswith(">") for turn in turns)
        return super()._logprobs(turns)


class AsOpenSpielAsks(mcts.Evaluator):  # type: ignore[misc]
    """The base as OpenSpiel's evaluator of one state."""

    def __init__(self, player: Counted) -> None:
        self.player = player

    def _answers(self, state: Any) -> list[Floats]:
        referee = Referee(GAME, state.clone())
        turn = referee.turn()
        return self.player.probabilities([turn, outcome_turn(turn, referee.text.outcomes)])

    def prior(self, state: Any) -> list[tuple[int, float]]:
        return list(zip(state.legal_actions(), self._answers(state)[0].tolist(), strict=True))

    def evaluate(self, state: Any) -> Floats:
        first, second, _ = self._answers(state)[1]
        return np.array([first - second, second - first])


def measure(positions: int, simulations: int, rounds: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    policy = Policy(BASE, rank=16, alpha=32.0)
    simulator, rng = Referees(GAME), np.random.default_rng(0)
    roots = random_openings(lambda: Referee(GAME), PLIES, positions, rng)
    few = roots[: max(4, positions // 8)]  # what asks one by one searches fewer, and the rate is the same

    def ours(rule: Any, handles: Any, size: int) -> float:
        player = Counted(policy, Renderer(policy))
        search = TreeSearch(simulator, PolicyAndValue(simulator, player), rule, simulations)
        started = time.perf_counter()
        for i in range(0, len(handles), size):
            search(handles[i : i + size], rng, noise=False)
        return player.leaves / (time.perf_counter() - started)

    def open_spiel() -> float:
        player = Counted(policy, Renderer(policy))
        bot = mcts.MCTSBot(
            roots[0].game, EXPLORATION, simulations, AsOpenSpielAsks(player), solve=False,
            random_state=np.random.RandomState(0), child_selection_fn=mcts.SearchNode.puct_value,
        )  # fmt: skip
        started = time.perf_counter()
        for referee in few:
            bot.mcts_search(referee.state)
        return player.leaves / (time.perf_counter() - started)

    ways = {
        "batched": lambda: ours(Gumbel(), roots, positions),
        "batched, puct": lambda: ours(PUCT(), roots, positions),
        "one by one": lambda: ours(Gumbel(), as_positions(list(few)), 1),
        "open_spiel": open_spiel,
    }
    for way in ways.values():  # nothing is slow for being the first
        way()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            rates[name].append(round(way(), 1))
    ratios = {
        f"batched / {name}": round(
            statistics.median(a / b for a, b in zip(rates["batched"], rates[name], strict=True)), 2
        )
        for name in ("one by one", "open_spiel")
    }
    return {
        "game": GAME,
        "base": f"{BASE}, {sum(p.numel() for p in policy.model.parameters()):,} parameters with LoRA",
        "positions": positions,
        "simulations": simulations,
        "leaves_per_second": rates,
        "ratios": ratios,
        "threads": threads,
        "processor": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("torch", "open_spiel")},
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--positions", type=int, default=128)
    parser.add_argument("--simulations", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.positions, options.simulations, options.rounds, options.threads)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for name, rates in found["leaves_per_second"].items():
        print(f"{name:14} {statistics.median(rates):9.0f} leaves/s   ({min(rates):.0f} to {max(rates):.0f})")
    for name, ratio in found["ratios"].items():
        print(f"{name}: {ratio:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
