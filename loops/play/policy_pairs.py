"""Two different answers of a policy to each of many problems."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from shuhari.envs import validation
from shuhari.loops.play.comparison_table import Comparison
from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.request import Request
from shuhari.policy.inference.sampler import spread
from shuhari.policy.render import Renderer

SAMPLES = 4  # of a problem, among which two different ones are looked for
DRAWS = 1000  # in a row of problems that are known, after which there are no others
ALIKE = 20  # problems in a row without two different answers, after which a person is told


def policy_pairs(
    env: Any,
    generator: Generator,
    renderer: Renderer,
    adapter: str | None,
    known: Collection[str],
    rng: np.random.Generator,
    *,
    max_new_tokens: int,
    temperature: float,
) -> Iterator[Comparison]:
    """Problems of the training side, which alone is learned from, each once. Answers that do not end within
    the limit are left out.

    known: prompts that are left out, without the space around them
    Raises ValueError where a prompt is too long or answers are always alike, and EnvFault.
    """
    seen, alike = set(known), 0
    while (drawn := _draw(env, seen, rng)) is not None:
        problem, instructions = drawn
        seen.add(problem.strip())
        prompt = renderer.first(problem, instructions)
        room = min(max_new_tokens, generator.policy.max_length - len(prompt))
        if room < 1:
            raise ValueError(
                f"a prompt of {len(prompt)} tokens: the base takes {generator.policy.max_length}"
            )
        seeds = spread(int(rng.integers(2**31)), SAMPLES)
        done = generator.run([Request(prompt, room, temperature, seed, adapter) for seed in seeds])
        if errors := [completion.error for completion in done if completion.error]:
            raise ValueError(errors[0])
        # A dictionary keeps the order in which they were sampled.
        texts = list(dict.fromkeys(completion.text for completion in done if completion.finished))
        texts = [text for text in texts if text.strip()]
        if len(texts) > 1:
            alike = 0
            yield Comparison(problem, (texts[0], texts[1]), instructions)
        elif (alike := alike + 1) == ALIKE:
            raise ValueError(
                f"to {ALIKE} problems in a row there were no two different answers that end: raise "
                f"--temperature {temperature:g} or --max-new-tokens {max_new_tokens}"
            )


def _draw(env: Any, seen: Collection[str], rng: np.random.Generator) -> tuple[str, str | None] | None:
    """A problem that has not been seen, with its own instructions; None where there is none."""
    for _ in range(DRAWS):
        problem, info = validation.reset_or_fault(env, int(rng.integers(2**31)))
        if problem.strip() not in seen:
            return problem, info.get("instructions")
    return None
