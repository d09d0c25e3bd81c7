"""What imitation trains on is what a rollout will see."""

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np

from shuhari.envs import Trace
from shuhari.loops.collect.imitate import Imitate
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.config import ImitateConfig
from shuhari.policy.inference.request import Completion
from shuhari.policy.policy import Policy
from shuhari.policy.render import Renderer


def test_a_trace_of_several_turns_has_the_tokens_of_a_conversation() -> None:
    """An expert's second message is trained on after the very tokens it would be sampled after."""
    policy = Policy("math", rank=4, alpha=8.0)
    env: Any = gymnasium.make("shuhari/Calculator-v0").unwrapped
    env.reset(seed=0)
    prompt, call, answer = env.task.prompt, env.call(env.task.gold), env.solution(env.task)
    shown, *_ = env.step(call)

    def said(text: str) -> Completion:
        tokens = (*policy.encode(text), policy.eos)
        return Completion(tokens, (0.0,) * len(tokens), text, True)

    script, waiting = iter([call, answer]), []
    generator: Any = SimpleNamespace(
        policy=policy,
        fits=lambda prompt, limit: True,
        submit=lambda request: waiting.append(request) or 0,
        step=lambda: [(0, said(next(script)))],
    )
    rollouts = Rollouts(lambda: gymnasium.make("shuhari/Calculator-v0"), generator, Renderer(policy), 64)
    (episode,) = rollouts.play([0])
    assert episode.reward() == 1.0

    traces = [Trace(prompt, call), Trace(shown, answer, turns=((prompt, call),))]
    imitate = Imitate(generator, Renderer(policy), traces, ImitateConfig(), np.random.default_rng(0))
    assert sorted(imitate.train) == sorted((step.prompt, step.completion) for step in episode.steps)
