"""`shuhari validate`: what a run of an environment would meet, before it runs."""

import argparse
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf

from shuhari.envs import TaskEnv
from shuhari.envs.content_checker import (
    DrawnProblem,
    RandomEpisode,
    apart,
    distinct,
    draw_problems,
    expert_is_right,
    lasts,
    pays,
    random_episodes,
    solvable,
)
from shuhari.envs.env_checker import Finding, check_environment, checked
from shuhari.envs.games.env import OpenSpielEnv
from shuhari.envs.registry import parse_arguments
from shuhari.envs.types import Trace
from shuhari.loops.cli.experiments import experiments
from shuhari.loops.cli.messages import fail
from shuhari.loops.cli.players import Players, add_policy_options, open_text_env
from shuhari.loops.report.progress import busy

if TYPE_CHECKING:
    from shuhari.policy.policy import Policy
    from shuhari.policy.render import Renderer

TOO_LONG = 0.05  # share of answers that do not fit, above which it is a fault
MAX_NEW_TOKENS = 64  # as in PolicyConfig


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shuhari validate",
        description="Check an environment's contract, its content, and whether a base can read and say it.",
        epilog="example: shuhari validate shuhari/Dataset-v0 path=questions.jsonl --base smollm2",
    )
    parser.add_argument("env", help="an environment's id, as shuhari envs lists them")
    parser.add_argument("arguments", nargs="*", metavar="key=value", help="its arguments")
    parser.add_argument("-n", type=int, default=200, help="problems of each side, or games, to draw (200)")
    parser.add_argument("--show", type=int, default=3, help="problems to print (3)")
    parser.add_argument("--max-new-tokens", type=int, help="of an answer (its experiment's, or 64)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")
    add_policy_options(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Exit status 0; 1 where there are faults; 2, with one line, for what the user got wrong."""
    options = _parser().parse_intermixed_args(arguments)
    for name, least in (("n", 2), ("show", 0), ("max_new_tokens", 1), ("seed", 0)):
        if (value := getattr(options, name)) is not None and value < least:
            fail(f"{'-' if name == 'n' else '--'}{name.replace('_', '-')} {value}: a number from {least}")
    env = open_text_env(options.env, options.arguments)
    inner = env.unwrapped
    own = _own_policy(options.env, parse_arguments(options.arguments))
    generic = "math"
    if isinstance(inner, OpenSpielEnv):
        generic = "games" if inner.referee.perfect_information else "cards"
    options.base = options.base or own.get("base", generic if _is_known(inner) else "gymnasium")
    options.max_new_tokens = options.max_new_tokens or int(own.get("max_new_tokens", MAX_NEW_TOKENS))
    policy, renderer, _ = Players(env, ["base"], options, 0).language_model("base")
    with busy("checking"):
        findings, shown = _check(env, policy, renderer, options)
    _print(findings, shown, options)
    return 0 if all(finding.ok for finding in findings) else 1


def _check(
    env: Any, policy: "Policy", renderer: "Renderer", options: argparse.Namespace
) -> tuple[list[Finding], Sequence[DrawnProblem]]:
    """What is found, and problems to show."""
    findings = check_environment(options.env, parse_arguments(options.arguments))
    inner, shown = env.unwrapped, list[DrawnProblem]()
    try:
        if isinstance(inner, TaskEnv):
            train = draw_problems(env, options.n, "train", options.seed)
            heldout = draw_problems(env, options.n, "heldout", options.seed)
            findings += _of_problems(inner, train, heldout)
            findings += _lengths(policy, renderer, train, options)
            shown = train[: options.show]
        else:
            episodes = random_episodes(env, options.n, options.seed)
            findings += _of_episodes(inner, episodes, options)
            findings.append(checked("positions fit the base", _positions_fit, policy, renderer, episodes))
    except ValueError as error:  # the environment fails: what it does is told, and nothing more can be known
        findings.append(Finding("problems or games can be drawn", False, str(error)))
    return findings, shown


def _is_known(inner: Any) -> bool:
    return isinstance(inner, OpenSpielEnv | TaskEnv)


def _own_policy(env_id: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the first experiment of this environment, and of this game if it names one, says of its policy."""
    known: dict[str, Any] = {
        name: OmegaConf.to_container(OmegaConf.load(path)) for name, path in experiments().items()
    }

    def of(said: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for other in said.get("defaults", ()):
            found |= of(known[other]) if isinstance(other, str) and other in known else {}
        found |= said.get("policy", {})
        return found

    wanted = env_id, arguments.get("game")
    own = (s for s in known.values() if (s.get("env"), s.get("env_args", {}).get("game")) == wanted)
    return next(map(of, own), {})


def _of_problems(
    env: TaskEnv, train: Sequence[DrawnProblem], heldout: Sequence[DrawnProblem]
) -> list[Finding]:
    return [
        checked("problems can be solved", solvable, [*train, *heldout]),
        checked("the expert is right", expert_is_right, [*train, *heldout]),
        checked("problems differ", distinct, train, env),
        checked("no question is on both sides", apart, train, heldout),
    ]


def _of_episodes(inner: Any, episodes: Sequence[RandomEpisode], options: argparse.Namespace) -> list[Finding]:
    is_game = isinstance(inner, OpenSpielEnv)
    zero_sum = is_game and inner.referee.game.get_type().utility.name == "ZERO_SUM"
    return [
        checked("episodes end", lasts, episodes),
        checked("what it pays", pays, episodes, zero_sum),
        checked("phase 2", _second_phase, inner, options),
    ]


def _second_phase(inner: Any, options: argparse.Namespace) -> str:
    """By what self-play an environment that is no TaskEnv is trained."""
    from shuhari.envs.games.equilibrium import information_turns
    from shuhari.loops.house import experiment_for, why_untrained

    game = isinstance(inner, OpenSpielEnv) and inner.seats > 1
    if game and (why := why_untrained(inner)):
        return f"none: {why}"
    experiment = experiment_for(options.env, parse_arguments(options.arguments))
    if experiment == "hidden_game":
        try:
            information_turns(inner.game)
        except (MemoryError, ValueError) as error:
            return f"none: {error}"
    by = {"board_game": "tree search", "hidden_game": "fictitious play", "returns": "its rewards"}
    command = ["shuhari", "train", f"experiment={experiment}", f"env={options.env}"]
    return (
        f"{by[experiment]}: {shlex.join([*command, *(f'env_args.{given}' for given in options.arguments)])}"
    )


def _lengths(
    policy: "Policy", renderer: "Renderer", problems: Sequence[DrawnProblem], options: argparse.Namespace
) -> list[Finding]:
    """Whether a base takes problems and their answers, and can write these."""
    pairs = [
        renderer.trace(Trace(problem.task.prompt, answer))
        for problem in problems
        for answer in problem.answers[:1]
    ]
    prompts = [len(renderer.first(problem.task.prompt)) for problem in problems]
    return [
        checked("prompts fit the base", _prompts_fit, prompts, policy, options),
        checked("answers fit the limit", _answers_fit, [len(answer) for _, answer in pairs], options),
        checked("the base can write the answers", _writable, policy, problems, options.base),
    ]


def _prompts_fit(lengths: Sequence[int], policy: "Policy", options: argparse.Namespace) -> str:
    room = policy.max_length - options.max_new_tokens
    beyond = float(np.mean([length > room for length in lengths]))
    told = (
        f"{_spread(lengths)}; {beyond:.1%} leave less than {options.max_new_tokens} for an answer, of the "
        f"{policy.max_length} that {options.base} takes"
    )
    if beyond > TOO_LONG:
        raise ValueError(f"{told}: take another --base or a smaller --max-new-tokens")
    return told


def _answers_fit(lengths: Sequence[int], options: argparse.Namespace) -> str:
    if not lengths:
        return "no answer is known"
    beyond = float(np.mean([length > options.max_new_tokens for length in lengths]))
    told = f"{_spread(lengths)}; {beyond:.1%} are beyond the limit of {options.max_new_tokens}"
    if beyond > TOO_LONG:
        raise ValueError(f"{told}: give --max-new-tokens (policy.max_new_tokens in a run) {max(lengths)}")
    return told


def _spread(lengths: Sequence[int]) -> str:
    return f"{min(lengths)} to {max(lengths)} tokens, {np.mean(lengths):.1f} on average"


def _writable(policy: "Policy", problems: Sequence[DrawnProblem], base: str) -> str:
    """Raises ValueError for a character of an answer that a base does not write, or has never written."""
    from shuhari.policy.base_source import SHIPPED, names_in

    characters = sorted({c for problem in problems for answer in problem.answers for c in answer})
    strange = [c for c in characters if c.strip() and c not in policy.decode(policy.encode(c))]
    if base in names_in(SHIPPED):  # their tokenizer writes other characters by bytes, which none has learned
        strange = sorted({*strange, *(c for c in characters if not c.isascii())})
    if strange:
        raise ValueError(f"{base} has never written {' '.join(strange[:20])}: take another --base")
    return f"{len(characters)} different characters"


def _positions_fit(policy: "Policy", renderer: "Renderer", episodes: Sequence[RandomEpisode]) -> str:
    texts = max((text for episode in episodes for text in episode.texts), key=len)
    actions = sorted({action for episode in episodes for action in episode.actions})
    longest = max(map(len, renderer.choices(tuple(actions))))
    tokens = len(renderer.first(texts)) + longest
    told = (
        f"at most about {tokens} tokens, an action of {longest} included; the base takes {policy.max_length}"
    )
    if tokens > policy.max_length:
        raise ValueError(f"{told}: take another --base")
    return told


def _print(findings: Sequence[Finding], shown: Sequence[DrawnProblem], options: argparse.Namespace) -> None:
    if options.json:
        problems = [
            {
                "prompt": problem.task.prompt,
                "right": problem.right,
                "right_accepted": problem.right_accepted,
                "expert": problem.expert,
                "expert_accepted": problem.expert_accepted,
            }
            for problem in shown
        ]
        given = {"env": options.env, "arguments": options.arguments, "base": options.base}
        print(json.dumps(given | {"findings": [asdict(f) for f in findings], "problems": problems}))
        return
    for finding in findings:
        mark = "ok  " if finding.ok else "FAIL"
        print(f"{mark} {finding.name}{': ' if finding.detail else ''}{finding.detail}")
    for problem in shown:
        print(f"\nproblem: {problem.task.prompt.rstrip()}")
        for who, answer, accepted in (
            ("right", problem.right, problem.right_accepted),
            ("expert", problem.expert, problem.expert_accepted),
        ):
            if answer is not None:
                print(f"{who}, {'accepted' if accepted else 'not accepted'}: {answer.rstrip()}")
