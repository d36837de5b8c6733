"""Settings files of the local programs: one a program, with the addresses and certificates it may use."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from ops.files import write_private

Table = Mapping[str, Any]


def write_settings(path: Path, settings: Table) -> Path:
    """Write settings as a private TOML file; keys whose value is None are left out."""
    write_private(path, settings_bytes(settings))
    return path


def settings_bytes(settings: Table) -> bytes:
    """Return settings as TOML; keys whose value is None are left out."""
    return tomli_w.dumps(_plain(settings)).encode()


def _plain(value: Any) -> Any:
    """Return paths as text and leave out what is not set."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
