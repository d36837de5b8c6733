"""How settings are spelled in the file and in the environment, and the error for a missing one."""

from typing import TypeVar

from pipeline.core.errors import ConfigError

ENV_PREFIX = "BKDMS_"
ENV_DELIMITER = "__"

_T = TypeVar("_T")


def variable(path: str) -> str:
    """Return the environment variable of a dotted setting: ``kafka.ca`` is ``BKDMS_KAFKA__CA``."""
    return ENV_PREFIX + path.replace(".", ENV_DELIMITER).upper()


def toml_place(path: str) -> str:
    """Return how to write a dotted setting in the file: ``kafka.ca`` is ``ca`` under ``[kafka]``."""
    section, _, key = path.rpartition(".")
    return f"`{key}` under [{section}]" if section else f"`{key}` at the top"


def required(value: _T | None, path: str) -> _T:
    """Return a setting that this program can't do without.

    Raises:
        ConfigError: it is not set; the message gives both spellings.
    """
    if value is None:
        raise ConfigError(
            f"setting {path} is missing: write {toml_place(path)} in bkdms.toml, or set {variable(path)}",
            code="config.setting",
        )
    return value
