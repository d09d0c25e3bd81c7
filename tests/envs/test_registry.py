"""Every registered environment of ours keeps the contract; a new one is tested by being registered."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import shuhari.envs
from shuhari.envs import TaskEnv, TextEnv

OURS = sorted(i for i, spec in gymnasium.registry.items() if spec.namespace == "shuhari")
assert shuhari.envs


def transcript(env_id: str, seed: int) -> list[object]:
    """A whole episode of random legal (or garbage) text."""
    env = gymnasium.make(env_id)
    observation, info = env.reset(seed=seed)
    rng, lines, over = np.random.default_rng(seed), [observation], False
    while not over:
        legal = info.get("legal_actions") or ("12", "x=1", "")
        observation, reward, terminated, truncated, info = env.step(str(rng.choice(legal)))
        lines += [observation, reward, info.get("returns")]
        over = terminated or truncated
    return lines


@pytest.mark.parametrize("env_id", OURS)
class TestEveryEnv:
    @pytest.mark.filterwarnings("ignore:.*(render|spec|np_random|action space).*:UserWarning")
    def test_gymnasium_accepts_it(self, env_id: str) -> None:
        check_env(gymnasium.make(env_id).unwrapped, skip_render_check=True)

    def test_the_same_seed_gives_the_same_transcript(self, env_id: str) -> None:
        assert transcript(env_id, 5) == transcript(env_id, 5)

    def test_it_explains_itself(self, env_id: str) -> None:
        env = gymnasium.make(env_id).unwrapped
        assert isinstance(env, TextEnv)
        assert env.instructions
        assert env.observation_space.contains("ünïcode, spaces and\nlines")

    def test_it_writes_text_to_pretrain_on(self, env_id: str) -> None:
        env = gymnasium.make(env_id).unwrapped
        assert isinstance(env, TextEnv)
        first, again = (env.document(np.random.default_rng(1)) for _ in range(2))
        assert first == again
        assert all(first)

    def test_garbage_earns_nothing(self, env_id: str) -> None:
        for garbage in ("", "=", "the answer", "\0", "1" * 10_000):
            env = gymnasium.make(env_id)
            env.reset(seed=0)
            assert float(env.step(garbage)[1]) <= 0


@pytest.mark.parametrize("env_id", [i for i in OURS if isinstance(gymnasium.make(i).unwrapped, TaskEnv)])
class TestEveryTask:
    def test_the_split_is_disjoint(self, env_id: str) -> None:
        env = gymnasium.make(env_id)
        keys = {}
        for split in ("train", "heldout"):
            keys[split] = {env.reset(seed=s, options={"split": split})[1]["key"] for s in range(500)}
        assert not keys["train"] & keys["heldout"]

    def test_experts_and_documents_never_see_a_heldout_problem(self, env_id: str) -> None:
        env = gymnasium.make(env_id).unwrapped
        assert isinstance(env, TaskEnv)
        heldout = {env.reset(seed=s, options={"split": "heldout"})[0] for s in range(2000)}
        rng = np.random.default_rng(0)
        assert not heldout & {trace.task for trace in env.expert_traces(2000, rng)}
        assert not heldout & {env.document(rng)[0] for _ in range(2000)}

    def test_an_unknown_split_is_refused(self, env_id: str) -> None:
        with pytest.raises(ValueError, match="heldout"):
            gymnasium.make(env_id).reset(seed=0, options={"split": "test"})
