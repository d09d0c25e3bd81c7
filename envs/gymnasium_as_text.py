"""Any Gymnasium environment with discrete actions and printable observations, as a text environment."""

from collections.abc import Callable
from itertools import compress
from typing import Any

import gymnasium
import numpy as np

from shuhari.envs.text_env import TextEnv

MAX_MALFORMED = 3  # consecutive unknown actions before the episode is truncated
MAX_EPISODE_STEPS = 200  # if the inner environment has no limit: an untrained policy may never end


class DiscreteEnv(TextEnv):
    """The Gymnasium environment `inner`, with a name for each action and a text for each observation.

    `actions` are the names in order (numbers by default). `observation_text(env, observation)` is what the
    policy sees. It must be complete, because every observation is a whole prompt. Raises ValueError for
    actions that are not discrete, and for names that are too few, blank or repeated.
    """

    arguments_description = "the inner environment's arguments"

    def __init__(
        self,
        inner: str,
        actions: tuple[str, ...] = (),
        observation_text: Callable[[Any, Any], str] | None = None,
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
        self.observation_text = observation_text or (lambda env, observation: str(observation))
        self.instructions = instructions or f"{inner}. Answer with one of: {' '.join(self.actions)}."

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        # The options are not passed on, because inner environments do not know ours, such as the split.
        observation, info = self.inner.reset(seed=int(self.np_random.integers(2**31)))
        self._malformed, self._shown = 0, self._prompt(observation)
        return self._shown, self._info(info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if action.strip() not in self.actions:
            self._malformed += 1
            error = f"{action[:40]!r} is not an action; actions: {' '.join(self.actions)}"
            truncated = self._malformed >= MAX_MALFORMED
            info = {"legal_actions": self._legal, "seat": 0}
            return f"{error}\n{self._shown}", 0.0, False, truncated, info
        self._malformed = 0
        chosen = self.first + self.actions.index(action.strip())
        observation, reward, terminated, truncated, info = self.inner.step(chosen)
        self._shown = self._prompt(observation)
        return self._shown, float(reward), terminated, truncated, self._info(info)

    def _prompt(self, observation: Any) -> str:
        return f"{self.observation_text(self.inner.unwrapped, observation)}>"

    def _info(self, inner: dict[str, Any]) -> dict[str, Any]:
        """The legal actions: those of the inner environment's `action_mask`, as in Taxi, or else all."""
        mask = inner.get("action_mask")
        legal = self.actions if mask is None else tuple(compress(self.actions, mask))
        self._legal = legal or self.actions
        return {"legal_actions": self._legal, "seat": 0}

    def close(self) -> None:
        self.inner.close()

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        """A state that random actions reach, and a random legal action or, half of the time, a random word.

        The random words make the base write every character: an adapter cannot teach it new ones later.
        """
        observation, info = self.reset(seed=int(rng.integers(2**31)))
        for _ in range(int(rng.integers(8))):
            following, _, terminated, truncated, then = self.step(str(rng.choice(info["legal_actions"])))
            if terminated or truncated:
                break
            observation, info = following, then
        word = "".join(map(chr, rng.integers(33, 127, size=int(rng.integers(1, 9)))))
        return observation, word if rng.random() < 0.5 else str(rng.choice(info["legal_actions"]))


def frozen_lake_text(env: Any, observation: Any) -> str:
    """The map, with P at the player's place."""
    rows = ["".join(cell.decode() for cell in row) for row in env.desc]
    row, column = divmod(int(observation), len(rows[0]))
    rows[row] = f"{rows[row][:column]}P{rows[row][column + 1 :]}"
    return "/".join(rows)


def taxi_text(env: Any, observation: Any) -> str:
    """The places of the taxi and of the passenger (or `in`), and the destination."""
    row, column, passenger, target = env.decode(int(observation))
    return f"taxi {row},{column} passenger {('R', 'G', 'Y', 'B', 'in')[passenger]} to {'RGYB'[target]}"


def cliff_walking_text(env: Any, observation: Any) -> str:
    """Row and column, counted from the upper left."""
    row, column = divmod(int(observation), env.shape[1])
    return f"row {row} column {column}"


def blackjack_text(env: Any, observation: Any) -> str:
    """The player's sum, the dealer's open card, and whether an ace counts as 11."""
    total, dealer, ace = observation
    return f"{int(total)} against {int(dealer)}{' ace' if ace else ''}"


def frozenlake_env(**arguments: Any) -> DiscreteEnv:
    """FrozenLake-v1: find the way to G without falling into H. The ice is slippery by default."""
    text = "Cross the ice from S to G; H is a hole, P is you, / separates rows. Answer l, d, r or u."
    return DiscreteEnv("FrozenLake-v1", tuple("ldru"), frozen_lake_text, text, **arguments)


def taxi_env(**arguments: Any) -> DiscreteEnv:
    """Taxi-v4 (v3 in older versions of Gymnasium): bring a passenger to its destination."""
    version = "Taxi-v4" if "Taxi-v4" in gymnasium.registry else "Taxi-v3"
    actions = ("south", "north", "east", "west", "pickup", "dropoff")
    text = (
        f"Drive to the passenger, pick it up, and drop it where it wants to go. Answer {' '.join(actions)}."
    )
    return DiscreteEnv(version, actions, taxi_text, text, **arguments)


def cliffwalking_env(**arguments: Any) -> DiscreteEnv:
    """CliffWalking-v1: from the lower left to the lower right corner, around the cliff between them."""
    actions = ("up", "right", "down", "left")
    way = "Walk from row 3 column 0 to row 3 column 11; row 3 between them is a cliff."
    text = f"{way} Answer up, right, down or left."
    return DiscreteEnv("CliffWalking-v1", actions, cliff_walking_text, text, **arguments)


def blackjack_env(**arguments: Any) -> DiscreteEnv:
    """Blackjack-v1: a sum of cards as close to 21 as possible, but not above."""
    text = "Blackjack: your sum against the dealer's open card. Answer stick or hit."
    return DiscreteEnv("Blackjack-v1", ("stick", "hit"), blackjack_text, text, **arguments)


TEXT_ENVS = {
    "FrozenLake": frozenlake_env,
    "Taxi": taxi_env,
    "CliffWalking": cliffwalking_env,
    "Blackjack": blackjack_env,
}  # by the name in Gymnasium's id


def as_text(env: gymnasium.Env[Any, Any], arguments: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """The environment as text if its actions are numbered and its observations are numbers, else unchanged.

    Four of Gymnasium's environments get a text of their own. For any other, the text is the numbers.
    """
    spaces = gymnasium.spaces
    space = env.observation_space
    parts = tuple(space) if isinstance(space, spaces.Tuple) else (space,)
    numbers = all(isinstance(part, (spaces.Discrete, spaces.MultiDiscrete)) for part in parts)
    if env.spec is None or not numbers or not isinstance(env.action_space, spaces.Discrete):
        return env
    env.close()
    if env.spec.namespace is None and env.spec.name in TEXT_ENVS:
        return TEXT_ENVS[env.spec.name](**arguments)
    return DiscreteEnv(env.spec.id, **arguments)
