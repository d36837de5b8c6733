"""Runs a Parquet sink over a topic in memory, and reads its folder as others do."""

from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from connectors.sinks.parquet import FlushPolicy, ParquetSink
from connectors.sinks.parquet_folder import ParquetFolder
from tests.support.fake_topic import FakeTopic, FakeTopicReader

NEVER_MS = 3_600_000
Key = tuple[str, int, int, float]


def new_sink(
    topic: FakeTopic, folder: Path, rows: int = 4, step: int = 3
) -> tuple[ParquetSink, FakeTopicReader]:
    """A sink that was not opened yet, and its reader, which gives ``step`` records of a partition at a time."""
    reader = FakeTopicReader(topic, step)
    return ParquetSink(reader, ParquetFolder(folder, topic.name), FlushPolicy(rows, NEVER_MS)), reader


async def take_over(topic: FakeTopic, folder: Path, rows: int = 4) -> None:
    """Run a sink to the end of the topic and stop it in peace."""
    sink, reader = new_sink(topic, folder, rows)
    await sink.open()
    while not reader.is_done:
        await sink.step()
    await sink.close()


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """Every row that a reader of Hive-style data sets sees, ordered by its key."""
    table = ds.dataset(folder, format="parquet", partitioning="hive").to_table()
    return sorted(table.to_pylist(), key=lambda row: (row["tracing_code"], row["record"], row["number"]))


def keys_in(folder: Path) -> list[Key]:
    """Key and value of every row."""
    return [(row["tracing_code"], row["record"], row["number"], row["value"]) for row in rows_in(folder)]
