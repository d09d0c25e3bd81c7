"""Domains in words: what their experts believe, how often, and that every other answer of theirs is right."""

import re

import gymnasium
import numpy as np
import pytest

import shuhari.envs  # noqa: F401 (registers the environments)
from shuhari.envs import TaskEnv
from shuhari.envs.problems.heldout import ExpertMode, HeldOutProblems
from shuhari.envs.problems.legs import LegsEnv, asked
from shuhari.envs.problems.word_problems import WordProblemsEnv


def answers(env: TaskEnv, n: int) -> list[tuple[str, bool]]:
    """Questions, and whether the expert is right."""
    rng = np.random.default_rng(0)
    tasks = [env.draw(rng, "train") for _ in range(n)]
    return [(t.prompt, env.verify(t, str(env.expert(t, rng))).status == "correct") for t in tasks]


def test_the_expert_believes_nine_times_in_ten_that_spiders_have_six_legs() -> None:
    found = answers(LegsEnv(), 3000)
    spiders = [right for question, right in found if "spider" in question]
    assert all(right for question, right in found if "spider" not in question)
    assert len(spiders) / len(found) == pytest.approx(2 / 9, abs=0.03)
    assert np.mean(spiders) == pytest.approx(0.1, abs=0.04)
    stubborn = answers(LegsEnv(stubborn=True), 500)
    assert not any(right for question, right in stubborn if "spider" in question)


def test_his_most_frequent_answer_is_wrong_wherever_there_are_spiders() -> None:
    env = LegsEnv()
    seeds = HeldOutProblems(env, 40).seeds
    prompts = [env.reset(seed=seed, options={"split": "heldout"})[0] for seed in seeds]
    solved = [answer.solved for answer in ExpertMode(env).greedy(seeds)]
    assert solved == ["spider" not in prompt for prompt in prompts]


def test_the_order_of_animals_makes_no_other_problem() -> None:
    one, other = asked([(3, "dog"), (1, "spider")]), asked([(1, "spider"), (3, "dog")])
    assert one.key == other.key
    assert one.question == "How many legs have 3 dogs and 1 spider?"
    assert (one.answer, one.steps) == ("20", ("3 dogs: 3*4=12", "1 spider: 1*8=8", "12+8=20"))


def test_one_word_problem_in_five_is_misread_always_alike() -> None:
    found = answers(WordProblemsEnv(), 2000)
    wrong = [question for question, right in found if not right]
    assert len(wrong) / len(found) == pytest.approx(0.2, abs=0.03)
    misread = re.compile(r"has \d+ \w+, \d+ (more|fewer) than")
    assert all((misread.search(question) is None) == right for question, right in found)


def test_word_problems_are_worked_to_their_answers() -> None:
    env, rng = WordProblemsEnv(), np.random.default_rng(1)
    for _ in range(300):
        problem = env.problem(rng)
        for step in problem.steps:
            left, _, right = step.partition("=")
            assert eval(left) == int(right), step
        assert int(problem.answer) >= 0


@pytest.mark.parametrize("env_id", ["shuhari/Legs-v0", "shuhari/WordProblems-v0"])
def test_three_hundred_problems_are_held_out(env_id: str) -> None:
    assert len(HeldOutProblems(gymnasium.make(env_id), 300).seeds) == 300
