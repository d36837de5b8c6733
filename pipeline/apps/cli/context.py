"""What every command shares: settings on demand, talk on standard error, data on standard output."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

    from pipeline.config import Settings


@dataclass
class CliContext:
    """The object of the Typer context; reads the settings when a command first wants them."""

    config: Path | None

    @cached_property
    def settings(self) -> Settings:
        """The settings of this run."""
        from pipeline.config import load_settings  # noqa: PLC0415  keeps --help fast

        return load_settings(self.config)


def settings_of(ctx: typer.Context) -> Settings:
    """Return the settings that the global options and the environment select.

    Raises:
        ConfigError: the settings are wrong; the message names the setting in both spellings.
    """
    shared = ctx.find_object(CliContext)
    return (shared or CliContext(None)).settings


def say(text: str) -> None:
    """Tell the user something; standard output stays for data."""
    print(text, file=sys.stderr, flush=True)


def emit_json(value: Any) -> None:
    """Write one JSON value as data."""
    print(json.dumps(value, indent=2, sort_keys=True), flush=True)
