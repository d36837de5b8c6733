"""Finding and reading the settings, and errors that name the setting in both spellings and what to do."""

import os
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from pipeline.config.naming import ENV_DELIMITER, ENV_PREFIX, required, toml_place, variable
from pipeline.config.settings import Settings, default_data_dir
from pipeline.config.transport import demand_protected
from pipeline.core.errors import ConfigError

__all__ = ["FILE_NAME", "load_settings", "required"]

FILE_NAME = "bkdms.toml"
# Read by other parts of the program, or before there are settings.
_OTHER_VARIABLES = frozenset(
    {"BKDMS_CONFIG", "BKDMS_DEBUG", "BKDMS_KAFKA_HOME", "BKDMS_POSTGRES_HOME", "BKDMS_CACHE"}
)
_SHOWN_PROBLEMS = 5


def load_settings(config: Path | None = None) -> Settings:
    """Read the settings file and the environment.

    ``config`` names the file; without it ``BKDMS_CONFIG`` does, else ``./bkdms.toml`` or ``bkdms.toml`` in the data
    folder is read if it is there. Relative paths in the file start at the file's folder.

    Raises:
        ConfigError: a file is missing or wrong, or a setting is (code ``config.setting``); or one leaves a peer
            unchecked or a page open and no setting accepts that (code ``config.insecure``).
    """
    _refuse_unknown_variables()
    file = _find(config)
    values = {} if file is None else _read(file)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        shown = [_explain(problem) for problem in error.errors()[:_SHOWN_PROBLEMS]]
        raise ConfigError("\n".join(shown), code="config.setting") from None
    except SettingsError as error:
        raise ConfigError(
            f"{error}: a whole table in one variable must be JSON; set its keys one by one, "
            f"such as {variable('kafka.bootstrap')}",
            code="config.setting",
        ) from None
    demand_protected(
        settings.transport,
        store_url=settings.store.url,
        api_url=settings.api.url,
    )
    return settings


def _find(config: Path | None) -> Path | None:
    named = config or (Path(os.environ["BKDMS_CONFIG"]) if os.environ.get("BKDMS_CONFIG") else None)
    if named is not None:
        return named
    data_dir = Path(os.environ.get(variable("data_dir")) or default_data_dir()).expanduser()
    usual = (Path(FILE_NAME), data_dir / FILE_NAME)
    return next((path for path in usual if path.is_file()), None)


def _read(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"settings file {file}: {error.strerror}; name another with --config or BKDMS_CONFIG",
            code="config.file",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"settings file {file} is no TOML: {error}", code="config.file") from None
    _anchor(values, Settings, file.resolve().parent)
    return values


def _anchor(values: dict[str, Any], model: type[BaseModel], folder: Path) -> None:
    """Make the relative paths of a table start at ``folder``."""
    for name, field in model.model_fields.items():
        value = values.get(name)
        kind = field.annotation
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, BaseModel):
            _anchor(value, kind, folder)
        elif isinstance(value, str) and (kind is Path or "Path" in str(get_args(kind))):
            values[name] = str(folder / Path(value).expanduser())


def _refuse_unknown_variables() -> None:
    sections = {variable(name) for name in Settings.model_fields}
    for name in os.environ:
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX) or upper in _OTHER_VARIABLES:
            continue
        head = ENV_PREFIX + upper.removeprefix(ENV_PREFIX).partition(ENV_DELIMITER)[0]
        if head not in sections:
            raise ConfigError(
                f"environment variable {name}: there is no such setting{_hint(upper, _variables())}; unset it",
                code="config.setting",
            )


def _explain(problem: ErrorDetails) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    where = f"setting {path} ({toml_place(path)}, or {variable(path)})"
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no such setting{_hint(path, _paths())}; remove it"
    description = _paths().get(path)
    text = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {text}" + (f"; expected: {description}" if description else "")


def _paths() -> dict[str, str]:
    """Every setting's dotted path and its description."""
    found: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= {f"{name}.{key}": inner.description or "" for key, inner in kind.model_fields.items()}
        else:
            found[name] = field.description or ""
    return found


def _variables() -> list[str]:
    return [variable(path) for path in _paths()]


def _hint(wrong: str, known: Any) -> str:
    close = get_close_matches(wrong, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
