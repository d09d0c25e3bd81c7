"""Environments by id, ours registered; mistakes are answered in one line."""

from typing import Any

import gymnasium

from shuhari.envs import load_plugins  # importing it registers our environments


def make_env(env_id: str, env_args: dict[str, Any]) -> gymnasium.Env[str, str]:
    """The environment. Raises ValueError, with Gymnasium's suggestion, for an unknown id or argument."""
    where = f"env={env_id}" + (f", env_args={env_args}" if env_args else "")
    load_plugins()
    try:
        return gymnasium.make(env_id, **env_args)
    except Exception as error:  # a plug-in's module may fail in any way when it is imported or built
        raise ValueError(f"{where}: {(str(error).splitlines() or [type(error).__name__])[0]}") from None


def must_speak_text(env_id: str, env: gymnasium.Env[str, str]) -> None:
    """Raise ValueError where observations are not text."""
    observation, _ = env.reset(seed=0)
    if not isinstance(observation, str):
        kind = type(observation).__name__
        raise ValueError(
            f"env={env_id}: its observations are {kind}, not text; wrap it in an env that writes them"
        )
