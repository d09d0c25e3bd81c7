"""What do several opponents cost? A round of self-play against four frozen adapters, beside one.

    python benchmarks/league_speed.py --games 512 --rounds 5

Both rounds are played in turn, all games against the league, on tic-tac-toe with the base `games`. Adapters
differ, so nothing that one has answered serves another. Shown are the median seconds and their ratio.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from shuhari.envs.games.graph import game_graph
from shuhari.loops.collect.league import League
from shuhari.loops.collect.openings import ListedOpenings
from shuhari.loops.collect.search_play import SearchPlay
from shuhari.loops.config import SearchPlayConfig
from shuhari.policy.leaf_evaluators import PolicyAndValue, Remembered
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.policy import Policy
from shuhari.policy.render import Renderer


def source(opponents: int, games: int) -> SearchPlay:
    """Self-play whose league is so many adapters, all different."""
    policy, graph = Policy("games", rank=8, alpha=16.0), game_graph("tic_tac_toe")
    renderer, start = Renderer(policy), policy.state()
    league = League(LMPlayer(policy, renderer), lambda name: LMPlayer(policy, renderer, name), {})
    for number in range(opponents):
        noise = torch.Generator().manual_seed(number)
        policy.load_state({k: v + 0.01 * torch.randn(v.shape, generator=noise) for k, v in start.items()})
        league.add(number)
    policy.load_state(start)
    openings = ListedOpenings(np.zeros(games, dtype=np.int64))  # all from the start
    evaluate = Remembered(PolicyAndValue(graph, league.present))
    cfg = SearchPlayConfig(games=games, league=1.0)
    rng = np.random.default_rng(0)
    return SearchPlay(graph, openings, league.present, evaluate, cfg, rng, 0, league=league)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    seconds: dict[int, list[float]] = {1: [], 4: []}
    sources = {n: source(n, args.games) for n in seconds}
    for _ in range(args.rounds + 1):
        for n, part in sources.items():
            part.player.policy.updated()
            started = time.process_time()
            part._play()
            seconds[n].append(time.process_time() - started)
    medians = {n: statistics.median(found[1:]) for n, found in seconds.items()}  # the first warms up
    print(
        json.dumps({"arguments": vars(args), "seconds": medians, "ratio": round(medians[4] / medians[1], 3)})
    )


if __name__ == "__main__":
    main()
