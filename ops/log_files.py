"""Keeps the log files of programs that write to one open file for ever from filling the disk."""

import os
from itertools import pairwise
from pathlib import Path

from ops.files import PRIVATE_FILE_MODE

LOG_LIMIT_BYTES = 16 * 1024 * 1024
OLD_LOGS = 2
_COPY_BYTES = 1024 * 1024


def rotate(log: Path, limit_bytes: int = LOG_LIMIT_BYTES, old_logs: int = OLD_LOGS) -> bool:
    """Move what a log holds to ``<name>.1``, older ones to ``.2`` and so on, once it is too long; tell whether it was.

    The writer keeps its handle, which must append. What it writes in the moment between the last look at the file
    and its cutting is lost, which is a line at most.
    """
    try:
        if log.stat().st_size <= limit_bytes:
            return False
        names = [log, *(log.with_name(f"{log.name}.{number}") for number in range(1, old_logs + 1))]
        for newer, older in reversed(list(pairwise(names[1:]))):
            if newer.exists():
                newer.replace(older)
        _cut(log, names[1])
    except OSError:
        # A full disk or a file that is gone: the next look tries again, and the program runs on.
        return False
    return True


def _cut(log: Path, copy: Path) -> None:
    target = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE_MODE)
    with os.fdopen(target, "wb") as out, log.open("r+b") as held:
        while part := held.read(_COPY_BYTES):
            out.write(part)
        held.truncate(0)
