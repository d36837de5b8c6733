"""``bkdms tail``: rows of every topic, where it starts, what it shows, what it refuses."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.apps.cli.row_output import json_line, pretty_line
from pipeline.apps.tailing import TailPlan, tail_rows
from pipeline.core import avro
from pipeline.core.admission import TICK_VALUE
from pipeline.core.errors import ConfigError
from pipeline.core.storage import OBSERVATIONS, observations_value
from pipeline.core.topic_rows import Row, field_names, rows_of, topic_schemas
from pipeline.core.topics import Topics
from pipeline.core.where import parse_condition
from pipeline.ports import Received
from schemas import schema
from tests.support import command_line
from tests.support.chain import Chain, framed
from tests.support.clean_env import clean_env
from tests.support.world import World, control_value, packet_value

__all__ = ["clean_env"]
TOPICS = Topics()
SCHEMAS = topic_schemas(TOPICS)
PACKET = {
    "chain_id": "https://bkdms.local/city1",
    "tracing_code": "AMQ8WJQ7-3-0-T",
    "height": 3,
    "admitted": 1_700_000_000_000,
    "country": "US",
    "city": "unlocode:USMES",
    "site_id": "fd00::1",
    "module_id": "m",
    "sequence": 4,
}


def observation(value: float, **changes: Any) -> dict[str, Any]:
    return {
        "record": 0,
        "time": 1_441_063_320_000,
        "indicator": "LOCAL:TRAFFIC_SPEED",
        "data_point": "",
        "value": value,
        "exact": f"{value:g}",
        "unit": "HM",
        "sensor": "s",
        "quality": 4,
        "source": "t",
    } | changes


def message(*values: float) -> bytes:
    return observations_value(PACKET, [observation(value) for value in values])


class FakeReader:
    """A topic in memory, one list of values a partition; times rise by one from 1000 over all partitions."""

    def __init__(self, partitions: Mapping[int, Sequence[bytes]], first: int = 0) -> None:
        width = len(partitions)
        self.logs = {
            number: [
                Received("t", number, first + at, 1000 + at * width + number, b"key", value)
                for at, value in enumerate(values)
            ]
            for number, values in partitions.items()
        }
        self.first = first
        self._positions: dict[int, int] = {}
        self.fetched = 0

    async def bounds(self) -> dict[int, tuple[int, int]]:
        return {number: (self.first, self.first + len(log)) for number, log in self.logs.items()}

    async def offsets_at(self, time_ms: int, partitions: Mapping[int, object]) -> dict[int, int]:
        found = {
            number: [r.offset for r in self.logs[number] if r.time_ms >= time_ms] for number in partitions
        }
        return {number: offsets[0] for number, offsets in found.items() if offsets}

    async def seek(self, positions: Mapping[int, int]) -> None:
        self._positions = dict(positions)

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        found = [r for number, log in self.logs.items() for r in log if r.offset >= self._positions[number]]
        self._positions = {number: self.first + len(log) for number, log in self.logs.items()}
        self.fetched += len(found)
        return found

    def positions(self) -> dict[int, int]:
        return dict(self._positions)


async def shown(reader: FakeReader, plan: TailPlan) -> list[float]:
    schemas = SCHEMAS[TOPICS.observations]
    return [row["value"] async for row in tail_rows(reader, schemas, plan)]


def two_partitions() -> FakeReader:
    """Values 0 … 19 in the order of broker times, alternating between two partitions, offsets from 100 on."""
    return FakeReader({p: [message(float(2 * at + p)) for at in range(10)] for p in (0, 1)}, first=100)


async def test_without_a_start_the_last_ten_rows_come_in_the_order_of_broker_times() -> None:
    assert await shown(two_partitions(), TailPlan()) == [float(v) for v in range(10, 20)]


async def test_so_many_of_the_last_rows_are_read_as_are_shown() -> None:
    reader = two_partitions()
    assert await shown(reader, TailPlan(rows=3)) == [17.0, 18.0, 19.0]
    assert reader.fetched == 6


async def test_a_condition_looks_for_the_last_rows_in_the_whole_topic() -> None:
    condition = parse_condition("value < 3 or value == 19")
    assert await shown(two_partitions(), TailPlan(rows=3, condition=condition)) == [1.0, 2.0, 19.0]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("beginning", set(range(20))),
        ("end", set()),
        ("108", {16, 17, 18, 19}),
        ("0", set(range(20))),
        ("999", set()),
        ("1970-01-01T00:00:01.017", {17, 18, 19}),
        ("1970-01-01T00:00:01.017+00:00", {17, 18, 19}),
        ("2030-01-01", set()),
    ],
)
async def test_a_start_is_a_word_an_offset_or_a_time(start: str, expected: set[int]) -> None:
    assert set(await shown(two_partitions(), TailPlan(start))) == {float(v) for v in expected}


async def test_with_a_start_the_number_of_rows_counts_from_there() -> None:
    assert len(await shown(two_partitions(), TailPlan("beginning", rows=4))) == 4
    assert await shown(two_partitions(), TailPlan("beginning", rows=0)) == []


async def test_another_start_is_refused() -> None:
    with pytest.raises(ConfigError, match="an offset, or a time"):
        await shown(two_partitions(), TailPlan("yesterday"))


async def test_what_arrives_while_it_reads_is_left_out_unless_followed() -> None:
    reader = two_partitions()
    bounds = await reader.bounds()
    reader.logs[0].append(Received("t", 0, 110, 2000, None, message(77.0)))

    async def before() -> dict[int, tuple[int, int]]:
        return bounds

    reader.bounds = before  # type: ignore[method-assign]
    assert 77.0 not in await shown(reader, TailPlan("beginning"))


async def test_following_goes_on_with_what_comes_after_the_end() -> None:
    reader = two_partitions()
    rows = tail_rows(reader, SCHEMAS[TOPICS.observations], TailPlan(rows=1, follow=True))
    assert (await anext(rows))["value"] == 19.0
    reader.logs[0].append(Received("t", 0, 110, 2000, None, message(77.0)))
    reader._positions[0] = 110
    assert (await anext(rows))["value"] == 77.0


def rows(topic: str, value: bytes | None) -> list[Row]:
    return rows_of(SCHEMAS[topic], value)


def test_each_observation_is_a_row_with_the_fields_of_its_packet() -> None:
    first, second = rows(TOPICS.observations, message(1.5, 2.5))
    assert (first["value"], second["value"]) == (1.5, 2.5)
    assert first["city"] == second["city"] == "unlocode:USMES"
    assert "observations" not in first


def test_every_topic_is_decoded_by_its_own_schemas() -> None:
    chain = Chain(World())
    site = chain.world.site(1)
    chain.enrol(site)
    packet, control = site.packet([1]), chain.world.enrolment(chain.world.site(2))[0]
    assert [row["schema"] for row in rows(TOPICS.packets, packet_value(packet))] == ["Packet"]
    assert rows(TOPICS.chain, control_value(control))[0]["schema"] == "Control"
    assert rows(TOPICS.chain, TICK_VALUE) == [{"schema": "Tick"}]
    (block,) = rows(TOPICS.blocks, framed(chain.certified[0]))
    assert block["block"]["header"]["height"] == 1
    assert rows(TOPICS.packets, packet_value(packet))[0]["site_id"] == str(site.name).rpartition("/")[2]


def test_packets_show_no_plain_value() -> None:
    site = World().site(1)
    found = rows(TOPICS.packets, packet_value(site.packet([12345])))
    assert "123.45" not in json.dumps(found)
    assert "TRAFFIC" not in bytes.fromhex(found[0]["encrypted_kpi_data"]).decode("latin-1")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "no value"),
        (b"", "no schema id"),
        (b"text", "no schema id"),
        (avro.frame(schema("Packet"), b"x"), "schema id 1 is not of this topic"),
        (avro.frame(OBSERVATIONS, b"x"), "not the encoding of any Observations"),
        (message(1.0) + b"\0", "not the encoding of any Observations"),
    ],
)
def test_what_does_not_decode_is_shown_with_its_bytes_and_why(value: bytes | None, problem: str) -> None:
    (row,) = rows(TOPICS.observations, value)
    assert row["schema"] is None
    assert problem in row["problem"]
    assert row.get("value") == (None if value is None else value.hex())


def lines(value: bytes, topic: str) -> tuple[str, str]:
    place = {"topic": topic, "partition": 2, "offset": 41, "time": 1_700_000_000_123, "key": None}
    row = {"kafka": place, **rows(topic, value)[0]}
    return pretty_line(row), json_line(row)


def test_a_pretty_line_has_time_place_and_the_telling_fields() -> None:
    pretty, _ = lines(message(1.5), TOPICS.observations)
    assert pretty.startswith(
        "2023-11-14T22:13:20.123Z 2:41 Observations time=2015-08-31T23:22:00.000Z country=US"
    )
    assert "indicator=LOCAL:TRAFFIC_SPEED exact=1.5 unit=HM" in pretty


def test_json_has_every_field() -> None:
    _, line = lines(message(1.5), TOPICS.observations)
    found = json.loads(line)
    assert found["kafka"] == {
        "topic": TOPICS.observations,
        "partition": 2,
        "offset": 41,
        "time": 1_700_000_000_123,
        "key": None,
    }
    assert {**PACKET, **observation(1.5)}.items() <= found.items()
    assert "\n" not in line


def test_a_line_can_not_disturb_a_terminal() -> None:
    value = observations_value(PACKET, [observation(1.0, sensor="\x1b[2J\nx")])
    pretty, line = lines(value, TOPICS.observations)
    assert pretty.isprintable()
    assert line.isascii()
    assert line.isprintable()


def test_long_bytes_are_shortened_in_pretty_lines_only() -> None:
    site = World().site(1)
    pretty, line = lines(packet_value(site.packet([1])), TOPICS.packets)
    assert len(pretty) < 500
    assert len(json.loads(line)["encrypted_kpi_data"]) > 500


@pytest.mark.parametrize("topic", TOPICS.all())
def test_a_condition_knows_the_fields_of_every_topic(topic: str) -> None:
    assert field_names(SCHEMAS[topic])


@pytest.mark.parametrize("name", ["kpi.observations.v1", "observations", "x.kpi.observations.v1"])
def test_a_topic_has_three_names(name: str) -> None:
    assert Topics("x.").named(name) == "x.kpi.observations.v1"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    return command_line.refused(capsys, "tail", *arguments)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("kpi.nothing.v1",), "there is no topic 'kpi.nothing.v1'; choose from kpi.packets.v1,"),
        (("observations", "--where", "value >"), "--where: 'value >' can't be read"),
        (("observations", "--where", "valeu > 3"), "did you mean value?"),
        (("blocks", "--where", "height > 3"), "no field height"),
        (("observations",), "setting kafka.bootstrap is missing"),
    ],
)
def test_mistakes_are_named_in_one_line_before_kafka_is_asked(
    clean_env: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], part: str
) -> None:
    assert part in refused(capsys, *arguments)
