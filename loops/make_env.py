"""Environments by id, ours registered, mistakes answered with a suggestion."""

from typing import Any

import gymnasium

import shuhari.envs  # noqa: F401  (registers our environments)


def make_env(env_id: str, env_args: dict[str, Any]) -> gymnasium.Env[str, str]:
    """The environment. Raises ValueError, with Gymnasium's suggestion, for an unknown id or argument."""
    try:
        return gymnasium.make(env_id, **env_args)
    except gymnasium.error.Error as error:
        raise ValueError(f"env={env_id}: {str(error).splitlines()[0]}") from None
    except (TypeError, ModuleNotFoundError) as error:
        raise ValueError(f"env={env_id}, env_args={env_args}: {str(error).splitlines()[0]}") from None
