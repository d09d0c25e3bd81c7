"""Every registered environment of ours keeps the contract; a new one is tested by being registered."""

from typing import Any

import gymnasium
import numpy as np
import pytest

import shuhari.envs
from shuhari.envs import FreeText, Task, TaskEnv, TextEnv, register_env
from shuhari.envs.env_checker import check_environment
from shuhari.envs.gymnasium_as_text import DiscreteEnv, cliffwalking_env, taxi_env
from shuhari.envs.registry import open_env
from shuhari.loops.cli.envs import main
from shuhari.rewards import Verdict

OURS = sorted(i for i, spec in gymnasium.registry.items() if spec.namespace == "shuhari")
assert shuhari.envs


def test_there_are_thirty() -> None:
    assert len([env_id for env_id in OURS if "ReasoningGym" not in env_id]) >= 30


@pytest.mark.parametrize("env_id", OURS)
class TestEveryEnv:
    def test_it_keeps_the_contract(self, env_id: str) -> None:
        """All of `shuhari envs --check`, with another process for one environment of each family."""
        family = env_id.partition("-")[0]
        other_process = family in ("shuhari/Addition", "shuhari/Pig", "shuhari/Dataset")
        findings = check_environment(env_id, other_process=other_process)
        assert not [finding for finding in findings if not finding.ok]

    def test_it_writes_text_to_pretrain_on(self, env_id: str) -> None:
        env = gymnasium.make(env_id).unwrapped
        assert isinstance(env, TextEnv)
        first, again = (env.document(np.random.default_rng(1)) for _ in range(2))
        assert first == again
        assert all(first)
        assert env.observation_space.contains("ünïcode, spaces and\nlines")


@pytest.mark.parametrize("env_id", [i for i in OURS if isinstance(gymnasium.make(i).unwrapped, TaskEnv)])
class TestEveryTask:
    def test_experts_and_documents_never_see_a_heldout_problem(self, env_id: str) -> None:
        env = gymnasium.make(env_id).unwrapped
        assert isinstance(env, TaskEnv)
        heldout = {env.reset(seed=s, options={"split": "heldout"})[0] for s in range(500)}
        rng = np.random.default_rng(0)
        assert not heldout & {trace.task for trace in env.expert_traces(500, rng)}
        assert not heldout & {env.document(rng)[0] for _ in range(500)}

    def test_an_unknown_split_is_refused(self, env_id: str) -> None:
        with pytest.raises(ValueError, match="heldout"):
            gymnasium.make(env_id).reset(seed=0, options={"split": "test"})


def _pair(rng: np.random.Generator) -> tuple[str, int]:
    """Double a number."""
    n = int(rng.integers(1000))
    return f"2*{n}=", 2 * n


def test_two_functions_make_an_environment() -> None:
    env_id = register_env(
        _pair,
        lambda completion, gold: completion.strip() == str(gold),
        id="test/Double-v0",
        expert=lambda prompt, gold: str(gold),
        solution=lambda prompt, gold: str(gold),
    )
    failed = [f for f in check_environment(env_id) if not f.ok]
    # Another process cannot know an id that was registered in this one, and the check says so.
    assert [f.name for f in failed] == ["same seed, same transcript"]
    assert "another process" in failed[0].detail
    env = gymnasium.make(env_id)
    prompt, _ = env.reset(seed=3)
    assert env.unwrapped.instructions == "Double a number."  # type: ignore[attr-defined]
    assert env.step(str(2 * int(prompt[2:-1])))[1] == 1.0
    with pytest.raises(ValueError, match="namespace"):
        register_env(_pair, lambda c, g: True, id="Double-v0")


class Unsound(TaskEnv):
    """Pays for anything that contains the answer, and draws from a generator of its own."""

    instructions = "Answer."

    def __init__(self) -> None:
        super().__init__()
        self.own = np.random.default_rng()

    def generate(self, rng: np.random.Generator) -> Task:
        n = int(self.own.integers(10**6))
        return Task(f"{n}?", str(n), str(n))

    def verify(self, task: Task, completion: str) -> Verdict:
        return Verdict("correct" if task.gold in completion else "wrong")

    def solution(self, task: Task) -> str:
        return str(task.gold)


def test_the_check_says_what_is_wrong() -> None:
    gymnasium.register("test/Unsound-v0", Unsound)
    found = {finding.name: finding for finding in check_environment("test/Unsound-v0")}
    assert not found["same seed, same transcript"].ok
    assert not found["the reward resists attacks"].ok


class Twins(gymnasium.Env[str, str]):
    """Says what is legal, two of it by one name."""

    observation_space = action_space = FreeText()
    legal: tuple[str, ...] = ("left", "right", "left")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return "where?", {"legal_actions": self.legal}

    def step(self, action: str) -> Any:
        return "", 0.0, True, False, {}


class Nameless(Twins):
    legal = ("left", " ")


@pytest.mark.parametrize(
    ("env", "words"), [(Twins, "'left' is the name of 2 legal"), (Nameless, "must not be blank")]
)
def test_the_check_names_actions_that_cannot_be_told_apart(env: type, words: str) -> None:
    gymnasium.register(f"test/{env.__name__}-v0", env)
    (found,) = [
        f for f in check_environment(f"test/{env.__name__}-v0") if f.name == "legal actions can be told apart"
    ]
    assert not found.ok
    assert words in found.detail


@pytest.mark.parametrize("actions", [("l", "d", "l", "u"), ("l", "d", "", "u")])
def test_the_actions_of_a_gymnasium_environment_have_names_of_their_own(actions: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="names must differ, and none be empty"):
        DiscreteEnv("FrozenLake-v1", actions)


def test_legal_is_what_an_action_mask_says_and_an_env_without_a_limit_gets_one() -> None:
    taxi = taxi_env()
    _, info = taxi.reset(seed=3)
    assert 0 < len(info["legal_actions"]) < 6
    assert set(info["legal_actions"]) <= set(taxi.actions)
    walk, over, steps = cliffwalking_env(), False, 0
    walk.reset(seed=0)
    while not over:
        *_, over, _ = walk.step("up")
        steps += 1
    assert steps == 200
    short = DiscreteEnv("CliffWalking-v1", max_episode_steps=5)
    short.reset(seed=0)
    assert [short.step("0")[3] for _ in range(5)] == [False] * 4 + [True]


def test_gymnasiums_own_ids_are_text_too() -> None:
    for plain, ours in (
        ("FrozenLake-v1", "FrozenLake"),
        ("CliffWalking-v1", "CliffWalking"),
        ("Blackjack-v1", "Blackjack"),
    ):
        env, same = open_env(plain, {}), open_env(f"shuhari/{ours}-v0", {})
        assert env.reset(seed=3) == same.reset(seed=3)
    assert (
        open_env("FrozenLake-v1", {"is_slippery": False}).unwrapped.inner.spec.kwargs["is_slippery"] is False
    )
    images = open_env(
        "CartPole-v1", {}
    )  # observes real numbers: it is for a person to say what is to be read
    assert not isinstance(images.reset(seed=0)[0], str)


def test_the_command_lists_checks_and_answers_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(env_id in listed for env_id in OURS)
    assert main(["--check", "shuhari/Addition-v0", "digits=2"]) == 0
    assert "FAIL" not in capsys.readouterr().out
    for arguments, message in (
        (["--check", "shuhari/Adition-v0"], "Did you mean: `Addition`"),
        (["--check", "shuhari/Addition-v0", "digits=0"], "min_digits"),
        (["--check", "shuhari/Addition-v0", "digits"], "key=value"),
    ):
        assert main(arguments) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert "Traceback" not in printed
