"""Primitives of the disk: bytes appended to a file and forced through to it; the processor's time alone."""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from pipeline.apps.bench.floor.floor import Cost
from pipeline.apps.bench.floor.timing import Primitive

_APPENDS: Final = 16


@contextmanager
def floor_file(folder: Path, values: dict[str, bytes]) -> Iterator[list[Primitive]]:
    """Give the appending of each named value to a file in ``folder``."""
    path = folder / "appended"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield [
            Primitive(f"append and fsync {name}", partial(_append, handle, value))
            for name, value in values.items()
        ]
    finally:
        os.close(handle)
        path.unlink()


def _append(handle: int, value: bytes) -> Cost:
    samples = []
    for _ in range(_APPENDS):
        begun = time.thread_time_ns()
        os.write(handle, value)
        os.fsync(handle)
        samples.append(time.thread_time_ns() - begun)
    return Cost(statistics.median(samples) / 1e3)
