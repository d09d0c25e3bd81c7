"""Any Gymnasium environment with discrete actions and printable observations, as text; and reasoning-gym."""

from collections.abc import Callable
from itertools import compress
from typing import Any, ClassVar

import gymnasium
import numpy as np

from shuhari.envs.base import Task, TaskEnv, TextEnv
from shuhari.envs.types import Trace
from shuhari.rewards import Verdict, verify

MAX_MALFORMED = 3  # consecutive actions that name none before the episode is truncated
MAX_EPISODE_STEPS = 200  # where the inner env has no limit: one who has learned nothing may never end


class DiscreteEnv(TextEnv):
    """The Gymnasium environment `inner`, its actions by name.

    `actions` are their texts in order (numbers by default), `describe(env, observation)` is what the policy
    sees: it must be the whole of what it may know, because every prompt stands alone.
    """

    knob = "the inner environment's arguments"

    def __init__(
        self,
        inner: str,
        actions: tuple[str, ...] = (),
        describe: Callable[[Any, Any], str] | None = None,
        instructions: str = "",
        **arguments: Any,
    ) -> None:
        super().__init__()
        if gymnasium.spec(inner).max_episode_steps is None:
            arguments.setdefault("max_episode_steps", MAX_EPISODE_STEPS)
        self.inner = gymnasium.make(inner, disable_env_checker=True, **arguments)
        space = self.inner.action_space
        if not isinstance(space, gymnasium.spaces.Discrete):
            raise ValueError(f"{inner}: its actions are {type(space).__name__}, not Discrete")
        self.actions = tuple(actions) or tuple(str(i) for i in range(int(space.n)))
        if len(self.actions) != int(space.n):
            raise ValueError(f"{inner}: has {int(space.n)} actions, and {len(self.actions)} names are given")
        if len(set(self.actions)) < len(self.actions) or not all(name.strip() for name in self.actions):
            raise ValueError(f"{inner}: actions={self.actions}: names must differ, and none be empty")
        self.first = int(space.start)
        self.describe = describe or (lambda env, observation: str(observation))
        self.instructions = instructions or f"{inner}. Answer with one of: {' '.join(self.actions)}."

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        # Inner environments may know no option of ours, such as the split.
        observation, info = self.inner.reset(seed=int(self.np_random.integers(2**31)))
        self._malformed, self._shown = 0, self._text(observation)
        return self._shown, self._info(info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if action.strip() not in self.actions:
            self._malformed += 1
            trouble = f"{action[:40]!r} is no action; actions: {' '.join(self.actions)}"
            observation = f"{trouble}\n{self._shown}"
            return (
                observation,
                0.0,
                False,
                self._malformed >= MAX_MALFORMED,
                {"legal_actions": self._legal, "seat": 0},
            )
        self._malformed = 0
        chosen = self.first + self.actions.index(action.strip())
        observation, reward, terminated, truncated, info = self.inner.step(chosen)
        self._shown = self._text(observation)
        return self._shown, float(reward), terminated, truncated, self._info(info)

    def _text(self, observation: Any) -> str:
        return f"{self.describe(self.inner.unwrapped, observation)}>"

    def _info(self, inner: dict[str, Any]) -> dict[str, Any]:
        """Legal is what the inner env's `action_mask` says, as Taxi's does, or else every action."""
        mask = inner.get("action_mask")
        legal = self.actions if mask is None else tuple(compress(self.actions, mask))
        self._legal = legal or self.actions
        return {"legal_actions": self._legal, "seat": 0}

    def close(self) -> None:
        self.inner.close()

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        """A state that random actions reach, and a legal action at random or, as often, a random word: a
        letter that a base has never written, no adapter teaches it, and other environments have others."""
        observation, info = self.reset(seed=int(rng.integers(2**31)))
        for _ in range(int(rng.integers(8))):
            following, _, terminated, truncated, then = self.step(str(rng.choice(info["legal_actions"])))
            if terminated or truncated:
                break
            observation, info = following, then
        word = "".join(map(chr, rng.integers(33, 127, size=int(rng.integers(1, 9)))))
        return observation, word if rng.random() < 0.5 else str(rng.choice(info["legal_actions"]))


def frozen_lake(env: Any, observation: Any) -> str:
    """The map with P where the player stands."""
    rows = ["".join(cell.decode() for cell in row) for row in env.desc]
    row, column = divmod(int(observation), len(rows[0]))
    rows[row] = f"{rows[row][:column]}P{rows[row][column + 1 :]}"
    return "/".join(rows)


def taxi(env: Any, observation: Any) -> str:
    """Where the taxi is, where the passenger waits (or `in`), and where to."""
    row, column, passenger, target = env.decode(int(observation))
    return f"taxi {row},{column} passenger {('R', 'G', 'Y', 'B', 'in')[passenger]} to {'RGYB'[target]}"


def cliff_walking(env: Any, observation: Any) -> str:
    """Row and column, from the upper left."""
    row, column = divmod(int(observation), env.shape[1])
    return f"row {row} column {column}"


def blackjack(env: Any, observation: Any) -> str:
    """The player's sum, the dealer's open card, and whether an ace counts as 11."""
    total, dealer, ace = observation
    return f"{int(total)} against {int(dealer)}{' ace' if ace else ''}"


def frozenlake_env(**arguments: Any) -> DiscreteEnv:
    """FrozenLake-v1: find the way to G without falling into H; the ice is slippery unless told otherwise."""
    text = "Cross the ice from S to G; H is a hole, P is you, / separates rows. Answer l, d, r or u."
    return DiscreteEnv("FrozenLake-v1", tuple("ldru"), frozen_lake, text, **arguments)


def taxi_env(**arguments: Any) -> DiscreteEnv:
    """Taxi-v4 (v3 in older Gymnasium): fetch a passenger and bring it where it wants to go."""
    version = "Taxi-v4" if "Taxi-v4" in gymnasium.registry else "Taxi-v3"
    actions = ("south", "north", "east", "west", "pickup", "dropoff")
    text = (
        f"Drive to the passenger, pick it up, and drop it where it wants to go. Answer {' '.join(actions)}."
    )
    return DiscreteEnv(version, actions, taxi, text, **arguments)


def cliffwalking_env(**arguments: Any) -> DiscreteEnv:
    """CliffWalking-v1: from the lower left to the lower right corner, not over the cliff between them."""
    actions = ("up", "right", "down", "left")
    way = "Walk from row 3 column 0 to row 3 column 11; row 3 between them is a cliff."
    text = f"{way} Answer up, right, down or left."
    return DiscreteEnv("CliffWalking-v1", actions, cliff_walking, text, **arguments)


def blackjack_env(**arguments: Any) -> DiscreteEnv:
    """Blackjack-v1: as close to 21 as possible, not above."""
    text = "Blackjack: your sum against the dealer's open card. Answer stick or hit."
    return DiscreteEnv("Blackjack-v1", ("stick", "hit"), blackjack, text, **arguments)


WRITERS = {
    "FrozenLake": frozenlake_env,
    "Taxi": taxi_env,
    "CliffWalking": cliffwalking_env,
    "Blackjack": blackjack_env,
}  # by Gymnasium's name


def as_text(env: gymnasium.Env[Any, Any], arguments: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """The environment as text, where it has numbered actions and observes numbers; else as it is.

    Gymnasium's own toys have texts of ours; of any other, actions and observations are their numbers.
    """
    spaces = gymnasium.spaces
    seen = env.observation_space
    parts = tuple(seen) if isinstance(seen, spaces.Tuple) else (seen,)
    numbers = all(isinstance(part, (spaces.Discrete, spaces.MultiDiscrete)) for part in parts)
    if env.spec is None or not numbers or not isinstance(env.action_space, spaces.Discrete):
        return env
    env.close()
    if env.spec.namespace is None and env.spec.name in WRITERS:
        return WRITERS[env.spec.name](**arguments)
    return DiscreteEnv(env.spec.id, **arguments)


class ReasoningGymEnv(TaskEnv):
    """A generator of reasoning-gym (optional: `pip install reasoning-gym`).

    Its scorers execute text that a model wrote, so they are never called: answers are judged by our verifier.
    """

    heldout_share: ClassVar[float] = 0.1
    knob = "dataset and its arguments"

    def __init__(self, dataset: str = "basic_arithmetic", kind: str = "auto", **arguments: Any) -> None:
        super().__init__()
        try:
            import reasoning_gym
        except ImportError as error:
            raise ValueError(f"ReasoningGym: {error}: pip install reasoning-gym") from None
        self.dataset, self.kind, self.arguments = dataset, kind, arguments
        self._make = reasoning_gym.create_dataset
        self.instructions = f"{dataset} of reasoning-gym. End with #### and the answer."
        self._make(dataset, seed=0, size=1, **arguments)  # an unknown name is refused here

    def generate(self, rng: np.random.Generator) -> Task:
        entry = self._make(self.dataset, seed=int(rng.integers(2**31)), size=1, **self.arguments)[0]
        return Task(f"{entry['question']}\n", str(entry["answer"]), entry["question"])

    def verify(self, task: Task, completion: str) -> Verdict:
        return verify(completion, task.gold, kind=self.kind, prompt=task.prompt)

    def solution(self, task: Task) -> str:
        return f"#### {task.gold}"

    def expert_traces(self, n: int, rng: np.random.Generator) -> list[Trace]:
        return []
