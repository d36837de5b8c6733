"""The Parquet sink: each value once, in the file of its city and day, whatever is repeated, cut or broken."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from connectors.sinks.parquet_folder import FolderPosition, ParquetFolder
from connectors.sinks.parquet_rows import SCHEMA, Columns, PartKey, read_message
from pipeline.core import avro
from pipeline.core.errors import ConfigError, IntegrityError, TransientError
from pipeline.core.storage import OBSERVATIONS, observations_value
from schemas import schema
from tests.support.fake_topic import FakeTopic
from tests.support.lake import keys_in, new_sink, rows_in, take_over
from tests.support.observed import CITY, TIME_MS, observation, observed, packet

DAY_MS = 86_400_000


def values(count: int, first: int = 1) -> list[bytes]:
    """Packets of two values each, at heights from ``first`` on."""
    return [observed(height, float(height), height + 0.5) for height in range(first, first + count)]


def expected(count: int, first: int = 1) -> list[float]:
    return [value for height in range(first, first + count) for value in (float(height), height + 0.5)]


def numbers(folder: Path) -> list[float]:
    return sorted(key[3] for key in keys_in(folder))


async def test_every_value_is_in_a_file_of_its_city_and_day(tmp_path: Path) -> None:
    topic = FakeTopic(
        {
            0: [observed(1, 1.0), observed(2, 2.0, time_ms=TIME_MS + DAY_MS)],
            1: [observed(3, 3.0, city="no.5001"), observed(4, 4.0)],
        }
    )
    await take_over(topic, tmp_path)
    found = {str(file.parent.relative_to(tmp_path)) for file in tmp_path.rglob("*.parquet")}
    assert found == {
        "city=unlocode%3AUSMES/day=2015-08-31",
        "city=unlocode%3AUSMES/day=2015-09-01",
        "city=no.5001/day=2015-08-31",
    }
    assert {(row["city"], row["value"]) for row in rows_in(tmp_path)} == {
        (CITY, 1.0),
        (CITY, 2.0),
        ("no.5001", 3.0),
        (CITY, 4.0),
    }


async def test_a_row_has_every_field_of_its_value_and_packet(tmp_path: Path) -> None:
    two = [observation(1.0, exact="1.00"), observation(2.0, data_point="x"), observation(3.0, record=1)]
    await take_over(FakeTopic({0: [observations_value(packet(7), two)]}), tmp_path)
    rows = rows_in(tmp_path)
    assert [(row["record"], row["number"], row["value"]) for row in rows] == [
        (0, 0, 1.0),
        (0, 1, 2.0),
        (1, 0, 3.0),
    ]
    assert set(rows[0]) == {*SCHEMA.names, "city", "day"}
    shared = packet(7)
    for name in ("tracing_code", "chain_id", "height", "country", "site_id", "module_id", "sequence"):
        assert rows[0][name] == shared[name]
    for name in ("indicator", "exact", "unit", "quality", "sensor", "source"):
        assert rows[0][name] == two[0][name]
    assert rows[0]["time"].isoformat() == "2015-08-31T23:22:00+00:00"
    assert rows[0]["admitted"].timestamp() * 1000 == shared["admitted"]


async def test_a_restart_goes_on_where_the_files_end(tmp_path: Path) -> None:
    topic = FakeTopic({0: values(3), 1: values(3, 10)})
    await take_over(topic, tmp_path)
    topic.append(0, *values(2, 4))
    await take_over(topic, tmp_path)
    assert numbers(tmp_path) == expected(5) + expected(3, 10)


async def test_what_was_not_committed_is_taken_over_after_a_crash(tmp_path: Path) -> None:
    topic = FakeTopic({0: values(3)})
    sink, _ = new_sink(topic, tmp_path, rows=1000)
    await sink.open()
    await sink.step()
    assert not list(tmp_path.rglob("*.parquet"))
    await take_over(topic, tmp_path)
    assert numbers(tmp_path) == expected(3)


async def test_files_are_written_when_there_are_enough_values(tmp_path: Path) -> None:
    sink, _ = new_sink(FakeTopic({0: values(2)}), tmp_path, rows=4)
    await sink.open()
    await sink.step()
    assert numbers(tmp_path) == expected(2)


async def test_packets_that_are_sent_again_are_not_doubled(tmp_path: Path) -> None:
    topic = FakeTopic({0: [*values(4), *values(3, 2), *values(2, 5)]})
    await take_over(topic, tmp_path)
    assert numbers(tmp_path) == expected(6)


async def test_packets_are_dropped_that_were_committed_since_the_files_were_looked_at(tmp_path: Path) -> None:
    topic = FakeTopic({0: [*values(2), *values(1), *values(2, 3), *values(1, 3), *values(1, 5)]})
    sink, reader = new_sink(topic, tmp_path, rows=2, step=1)
    await sink.open()
    while not reader.is_done:
        await sink.step()
    await sink.close()
    assert numbers(tmp_path) == expected(5)


async def test_all_of_a_topic_sent_again_changes_no_file(tmp_path: Path) -> None:
    topic = FakeTopic({0: values(5), 1: values(5, 10)})
    await take_over(topic, tmp_path)
    files = {file: file.read_bytes() for file in tmp_path.rglob("*.parquet")}
    topic.append(0, *values(5))
    topic.append(1, *values(5, 10))
    await take_over(topic, tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.parquet")} == files


async def test_what_a_repetition_has_more_is_taken_over(tmp_path: Path) -> None:
    """A packet whose key was found later comes first when a rebuilt store publishes all again."""
    topic = FakeTopic({0: [*values(1), *values(2, 3), *values(4)]})
    await take_over(topic, tmp_path)
    assert numbers(tmp_path) == expected(4)


async def test_another_partition_for_a_site_doubles_nothing(tmp_path: Path) -> None:
    topic = FakeTopic({0: values(4)})
    await take_over(topic, tmp_path)
    topic.append(1, *values(2, 3), *values(1, 5))
    await take_over(topic, tmp_path)
    assert numbers(tmp_path) == expected(5)


async def test_a_topic_that_was_replaced_is_read_from_its_beginning(tmp_path: Path) -> None:
    await take_over(FakeTopic({0: values(4)}), tmp_path)
    shorter, as_long = FakeTopic({0: values(2, 4)}), FakeTopic({0: values(7, 6)})
    await take_over(shorter, tmp_path)
    assert numbers(tmp_path) == expected(5)
    await take_over(as_long, tmp_path)
    assert numbers(tmp_path) == expected(12)


async def test_what_retention_took_is_passed_over_and_counted(tmp_path: Path) -> None:
    topic = FakeTopic({0: values(2)})
    await take_over(topic, tmp_path)
    topic.append(0, *values(4, 3))
    topic.expire(0, 4)
    await take_over(topic, tmp_path)
    assert numbers(tmp_path) == expected(2) + expected(2, 5)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\0\0\0\0\x0c",
        avro.frame(schema("Packet"), b"x"),
        observations_value(packet(1) | {"tracing_code": "AMQ8WJQ7-3-0-X"}, [observation(1.0)]),
        observations_value(packet(1, city=""), [observation(1.0)]),
        observations_value(packet(1, admitted=-1), [observation(1.0)]),
        observations_value(packet(1), [observation(1.0, time=1 << 60)]),
        observations_value(packet(1), [observation(1.0, quality=1 << 40)]),
        observations_value(packet(1), [observation(1.0, record=-1)]),
    ],
)
async def test_what_is_no_observation_is_passed_over(tmp_path: Path, value: bytes | None) -> None:
    await take_over(FakeTopic({0: [*values(1), value, *values(1, 2)]}), tmp_path)
    assert numbers(tmp_path) == expected(2)


def test_a_city_can_not_lead_out_of_the_folder() -> None:
    message = read_message(observed(1, 1.0, city="../../etc"))
    assert message is not None
    assert [key.folder for key in message.rows] == ["city=..%2F..%2Fetc/day=2015-08-31"]


async def test_an_empty_packet_gives_no_file(tmp_path: Path) -> None:
    empty = avro.frame(OBSERVATIONS, avro.encode(OBSERVATIONS, packet(1) | {"observations": []}))
    await take_over(FakeTopic({0: [empty, empty]}), tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


async def test_kafka_may_be_away_in_between(tmp_path: Path) -> None:
    topic = FakeTopic({0: values(6)})
    sink, reader = new_sink(topic, tmp_path)
    await sink.open()
    await sink.step()
    topic.is_away = True
    for _ in range(2):
        with pytest.raises(TransientError):
            await sink.step()
        assert not sink.is_ready
    topic.is_away = False
    while not reader.is_done:
        await sink.step()
    await sink.close()
    assert numbers(tmp_path) == expected(6)


async def test_a_commit_that_took_effect_though_it_failed_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives in between would else shift the numbers of the files, and leave the first ones beside them."""
    topic = FakeTopic({0: values(2)})
    sink, reader = new_sink(topic, tmp_path)
    real, failures = ParquetFolder.commit, [TransientError("the disk refuses", code="disk")]

    def commit(folder: ParquetFolder, position: FolderPosition, parts: Mapping[PartKey, Columns]) -> int:
        size = real(folder, position, parts)
        if failures:
            raise failures.pop()
        return size

    monkeypatch.setattr(ParquetFolder, "commit", commit)
    await sink.open()
    with pytest.raises(TransientError):
        await sink.step()
    topic.append(0, observed(3, 3.0, city="a"))
    while not reader.is_done:
        await sink.step()
    await sink.close()
    assert numbers(tmp_path) == [*expected(2), 3.0]


