"""The contract between a site agent and whatever it collects from."""

from typing import Protocol

from connectors.records import Batch

START = ""


class Source(Protocol):
    """Somewhere indicators are read from, forwards only, restartable exactly.

    The caller keeps the position: it stores ``next_position`` in the same transaction as the batch's records, so a
    crash between two reads neither loses nor doubles a row. A position is opaque text made by the same source.
    """

    def check(self) -> None:
        """Find out at start whether reading can work at all.

        Raises:
            ConfigError: something must be changed first; the message says what.
        """

    def read(self, position: str, limit: int, *, final: bool = False) -> Batch:
        """Read at most ``limit`` rows after ``position`` (``START`` at first).

        With ``final``, or a mapping that says ``finished``, a last row without line end is read as whole.

        Raises:
            ConfigError: the data no longer fit the position or the mapping.
            TransientError: the data can't be reached right now.
        """
