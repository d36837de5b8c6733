"""The platform worker stores each committed packet once, checks what is in it, and publishes what is good."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from sqlalchemy import Engine

from pipeline.adapters.sql.engine import open_sqlite
from pipeline.adapters.sql.platform_tables import PLATFORM, platform_position
from pipeline.adapters.sql.state_rows import STATE
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.core import avro
from pipeline.core.control import Enrol, Revoke, possession_message
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.merkle import leaf_hash, root_of
from pipeline.core.names import SiteName, parse_site_id, site_id_text
from pipeline.core.packet import Packet, leaf_salt, parse_packet, record_context, record_leaf
from pipeline.core.record import Extending, KpiValue, QualityCode, UnifiedRecord, encode_record
from pipeline.core.sealing import SealingKey
from pipeline.core.storage import OBSERVATIONS, StoredBlock
from pipeline.services.platform import PlatformParts, PlatformWorker
from schemas import schema
from tests.support.chain import Chain, MemoryProducer, MemoryReader, MemoryTopic
from tests.support.sql_faults import CrashError, all_rows, crash_at
from tests.support.world import NOW_MS, TestSite, World, control_value, packet_value, site_name


class FixedClock:
    """Always the same time."""

    def now_ms(self) -> int:
        return NOW_MS + 5000


class Case:
    """Two sites, three blocks of packets, and a worker on a SQLite file, or on the database of ``engine``."""

    def __init__(self, folder: Path, engine: Engine | None = None) -> None:
        self.chain = Chain()
        self.sites: list[TestSite] = [self.chain.world.site(i) for i in (1, 2)]
        self.keys: dict[bytes, SealingKey] = {
            site.platform_key.public.fingerprint: site.platform_key for site in self.sites
        }
        self.chain.enrol(*self.sites)
        for value in range(3):
            self.chain.packets(*(site.packet([value, -value, 7]) for site in self.sites))
        self.topic = MemoryTopic()
        self.producer = MemoryProducer()
        self.path = folder / "store.sqlite"
        self.engine = engine or open_sqlite(self.path, durable=False)

    def worker(self) -> PlatformWorker:
        """A worker as after a restart."""
        genesis = self.chain.world.genesis
        store = SqlPlatformStore(self.engine, genesis)
        reader = MemoryReader(self.topic)
        return PlatformWorker(
            PlatformParts(
                genesis, reader, store, self.producer, "kpi.observations.v1", self.keys.get, FixedClock()
            )
        )

    def publish(self) -> None:
        self.topic.publish(self.chain.certified)

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        return all_rows(self.engine, PLATFORM) | all_rows(self.engine, STATE)

    def table(self, name: str) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(PLATFORM.tables[name].select()).mappings()]

    def messages(self) -> list[dict[str, Any]]:
        found = [avro.unframe(OBSERVATIONS, item.value or b"") for item in self.producer.sent]
        assert all(found)
        return [message for message in found if message]


async def drain(worker: PlatformWorker) -> None:
    while await worker.step(0):
        pass


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


async def test_every_packet_becomes_one_table_10_3_row_that_points_at_its_bytes(case: Case) -> None:
    case.publish()
    await drain(case.worker())
    rows = sorted(case.table("kpi_records"), key=lambda row: (row["height"], row["entry"]))
    chain_bytes = b"".join(derived.block.encoded for derived in case.chain.blocks)
    assert len(rows) == 6
    for row in rows:
        block = chain_bytes[row["block_offset"] :][: row["block_length"]]
        assert block == case.chain.blocks[row["height"] - 1].block.encoded
        assert block[row["data_offset"] :][: row["data_length"]] == row["city_data"]
        entry = case.chain.blocks[row["height"] - 1].block.entries[row["entry"]]
        assert row["check_code"] == leaf_hash(entry.leaf)
        assert row["status"] == "ok"


async def test_every_value_becomes_one_observation_row_and_one_published_value(case: Case) -> None:
    case.publish()
    worker = case.worker()
    await drain(worker)
    expected = Counter((site_id_text(site.name.site_id), f"{text}") for site in case.sites for text in TEXTS)
    stored = Counter((row["site_id"], row["exact"]) for row in case.table("observations"))
    sent = Counter(
        (message["site_id"], item["exact"]) for message in case.messages() for item in message["observations"]
    )
    assert stored == sent == expected
    assert worker.caught_up


async def test_who_waits_for_the_next_block_has_caught_up(case: Case) -> None:
    case.publish()
    worker = case.worker()
    await drain(worker)
    waiting = asyncio.create_task(worker.step(60_000))
    await asyncio.sleep(0)
    assert (waiting.done(), worker.caught_up) == (False, True)
    await waiting


TEXTS = ["0.00", "0.00", "0.07", "0.01", "-0.01", "0.07", "0.02", "-0.02", "0.07"]


async def test_rows_and_seed_give_the_digest_that_the_site_signed(case: Case) -> None:
    """Only the schema text, fastavro and hashes are needed, as an outsider would have them."""
    case.publish()
    await drain(case.worker())
    for packet_row in case.table("kpi_records"):
        code = packet_row["tracing_code"]
        values = [row for row in case.table("observations") if row["tracing_code"] == code]
        (seed,) = (row["seed"] for row in case.table("openings") if row["tracing_code"] == code)
        packet = parse_packet(packet_row["city_data"])
        assert isinstance(packet, Packet)
        context = record_context(
            packet.chain, packet.site.site_id, packet.site_key, packet.sequence, packet.record_count
        )
        leaves = [
            record_leaf(context, i, leaf_salt(seed, i), record_bytes([v for v in values if v["record"] == i]))
            for i in range(packet.record_count)
        ]
        assert root_of(leaves) == packet.digest


def record_bytes(rows: list[dict[str, Any]]) -> bytes:
    """Encode one unified record from its observation rows."""

    def encoded(name: str, value: dict[str, Any]) -> bytes:
        out = BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(schema(name).text)), value)
        return out.getvalue()

    first = rows[0]
    kpi_data = [
        {
            "indicator": row["indicator"],
            "data_point": row["data_point"],
            "unscaled": int(row["exact"].replace(".", "")),
            "scale": len(row["exact"].partition(".")[2]),
            "unit": row["unit"],
        }
        for row in sorted(rows, key=lambda row: row["number"])
    ]
    extending = encoded("Extending", {name: first[name] for name in ("sensor", "quality", "source")})
    fields = {"country": first["country"], "city": first["city"], "site_id": parse_site_id(first["site_id"])}
    return encoded(
        "UnifiedRecord", fields | {"time": first["time"], "kpi_data": kpi_data, "extending": extending}
    )


@dataclass(frozen=True)
class Bad:
    """A packet whose content does not fit, and the reason that is stored."""

    reason: str
    records: Callable[[TestSite], list[bytes]]


def one_record(site: TestSite, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "name": site.name,
        "time_ms": NOW_MS,
        "indicator": "LOCAL:TRAFFIC_SPEED",
    } | changes
    value = KpiValue(fields["indicator"], "", 1, 0, "HM")
    extending = Extending("s", QualityCode.ACCURATE_MEASUREMENT, "test")
    return encode_record(UnifiedRecord(fields["name"], fields["time_ms"], (value,), extending))


def moved(site: TestSite, **changes: Any) -> SiteName:
    return site.name._replace(**changes)


BAD = {
    "another city": Bad("other_site", lambda s: [one_record(s, name=moved(s, city="unlocode:ITROM"))]),
    "another country": Bad("other_site", lambda s: [one_record(s, name=moved(s, country="IT"))]),
    "equipment not granted": Bad("other_site", lambda s: [one_record(s, name=site_name(77))]),
    "before the period": Bad("outside_period", lambda s: [one_record(s, time_ms=NOW_MS - 1)]),
    "after the period": Bad("outside_period", lambda s: [one_record(s, time_ms=NOW_MS + 1)]),
    "indicator not granted": Bad("indicator_not_granted", lambda s: [one_record(s, indicator="LOCAL:OTHER")]),
    "one bad among good": Bad("other_site", lambda s: [one_record(s), one_record(s, name=site_name(77))]),
    "no record at all": Bad("bad_record", lambda _: [b"junk"]),
}


@pytest.mark.parametrize("name", BAD)
async def test_content_that_does_not_fit_is_recorded_as_mismatch_and_nothing_of_it_published(
    case: Case, name: str
) -> None:
    site = case.sites[0]
    case.chain.packets(site.packet(records=BAD[name].records(site)))
    case.publish()
    await drain(case.worker())
    (row,) = (row for row in case.table("kpi_records") if row["height"] == 5)
    assert (row["status"], row["reason"]) == ("mismatch", BAD[name].reason)
    assert not [item for item in case.table("observations") if item["tracing_code"] == row["tracing_code"]]
    assert row["tracing_code"] not in {message["tracing_code"] for message in case.messages()}
    assert len(case.messages()) == 6


async def test_without_the_key_a_packet_is_stored_unopened(case: Case) -> None:
    del case.keys[case.sites[0].platform_key.public.fingerprint]
    case.publish()
    await drain(case.worker())
    assert Counter((row["status"], row["reason"]) for row in case.table("kpi_records")) == {
        ("ok", ""): 3,
        ("unopened", "no_key"): 3,
    }


async def test_a_packet_is_judged_by_the_grants_at_its_place_not_at_the_end_of_its_block(case: Case) -> None:
    site, world = case.sites[0], case.chain.world
    public = site.signer.public
    possession = site.signer.sign(possession_message(world.genesis.chain, site.name, public.fingerprint))
    before = site.packet([1])
    revoke = world.control(Revoke(site.name, public.fingerprint, "moved"))
    enrol = world.control(
        Enrol(site.name, public.algorithm, public.raw, possession, (site.suite,), ("LOCAL:OTHER",))
    )
    case.chain.block(
        packet_value(before), control_value(revoke), control_value(enrol), packet_value(site.packet([2]))
    )
    case.publish()
    await drain(case.worker())
    rows = sorted((row["entry"], row["status"]) for row in case.table("kpi_records") if row["height"] == 5)
    assert rows == [(0, "ok"), (3, "mismatch")]


def at_files(folder: Path) -> Callable[[str], Case]:
    """Make cases by name, each on a SQLite file of its own."""
    return lambda name: Case(folder / name)


async def test_a_crash_before_any_write_leaves_the_same_rows_afterwards(tmp_path: Path) -> None:
    await crash_everywhere(at_files(tmp_path))


async def crash_everywhere(make: Callable[[str], Case]) -> None:
    """Crash a worker at each of its steps in turn; the next one ends with the rows of one that was left alone."""
    reference = make("reference")
    reference.publish()
    await drain(reference.worker())
    step, crashed = 0, True
    while crashed:
        case = make(str(step))
        case.topic.values = reference.topic.values
        worker = case.worker()
        crashed = False
        with crash_at(case.engine, step):
            try:
                await drain(worker)
            except CrashError:
                crashed = True
        await drain(case.worker())
        assert case.rows() == reference.rows(), f"crash at step {step}"
        assert {m["tracing_code"] for m in case.messages()} == {
            m["tracing_code"] for m in reference.messages()
        }
        case.engine.dispose()
        step += 1
    assert step > 20


@pytest.mark.parametrize("restarted", [False, True])
async def test_observations_that_kafka_did_not_take_are_sent_again(case: Case, restarted: bool) -> None:
    case.producer.fail_after = 0
    case.publish()
    worker = case.worker()
    with pytest.raises(TransientError):
        await drain(worker)
    await drain(case.worker() if restarted else worker)
    by_code = {message["tracing_code"]: message for message in case.messages()}
    assert len(by_code) == 6
    assert all(by_code[message["tracing_code"]] == message for message in case.messages())


async def test_a_message_is_the_same_bytes_from_memory_and_from_the_database(case: Case) -> None:
    worker = case.worker()
    await drain(worker)
    case.publish()
    await drain(worker)
    with case.engine.begin() as connection:
        connection.execute(platform_position.update(), {"published_height": 0, "published_entry": 0})
    told = SqlPlatformStore(case.engine, case.chain.world.genesis).unpublished(100)
    assert [(item.key, item.value) for item in told] == [
        (item.key, item.value) for item in case.producer.sent
    ]
    assert len(told) == 6


async def test_what_was_stored_by_a_failing_write_is_handed_out_without_waiting_for_the_next_block(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a commit may be lost when the commit is not."""
    save = SqlPlatformStore.save

    def answer_lost(store: SqlPlatformStore, stored: Sequence[StoredBlock], next_offset: int) -> None:
        save(store, stored, next_offset)
        raise TransientError("the answer was lost", code="test")

    worker = case.worker()
    await drain(worker)
    case.publish()
    with monkeypatch.context() as patch:
        patch.setattr(SqlPlatformStore, "save", answer_lost)
        with pytest.raises(TransientError):
            await drain(worker)
    assert not case.messages()
    await drain(worker)
    assert len(case.messages()) == 6
    assert worker.caught_up


async def test_the_key_of_a_message_is_its_site(case: Case) -> None:
    case.publish()
    await drain(case.worker())
    assert {item.key for item in case.producer.sent} == {str(site.name).encode() for site in case.sites}


async def test_the_worker_is_ready_once_its_state_is_loaded(case: Case) -> None:
    worker = case.worker()
    assert not worker.is_ready
    await worker.open()
    assert worker.is_ready


def test_the_store_of_another_chain_is_refused(case: Case) -> None:
    case.worker()
    with pytest.raises(ConfigError, match="name another folder"):
        SqlPlatformStore(case.engine, World(nodes=5, quorum=4).genesis)


def test_the_store_file_is_private(case: Case) -> None:
    assert case.path.stat().st_mode & 0o077 == 0