async def test_a_folder_of_another_topic_is_refused(tmp_path: Path) -> None:
    await take_over(FakeTopic({0: values(1)}), tmp_path)
    with pytest.raises(ConfigError, match=r"name another parquet\.folder"):
        await take_over(FakeTopic({0: values(1)}, name="x.kpi.observations.v1"), tmp_path)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"format": "bkdms-parquet/v2"}', b"\xff"])
async def test_a_damaged_position_halts(tmp_path: Path, text: bytes) -> None:
    await take_over(FakeTopic({0: values(1)}), tmp_path)
    (tmp_path / "_bkdms" / "position.json").write_bytes(text)
    with pytest.raises(IntegrityError) as halted:
        await take_over(FakeTopic({0: values(1)}), tmp_path)
    assert halted.value.code == "parquet_position"


async def test_files_are_private_and_in_the_order_of_time(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    topic = FakeTopic({0: [observed(1, 1.0, time_ms=TIME_MS + 9), observed(2, 2.0)]})
    await take_over(topic, folder)
    (file,) = folder.rglob("*.parquet")
    assert file.stat().st_mode & 0o777 == 0o600
    assert all(path.stat().st_mode & 0o777 == 0o700 for path in [folder, *folder.rglob("*")] if path.is_dir())
    assert pq.read_table(file, partitioning=None).column("value").to_pylist() == [2.0, 1.0]
