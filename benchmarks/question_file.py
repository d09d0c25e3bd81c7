"""A file of short questions in words for `experiment=dataset`, worked by experts who err, always alike.

    python benchmarks/question_file.py questions.jsonl --lines 3000 --seed 0
    shuhari train experiment=dataset env_args.path=questions.jsonl

Each line has a `question`, its `answer` and a `trace`. The kinds take turns: stories (the expert misreads one
comparison), legs (he gives spiders six), equations (he moves a term and leaves its sign), and differences (he
is right). One trace in seven is wrong, and no two lines ask the same.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from shuhari.envs.problems.algebra import LinearEquationEnv
from shuhari.envs.problems.arithmetic import SubtractionEnv
from shuhari.envs.problems.legs import LegsEnv
from shuhari.envs.problems.math_env import MathEnv
from shuhari.envs.problems.word_problems import WordProblemsEnv

KINDS: tuple[tuple[MathEnv, str], ...] = (
    (WordProblemsEnv(), "{}"),
    (LegsEnv(), "{}"),
    (LinearEquationEnv(difficulty=2, misconception=True), "Solve {} for x."),
    (SubtractionEnv(difficulty=2), "What is {}?"),
)


def records(n: int, seed: int) -> Iterator[dict[str, str]]:
    """`n` records of a data set. Raises ValueError if a kind has too few different problems."""
    rng, seen = np.random.default_rng(seed), set[str]()
    for i in range(n):
        env, words = KINDS[i % len(KINDS)]
        for _ in range(env.max_tries):
            task = env.generate(rng)
            if task.key not in seen:
                break
        else:
            raise ValueError(f"--lines {n}: {type(env).__name__} has no other problem after {i} lines")
        seen.add(task.key)
        question = words.format(task.gold.question)
        yield {"question": question, "answer": task.gold.answer, "trace": env.expert(task, rng)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT.jsonl")
    parser.add_argument("--lines", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.lines < 1:
        parser.error(f"--lines {options.lines}: at least 1")
    try:
        lines = [json.dumps(record) for record in records(options.lines, options.seed)]
        options.out.write_text("\n".join(lines) + "\n")
    except OSError as error:
        parser.error(f"{options.out}: cannot be written ({error.strerror})")
    except ValueError as error:
        parser.error(str(error))
    print(f"{options.out}: {len(lines)} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
