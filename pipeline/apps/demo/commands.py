"""Runs our own commands as a user would: in a process of their own, reading what they print."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import TransientError

_TIMEOUT_S = 300
_SECOND_CHECKER = Path(__file__).parents[3] / "docs" / "check_proof.py"


@dataclass(frozen=True, slots=True)
class Answer:
    """Exit code, standard output and standard error of a command."""

    code: int
    text: str
    talk: str

    def json(self) -> dict[str, Any]:
        """Return the JSON object that the command printed.

        Raises:
            TransientError: it printed none; the message has what it said instead.
        """
        try:
            found: dict[str, Any] = json.loads(self.text)
        except ValueError:
            raise TransientError(f"a command printed no JSON: {self.talk.strip()[-500:]}") from None
        return found


def bkdms(settings: Path, *arguments: str) -> Answer:
    """Run ``bkdms`` with a settings file."""
    return command("--config", str(settings), *arguments)


def command(*arguments: str) -> Answer:
    """Run ``bkdms`` with the settings that it finds by itself."""
    return _run(["-m", "pipeline.apps.cli", *arguments])


def oracle(*arguments: str) -> Answer:
    """Run the oracle, which shares no code with what it judges."""
    return _run(["-m", "ops.oracle", *arguments])


def make_plan(*arguments: str) -> Answer:
    """Run the oracle's own reading of the bundled data."""
    return _run(["-m", "ops.oracle.make_plan", *arguments])


def second_checker(*arguments: str) -> Answer | None:
    """Run the second checker of proofs, which shares no code with us; None where there are no sources."""
    return _run([str(_SECOND_CHECKER), *arguments]) if _SECOND_CHECKER.is_file() else None


def _run(arguments: list[str]) -> Answer:
    done = subprocess.run(  # noqa: S603  our own programs
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)
