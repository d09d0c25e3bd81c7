"""`shuhari arena`: players of a game meet one another; a cross-table, and Elo with intervals."""

import argparse
import json
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from shuhari.envs.games.env import OpenSpielEnv
from shuhari.envs.games.simulator import Positions, Referees
from shuhari.loops.cli.messages import fail
from shuhari.loops.cli.players import PLAYERS, Players, add_options, open_text_env
from shuhari.loops.play.standings import table
from shuhari.loops.report.progress import busy
from shuhari.policy.elo import Rating, ratings
from shuhari.policy.match import tally
from shuhari.policy.tournament import Pairing, play_all, scores

OPENING_PLIES = range(1, 4)  # random moves before a game of two players who know the same begins
METHOD = "Bradley-Terry by maximum likelihood, a draw half a win; intervals by the likelihood's curvature"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shuhari arena",
        description=f"Every two players meet, with every opening from both seats. A player is {PLAYERS}.",
        epilog="example: shuhari arena shuhari/TicTacToe-v0 random expert perfect --anchor expert",
    )
    parser.add_argument("env", help="the id of a game of two seats, as shuhari envs lists them")
    parser.add_argument("given", nargs="*", metavar="key=value | PLAYER", help="its arguments, and players")
    parser.add_argument("--games", type=int, default=100, help="of each pair, an even number (100)")
    parser.add_argument("--anchor", metavar="PLAYER", help="whose rating is 0 (the first player's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")
    add_options(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 2 with one line for what the user got wrong."""
    options = _parser().parse_intermixed_args(arguments)
    pairs = [text for text in options.given if text.partition("=")[0].isidentifier() and "=" in text]
    names = [text for text in options.given if text not in pairs]
    anchor = _checked(options, names)
    env = open_text_env(options.env, pairs).unwrapped
    if not isinstance(env, OpenSpielEnv):
        fail(f"{options.env}: is no game; players of problems are compared by shuhari evaluate")
    if env.seats != 2 or env.referee.game.get_type().utility.name != "ZERO_SUM":
        fail(f"{env.game}: arena is for games of two seats, in which one wins what the other loses")
    players = Players(env, names, options, options.seed)
    seated = [players.seated(name) for name in names]
    openings = _openings(env, options.games // 2, options.seed)
    with busy("playing"):
        met = play_all(Referees(env.game), [s.player for s in seated], openings, options.seed)
    rated = ratings(scores(met, len(names)), anchor)
    if options.json:
        print(json.dumps(_as_json(options, names, anchor, met, rated)))
    else:
        print("\n".join(table(names, met, rated, shutil.get_terminal_size().columns)))
        if 2 * len(openings) < options.games:
            print(f"note: {len(openings)} different openings were found, so {2 * len(openings)} games a pair")
    return 0


def _checked(options: argparse.Namespace, names: Sequence[str]) -> int:
    """The anchor's number, if all that can be checked at once is right."""
    if len(names) < 2:
        fail(f"arena: at least two players, here {len(names)}; a player is {PLAYERS}")
    if twice := [name for name in names if names.count(name) > 1]:
        fail(f"{twice[0]}: is named twice")
    if options.games < 2 or options.games % 2:
        fail(f"--games {options.games}: an even number from 2, for every opening is played from both seats")
    if options.seed < 0:
        fail(f"--seed {options.seed}: a number from 0")
    anchor = options.anchor or names[0]
    if anchor not in names:
        fail(f"--anchor {anchor}: is none of the players: {', '.join(names)}")
    return names.index(anchor)


def _openings(env: OpenSpielEnv, n: int, seed: int) -> Positions:
    """Different positions a few random moves into the game; with chance, starts, whose luck differs."""
    rng = np.random.default_rng([seed, 2**32])
    if env.referee.chance_moves:
        return Referees(env.game).start(n, rng)
    from shuhari.loops.collect.openings import random_openings

    found = random_openings(env.root, OPENING_PLIES, n, rng)
    if not len(found):
        fail(f"{env.game}: every game is over after {OPENING_PLIES[-1]} moves")
    return found


def _as_json(
    options: argparse.Namespace,
    names: Sequence[str],
    anchor: int,
    met: Sequence[Pairing],
    rated: Sequence[Rating],
) -> dict[str, Any]:
    players = [{"player": name, **rating.as_json()} for name, rating in zip(names, rated, strict=True)]
    pairs = [
        {"first": names[pair.first], "second": names[pair.second], **tally(pair.returns)} for pair in met
    ]
    return {
        "env": options.env,
        "arguments": [text for text in options.given if text not in names],
        "method": METHOD,
        "seed": options.seed,
        "anchor": names[anchor],
        "games_of_a_pair": len(met[0].returns),
        "players": players,
        "pairs": pairs,
    }
