"""Looks at every part of a stand: what its process uses, how far behind it is, what the servers hold."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import redis

from ops.local_servers import KAFKA, REDIS
from pipeline.apps.chaos.series import Sample
from pipeline.apps.chaos.stand import Stand
from pipeline.apps.local.status import read_status

STACK: Final = "stack"
_MIB: Final = 1 << 20


def look(stand: Stand, began: float) -> list[Sample]:
    """Return a sample of each part that runs, and one of the stack; ``began`` is when (monotonic) the load began."""
    at_s = round(time.monotonic() - began, 1)
    told = {part.name: part for part in read_status(stand.deployment.data_dir).parts}
    found = []
    for child in stand.children():
        used = _process(child.pid)
        if used is None:
            continue
        age_s, values = used
        part = told.get(child.name)
        if part is not None and part.lag is not None:
            values["lag"] = part.lag
        if part is not None and "published" in part.heights:
            values["height"] = part.heights["published"]
        values |= dict(_server(stand, child.name))
        found.append(Sample(at_s, child.name, age_s, values))
    return [*found, Sample(at_s, STACK, at_s, dict(_stack(stand)))]


def _process(pid: int | None) -> tuple[float, dict[str, float]] | None:
    """Return age and use of a process; None for one that is away."""
    try:
        process = psutil.Process(pid) if pid is not None else None
        if process is None:
            return None
        with process.oneshot():
            age_s = round(time.time() - process.create_time(), 1)
            memory = round(process.memory_info().rss / _MIB, 1)
            return age_s, {
                "memory_mib": memory,
                "descriptors": process.num_fds(),
                "threads": process.num_threads(),
            }
    except psutil.Error:
        return None


def _server(stand: Stand, name: str) -> Iterator[tuple[str, float]]:
    if name == REDIS:
        try:
            with stand.redis() as client:
                yield "used_mib", round(client.info("memory")["used_memory"] / _MIB, 3)
                yield "keys", client.dbsize()
        except redis.RedisError:
            return
    elif name == KAFKA:
        yield "disk_mib", _size_mib(stand.deployment.data_dir / KAFKA)


def _stack(stand: Stand) -> Iterator[tuple[str, float]]:
    yield "told_values", stand.load.told
    yield "store_mib", _size_mib(stand.deployment.store_file.parent)
    try:
        yield "stored_values", stand.stored()
        yield "spool_records", stand.unverified()
    except sqlite3.Error:
        return


def _size_mib(folder: Path) -> float:
    size = 0
    for file in folder.rglob("*"):
        try:
            size += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return round(size / _MIB, 2)
