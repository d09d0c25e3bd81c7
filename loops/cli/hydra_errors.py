"""One line for each error that Hydra and OmegaConf raise, from the error's type and attributes.

Where OmegaConf refused something, its own error carries the full key, and Hydra's error has it as its cause.
"""

from dataclasses import asdict
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from shuhari.loops.cli.messages import suggest
from shuhari.loops.config import ALGORITHMS, CONF, TrainConfig


def explain(error: Exception, schema: type) -> str:
    """What is wrong and what to type instead. `schema`: the type of the command's configuration."""
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read as key=value"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice}: there is no such {group}; {suggest(choice, error.options or ())}"
    # While Hydra composes the files it raises an error of its own without a cause, but in the context of one.
    refused = error if isinstance(error, OmegaConfBaseException) else error.__cause__ or error.__context__
    if not isinstance(refused, OmegaConfBaseException) or not refused.full_key:
        return str(error)  # of config groups, Hydra names the key in its text only, and says what to do
    key = refused.full_key
    if isinstance(refused, MissingMandatoryValue):
        return f"{key}: must be given, as in {key}=..."
    if isinstance(refused, ConfigAttributeError | ConfigKeyError):
        return f"{key}: {_unknown(key, schema)}"
    return f"{key}: {str(refused).splitlines()[0]}"  # the other lines repeat the key and name types of ours


def _unknown(key: str, schema: type) -> str:
    """What to say of a key that the configuration does not have."""
    parent, _, name = key.rpartition(".")
    if parent.endswith("env_args"):
        return f"give the arguments one by one, as in {parent}.{name}=3"
    if parent == "phases":
        return f"there is no such phase; add it by +phase@{key}=NAME"
    known = _known_keys(schema, key)
    if key in known:  # from the user, or from the experiment's own values
        return "this phase's algorithm and objective have no such option; --cfg job shows those there are"
    beside = [other for other in known if other.rpartition(".")[0] == parent]
    elsewhere = [other for other in known if other.rpartition(".")[2] == name or not beside]
    return f"there is no such key; {suggest(key, elsewhere or beside)}"


def _known_keys(schema: type, key: str) -> set[str]:
    """The keys that could be meant by `key`: those of the schema, and those of a phase of any algorithm."""
    keys = _dotted(asdict(schema())) + [path.name for path in CONF.iterdir() if path.is_dir()]
    named = key.split(".")[1:2] if key.startswith("phases.") else ["imitate", "selfplay"]
    for phase in named if schema is TrainConfig else ():
        keys += [k for kind in ALGORITHMS.values() for k in _dotted(asdict(kind()), f"phases.{phase}.")]
    return set(keys)


def _dotted(node: dict[str, Any], prefix: str = "") -> list[str]:
    """Every dotted key of a nested dictionary."""
    keys = []
    for key, value in node.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += _dotted(value, f"{prefix}{key}.")
    return keys
