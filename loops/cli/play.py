"""`shuhari play`: sit in a seat of a game, or beside a policy that answers problems."""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from shuhari.envs import TaskEnv
from shuhari.envs.games.env import OpenSpielEnv
from shuhari.loops.cli.messages import fail
from shuhari.loops.cli.players import PLAYERS, Players, add_options, open_text_env
from shuhari.loops.play.game_table import GameTable
from shuhari.loops.play.problem_table import Answerer, ExpertAnswers, ProblemTable
from shuhari.loops.play.terminal import Terminal


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shuhari play",
        description="Play a game against any player, or answer problems beside a policy.",
        epilog="example: shuhari play shuhari/TicTacToe-v0 --against runs/tic_tac_toe/DATE/adapter-selfplay",
    )
    parser.add_argument("env", help="an environment's id, as shuhari envs lists them")
    parser.add_argument("arguments", nargs="*", metavar="key=value", help="its arguments")
    parser.add_argument("--seat", default="0", help="yours: a number from 0, both (all), or none (watch)")
    parser.add_argument(
        "--against", action="append", metavar="PLAYER", help=f"who else plays; repeatable: {PLAYERS} (expert)"
    )
    parser.add_argument("--question", help="of problems: the policy answers this one; nobody judges")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="of an answer to a problem")
    parser.add_argument("--seed", type=int, help="of all luck (another one each time)")
    add_options(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 2 with one line for what the user got wrong."""
    options = _parser().parse_intermixed_args(arguments)
    if options.seed is not None and options.seed < 0:
        fail(f"--seed {options.seed}: a number from 0")
    if options.max_new_tokens < 1:
        fail(f"--max-new-tokens {options.max_new_tokens}: must be greater than 0")
    options.against = options.against or ["expert"]
    env = open_text_env(options.env, options.arguments)
    rng = np.random.default_rng(options.seed)
    inner = env.unwrapped
    try:
        if isinstance(inner, OpenSpielEnv):
            _play_game(inner, options, rng)
        elif isinstance(inner, TaskEnv):
            _play_problems(env, options, rng)
        else:
            fail(f"{options.env}: play is for games and single problems, and this is neither")
    except ValueError as error:  # an environment's fault, or a prompt that is too long
        fail(str(error))
    return 0


def _play_game(env: OpenSpielEnv, options: argparse.Namespace, rng: np.random.Generator) -> None:
    if options.question is not None:
        fail("--question is for problems; a game begins at its start")
    people = _seats_of_people(options.seat, env.seats)
    players = Players(env, options.against, options, int(rng.integers(2**31)))
    others = [players.seated(name) for name in options.against]
    free = [seat for seat in range(env.seats) if seat not in people]
    if len(others) > max(1, len(free)):
        fail(f"--against: free seats: {len(free)}, and here are {len(others)} players")
    sits = {seat: others[n % len(others)] for n, seat in enumerate(free)}
    seats = [sits[seat].player if seat in sits else None for seat in range(env.seats)]
    names = [sits[seat].name if seat in sits else "you" for seat in range(env.seats)]
    GameTable(env.root(), seats, names, others[0].hints, Terminal(), rng).play()


def _seats_of_people(given: str, seats: int) -> range:
    if given in ("both", "none"):
        return range(seats if given == "both" else 0)
    if given.isascii() and given.isdecimal() and int(given) < seats:
        return range(int(given), int(given) + 1)
    fail(f"--seat {given}: 0 to {seats - 1}, both or none")


def _play_problems(env: Any, options: argparse.Namespace, rng: np.random.Generator) -> None:
    if len(options.against) > 1:
        fail("--against: of problems one player answers")
    if options.seat not in ("0", "none"):
        fail(f"--seat {options.seat}: of problems 0 (you answer too) or none")
    (name,) = options.against
    if name in ("random", "perfect") or name.startswith("search:"):
        fail(f"{name}: plays games; problems are answered by expert, base or a folder of an adapter")
    terminal = Terminal()
    if name == "expert":
        if options.question is not None:
            fail("--question: the expert needs a drawn problem; give --against base or a folder")
        drawn = env.unwrapped.draw(np.random.default_rng(0), "heldout")
        if env.unwrapped.expert(drawn, np.random.default_rng(0)) is None:
            fail(f"{options.env} has no expert; give --against base or a folder of an adapter")
        answerer: Answerer = ExpertAnswers(env, terminal, rng)
    else:
        answerer = _policy(env, name, options, terminal, rng)
    if options.question is not None:
        terminal.show(f"{name}:")
        answerer.first(options.question, {})
        terminal.say("-> not judged: nobody has said what is right")
        return
    ProblemTable(env, answerer, options.seat == "0", terminal, rng).play()


def _policy(
    env: Any, name: str, options: argparse.Namespace, terminal: Terminal, rng: np.random.Generator
) -> Answerer:
    policy, renderer, adapter = Players(env, [name], options, 0).language_model(name)
    from shuhari.loops.play.policy_answers import PolicyAnswers
    from shuhari.policy.inference.generator import Generator

    return PolicyAnswers(
        name,
        Generator(policy),
        renderer,
        adapter,
        terminal,
        rng,
        history=env.unwrapped.history,
        max_new_tokens=options.max_new_tokens,
        temperature=1.0 if options.sample else 0.0,
    )
