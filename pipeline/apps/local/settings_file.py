"""Settings files of the local programs: one a program, with the addresses and certificates it may use."""

import json
from collections.abc import Mapping
from pathlib import Path

from ops.files import write_private

Value = str | int | Path


def write_settings(path: Path, settings: Mapping[str, Value | Mapping[str, Value | None]]) -> Path:
    """Write settings as TOML: first the top-level keys, then the tables; None leaves a key out."""
    top = [f"{key} = {_text(value)}" for key, value in settings.items() if not isinstance(value, Mapping)]
    for name, table in settings.items():
        if isinstance(table, Mapping):
            top += ["", f"[{name}]"]
            top += [f"{key} = {_text(value)}" for key, value in table.items() if value is not None]
    write_private(path, ("\n".join(top) + "\n").encode())
    return path


def _text(value: Value) -> str:
    # A TOML basic string escapes what a JSON string escapes.
    return str(value) if isinstance(value, int) else json.dumps(str(value))
