"""Reading the assessment plan that setting ``assess.plan`` names."""

import tomllib
from pathlib import Path

from pipeline.core.assess.plan import DEFAULT_PLAN, Plan
from pipeline.core.assess.plan_reader import read_plan
from pipeline.core.errors import ConfigError


def load_plan(file: Path | None) -> Plan:
    """Return the plan of a file; without one, the plan that expects nothing.

    Raises:
        ConfigError: the file is missing (code ``config.file``), no TOML, or wrong; the message names the key.
    """
    if file is None:
        return DEFAULT_PLAN
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"setting assess.plan: {file}: {error.strerror}", code="config.file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"assessment plan {file} is no TOML: {error}", code="config.file") from None
    return read_plan(values)
