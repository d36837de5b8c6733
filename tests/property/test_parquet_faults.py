"""The Parquet sink is stopped at any write, with and without power loss: its files hold every value once in the end."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sinks.parquet import ParquetSink
from pipeline.core.errors import TransientError
from tests.property.effort import examples
from tests.support.disk_faults import FaultyDisk
from tests.support.fake_topic import FakeTopic
from tests.support.lake import Key, keys_in, new_sink
from tests.support.observed import TIME_MS, observed
from tests.support.sql_faults import CrashError
from tests.support.write_faults import Process, WriteFault

DAY_MS = 86_400_000
ATTEMPTS = 20
HEIGHTS = 4


def topic() -> FakeTopic:
    """Two partitions, two cities, two days; some packets come twice."""
    values = [
        observed(h, float(h), h + 0.5, time_ms=TIME_MS + h // 2 % 2 * DAY_MS, city=f"test:{h % 2}")
        for h in range(1, HEIGHTS + 1)
    ]
    return FakeTopic({0: [*values[:2], values[1]], 1: [*values[2:], values[3]]})


async def run(disk: FaultyDisk, folder: Path, source: FakeTopic, rows: int = 4) -> bool:
    """Run a sink to the end of its topic, a commit for ``rows`` values; say whether it got there before it died."""
    sink, reader = new_sink(source, folder, rows, step=1)
    with disk.installed():
        try:
            for _ in range(ATTEMPTS):
                try:
                    await sink.step()
                    if reader.is_done:
                        return await ended(sink)
                except TransientError:
                    continue
        except CrashError:
            return False
    raise AssertionError("it does not come to an end")


async def ended(sink: ParquetSink) -> bool:
    """Close a sink, as the last thing its process does; say whether that went well."""
    try:
        await sink.close()
    except TransientError:
        return False
    return True


async def writes_of_an_undisturbed_run() -> tuple[int, list[Key]]:
    with tempfile.TemporaryDirectory() as name:
        disk = FaultyDisk()
        assert await run(disk, Path(name) / "lake", topic())
        return disk.process.writes, keys_in(Path(name) / "lake")


def visible(folder: Path) -> list[Key]:
    return keys_in(folder) if list(folder.rglob("*.parquet")) else []


@pytest.mark.parametrize("fault", WriteFault)
async def test_at_every_write_with_every_fault(tmp_path: Path, fault: WriteFault) -> None:
    """One fault; then the sink runs again undisturbed. What readers see in between is never doubled."""
    writes, whole = await writes_of_an_undisturbed_run()
    assert len(whole) == 2 * HEIGHTS
    for number in range(1, writes + 1):
        folder, disk, source = tmp_path / str(number), FaultyDisk(), topic()
        disk.process.light(number, fault)
        if not await run(disk, folder, source):
            between = visible(folder)
            assert len(set(between)) == len(between), number
            disk.process = Process()
            assert await run(disk, folder, source)
        assert keys_in(folder) == whole, f"write {number}"


async def test_power_is_cut_after_every_write_and_at_the_end(tmp_path: Path) -> None:
    """Nothing survives that was not made durable; the position never speaks of what is gone."""
    writes, whole = await writes_of_an_undisturbed_run()
    for number in range(1, writes + 2):
        folder, disk, source = tmp_path / str(number), FaultyDisk(), topic()
        disk.process.light(number, WriteFault.CRASH_AFTER)
        assert await run(disk, folder, source) is (number > writes)
        disk.lose_power([False])
        disk.process = Process()
        # In other portions, so that files of the same names can't hide what was done twice.
        assert await run(disk, folder, source, rows=1000)
        assert keys_in(folder) == whole, f"write {number}"


@settings(max_examples=examples(40))
@given(
    at=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    fault=st.sampled_from([WriteFault.CRASH_BEFORE, WriteFault.CRASH_AFTER]),
    survives=st.lists(st.booleans(), min_size=1, max_size=6),
    loses_power=st.lists(st.booleans(), min_size=3, max_size=3),
)
async def test_crashes_and_power_losses_in_a_row(
    at: Sequence[int], fault: WriteFault, survives: Sequence[bool], loses_power: Sequence[bool]
) -> None:
    """What was not durable may be there after a power loss, or not; readers never lose what they saw committed."""
    with tempfile.TemporaryDirectory() as name:
        folder, disk, source = Path(name) / "lake", FaultyDisk(), topic()
        for number, loses in zip(at, loses_power, strict=False):
            disk.process = Process()
            disk.process.light(number, fault)
            await run(disk, folder, source)
            if loses:
                disk.lose_power(survives)
            between = visible(folder)
            assert len(set(between)) == len(between)
        disk.process = Process()
        assert await run(disk, folder, source)
        assert len(keys_in(folder)) == 2 * HEIGHTS
        assert len(set(keys_in(folder))) == 2 * HEIGHTS
