"""Types of the configuration that refuse what they do not accept, each when it is made."""

from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import OmegaConf


class ConfigError(ValueError):
    """A value that its type refuses.

    key: its dotted key, as far as the type knows it, or "key=value"
    reason: what the type accepts; {key} in it stands for the full key
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason.replace('{key}', key)}")
        self.key, self.reason = key, reason


# The metadata of a field with two numbers: the value in the first round and the value in the last one.
FIRST_AND_LAST = {"first_and_last": True}


@dataclass
class Checked:
    """A type whose numbers must be greater than 0, where `number` says nothing else."""

    def __post_init__(self) -> None:
        """Raises ConfigError. A subclass that checks more calls this first."""
        for f in fields(self):
            value, refused = getattr(self, f.name), ""
            least, most = f.metadata.get("least"), f.metadata.get("most")
            if f.metadata.get("first_and_last"):
                if len(value) != 2 or min(value) <= 0:
                    refused = "must be two numbers greater than 0, for the first and for the last round"
            elif isinstance(value, int | float) and not isinstance(value, bool):
                if least is None and not value > 0:
                    refused = "must be greater than 0"
                elif least is not None and not value >= least:
                    refused = f"must be at least {least}"
                elif most is not None and not value <= most:
                    refused = f"must be at most {most}"
            if refused:
                raise ConfigError(f"{f.name}={value}", refused)


def number(default: float | None, *, least: float | None = None, most: float | None = None) -> Any:
    """A field for a number of at least `least` (None: greater than 0), and of at most `most`."""
    return field(default=default, metadata={"least": least, "most": most})


def to_object(node: Any) -> Any:
    """`OmegaConf.to_object`, with full keys in what the types raise.

    OmegaConf makes the inner objects first, and each knows its own keys only. So the keys above are added
    here, where `node` is known to be bad.
    """
    try:
        return OmegaConf.to_object(node)
    except ConfigError:
        for key in node:
            if not OmegaConf.is_missing(node, key) and OmegaConf.is_dict(node[key]):
                try:
                    to_object(node[key])
                except ConfigError as inner:
                    raise ConfigError(f"{key}.{inner.key}", inner.reason) from None
        raise
