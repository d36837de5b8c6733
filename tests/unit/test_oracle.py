"""The oracle: clean runs are clean, and every fault that it is there for is counted and named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ops.oracle.__main__ as command
from ops.oracle import InputError, judge, write_plan
from ops.oracle.avro_files import Schemas
from ops.oracle.store import rebuild_records
from pipeline.core.names import SiteName, parse_site_id, site_id_text
from pipeline.core.record import Extending, KpiValue, QualityCode, UnifiedRecord, encode_record
from pipeline.core.storage import Observation, observations
from tests.support.chain import framed
from tests.support.oracle_case import PACKETS, SCHEMAS, OracleCase, hundredths, time_ms
from tests.support.world import NOW_MS, site_name


@pytest.fixture
async def case(tmp_path: Path) -> OracleCase:
    """A run in which everything went as told."""
    return await OracleCase(tmp_path).send_all()


def said(problems: list[str], *words: str) -> bool:
    return any(all(word in problem for word in words) for problem in problems)


async def test_a_run_as_told_is_clean_and_counted(case: OracleCase) -> None:
    verdict = case.judge()
    assert verdict.problems == []
    assert verdict.is_clean
    assert (verdict.sites, verdict.packets, verdict.records, verdict.values) == (2, 6, 12, 12)
    assert (verdict.observations_stored, verdict.heights) == (12, 7)
    assert set(map(tuple, (site.items() for site in verdict.per_site.values()))) == {
        (("packets", 3), ("records", 6), ("values", 6), ("missing", 0), ("doubled", 0))
    }


async def test_a_dropped_packet_is_missing(tmp_path: Path) -> None:
    case = OracleCase(tmp_path)
    for number in range(PACKETS):
        case.send(case.sites[0], number)
    for number in range(PACKETS - 1):
        case.send(case.sites[1], number)
    verdict = (await case.finish()).judge()
    assert (verdict.missing, verdict.doubled, verdict.altered) == (2, 0, 0)
    assert said(verdict.problems, "missing:", "fd00::2", "0.2 HM")
    assert said(verdict.problems, "ledger:", "fd00::2", "4 records, told to send 6")


async def test_values_sent_again_in_another_packet_are_doubled(tmp_path: Path) -> None:
    case = OracleCase(tmp_path)
    case.send(case.sites[0], 0)
    verdict = (await case.send_all()).judge()
    assert (verdict.missing, verdict.doubled, verdict.altered) == (0, 2, 0)
    assert said(verdict.problems, "doubled:", "fd00::1", "0.01 HM in packet")


async def test_a_packet_that_is_in_the_ledger_twice_is_doubled(case: OracleCase) -> None:
    (entry,) = case.chain.blocks[-1].block.entries
    case.values[-1] = case.last_block([entry, replace(entry, offset=entry.offset + 1)])
    verdict = case.judge()
    assert (verdict.missing, verdict.doubled) == (0, 2)
    assert said(verdict.problems, "in the ledger twice")


async def test_a_packet_with_another_value_than_told_is_altered(tmp_path: Path) -> None:
    case = OracleCase(tmp_path)
    case.send(case.sites[0], 0, [0, 7])
    for number in (1, 2):
        case.send(case.sites[0], number)
    for number in range(PACKETS):
        case.send(case.sites[1], number)
    verdict = (await case.finish()).judge()
    assert (verdict.missing, verdict.doubled, verdict.altered) == (0, 0, 1)
    assert said(verdict.problems, "altered:", "fd00::1", "told 0.01 HM, stored 0.07 HM")


async def test_a_packet_whose_bytes_differ_between_ledger_and_store_is_altered(case: OracleCase) -> None:
    (entry,) = case.chain.blocks[-1].block.entries
    payload = bytearray(entry.payload)
    payload[-100] ^= 1
    case.values[-1] = case.last_block([replace(entry, payload=bytes(payload))])
    verdict = case.judge()
    assert (verdict.missing, verdict.doubled, verdict.altered) == (0, 0, 1)
    assert said(verdict.problems, "packet", "fd00::2", "check_code", "city_data", "packet_id")


async def test_a_byte_flipped_in_a_published_block_is_named(case: OracleCase) -> None:
    value = bytearray(case.values[-1])
    payload = case.chain.blocks[-1].block.entries[0].payload
    value[value.index(payload) + len(payload) - 100] ^= 1
    case.values[-1] = bytes(value)
    verdict = case.judge()
    assert not verdict.is_clean
    assert said(verdict.problems, "block 7: entries_root")
    assert said(verdict.problems, "block 7: certificate is of another tree")


async def test_a_value_changed_in_a_store_row_is_altered(case: OracleCase) -> None:
    case.change("UPDATE observations SET exact = '0.99', value = 0.99 WHERE exact = '0.21'")
    verdict = case.judge()
    assert (verdict.missing, verdict.doubled, verdict.altered) == (0, 0, 2)
    assert said(verdict.problems, "told 0.21 HM, stored 0.99 HM")
    assert said(verdict.problems, "do not give the digest that the site signed")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sensor", "other"),
        ("quality", 2),
        ("source", "other"),
        ("value", 5.0),
        ("exact", "0.210"),
        ("exact", "x"),
    ],
)
async def test_any_other_part_of_a_store_row_that_changes_is_altered(
    case: OracleCase, column: str, value: object
) -> None:
    case.change(
        f"UPDATE observations SET {column} = ? WHERE exact = '0.21' AND site_id = 'fd00::1'",
        value,
    )
    assert case.judge().altered == 1


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::7"])
def test_rows_of_quality_0_give_a_record_with_an_empty_extending_part(address: str) -> None:
    """Byte for byte the record that the core encodes."""
    name = SiteName("US", "unlocode:USMES", parse_site_id(address))
    value = KpiValue("LOCAL:TRAFFIC_SPEED", "", -250, 2, "HM")
    record = UnifiedRecord(name, NOW_MS, (value, value._replace(data_point="b")), None)
    rows = [observation_row(item) for item in observations([record])]
    assert rebuild_records(rows, 1, Schemas(SCHEMAS)) == [encode_record(record)]


async def test_a_packet_with_an_empty_extending_part_is_clean_until_a_row_gets_one(tmp_path: Path) -> None:
    case = OracleCase(tmp_path)
    site = case.sites[0]
    kpi = [KpiValue("LOCAL:TRAFFIC_SPEED", "", value, 2, "HM") for value in hundredths(0)]
    records = [encode_record(UnifiedRecord(site.name, NOW_MS, (value,), None)) for value in kpi]
    case.chain.packets(site.packet(records=records))
    for number in range(1, PACKETS):
        case.send(site, number)
    for number in range(PACKETS):
        case.send(case.sites[1], number)
    assert (await case.finish()).judge().is_clean
    case.change("UPDATE observations SET sensor = 'other' WHERE quality = 0 AND exact = '0.01'")
    assert case.judge().altered == 1


async def test_a_row_removed_from_the_store_is_missing(case: OracleCase) -> None:
    case.change("DELETE FROM observations WHERE exact = '0.21' AND site_id = 'fd00::1'")
    verdict = case.judge()
    assert (verdict.missing, verdict.observations_stored) == (1, 11)
    assert said(verdict.problems, "missing:", "fd00::1", "0.21 HM")


async def test_a_value_that_nobody_was_told_to_send_is_unexpected(case: OracleCase) -> None:
    case.change("UPDATE observations SET time = time + 1 WHERE exact = '0.21' AND site_id = 'fd00::1'")
    verdict = case.judge()
    assert (verdict.missing, verdict.unexpected) == (1, 1)


async def test_a_salt_seed_that_does_not_fit_is_noticed(case: OracleCase) -> None:
    case.change("UPDATE openings SET seed = zeroblob(32)")
    assert case.judge().altered == 6


COLUMNS = {
    "kpi_records": (
        "data_offset data_length block_offset block_length city_data chain_id check_code country city site_id "
        "module_id sequence packet_id collected_from collected_to record_count log_offset admitted"
    ),
    "blocks": "hash first_index tree_size root entries block_offset block_length",
}


@pytest.mark.parametrize(
    ("table", "column"), [(table, name) for table, names in COLUMNS.items() for name in names.split()]
)
async def test_a_store_column_that_is_not_the_ledgers_is_named(
    case: OracleCase, table: str, column: str
) -> None:
    text = f"UPDATE {table} SET {column} = CASE typeof({column}) WHEN 'integer' THEN {column} + 100 "
    case.change(f"{text} WHEN 'text' THEN {column} || 'x' ELSE zeroblob(32) END WHERE height = 4")
    assert said(case.judge().problems, "store:", f"not as in the ledger: {column}")


@pytest.mark.parametrize("table", ["kpi_records", "blocks"])
async def test_a_removed_store_row_is_named(case: OracleCase, table: str) -> None:
    case.change(f"DELETE FROM {table} WHERE height = 4")
    assert said(case.judge().problems, "store:", "is missing")


async def test_a_broken_hash_link_is_named(case: OracleCase) -> None:
    case.values[-1] = case.last_block(previous_hash=bytes(32))
    assert said(case.judge().problems, "block 7: previous_hash")


@pytest.mark.parametrize("field", ["first_index", "entry_count", "entries_root", "chain"])
async def test_a_header_field_that_does_not_follow_is_named(case: OracleCase, field: str) -> None:
    changes: dict[str, Any] = {field: 99 if field in ("first_index", "entry_count") else bytes(32)}
    case.values[-1] = case.last_block(**changes)
    assert said(case.judge().problems, f"block 7: {field}")


async def test_a_packet_that_does_not_follow_its_sites_last_one_is_named(case: OracleCase) -> None:
    (entry,) = case.chain.blocks[-1].block.entries
    site = case.sites[1]
    site.previous = bytes(32)
    stray = site.packet([20, 21], time_ms=time_ms(2))
    case.values[-1] = case.last_block([replace(entry, payload=stray)])
    assert said(case.judge().problems, "fd00::2", "does not follow the site's packet before it")


async def test_a_packet_whose_sequence_falls_is_named(case: OracleCase) -> None:
    (entry,) = case.chain.blocks[-1].block.entries
    site = case.sites[1]
    stray = site.packet([20, 21], time_ms=time_ms(2), sequence=2)
    case.values[-1] = case.last_block([entry, replace(entry, payload=stray, offset=entry.offset + 1)])
    assert said(case.judge().problems, "fd00::2", "sequence 2 after 3")


async def test_a_missing_height_is_named(case: OracleCase) -> None:
    del case.values[3]
    assert said(case.judge().problems, "height 4 is missing")


async def test_a_certificate_of_another_tree_is_named(case: OracleCase) -> None:
    chain = case.chain
    other = chain.world.certificate(chain.blocks[-2].checkpoint)
    case.values[-1] = framed(chain.blocks[-1].block.encoded + framed_bytes(other))
    assert said(case.judge().problems, "block 7: certificate is of another tree")


async def test_repeats_and_uncertified_records_at_a_height_do_not_count(case: OracleCase) -> None:
    chain = case.chain
    stale = chain.world.certificate(chain.blocks[-2].checkpoint)
    uncertified = framed(chain.blocks[-1].block.encoded[:-2] + b"x\0" + framed_bytes(stale))
    case.values[-1:] = [uncertified, case.values[-1], case.values[-1], case.values[2]]
    verdict = case.judge()
    assert verdict.is_clean
    assert (verdict.repeats, verdict.set_aside) == (2, 1)


async def test_two_certified_blocks_at_one_height_are_named(case: OracleCase) -> None:
    case.values.append(case.last_block(log_digest=bytes(32)))
    assert said(case.judge().problems, "block 7: records 6 and 7 differ")


@pytest.mark.parametrize("value", [b"", b"\x00\x00\x00\x00\x01abc", b"\x00\x00\x00\x00\x07\xff\xff"])
async def test_a_record_that_is_no_block_is_named(case: OracleCase, value: bytes) -> None:
    case.values.insert(2, value)
    assert said(case.judge().problems, "record 2 of the blocks topic")


async def test_a_packet_set_aside_as_mismatch_is_listed_and_its_site_still_clean(tmp_path: Path) -> None:
    verdict = (await foreign(OracleCase(tmp_path))).judge()
    assert verdict.is_clean
    assert [item["reason"] for item in verdict.mismatched] == ["other_site"]
    assert (verdict.packets, verdict.records) == (6, 12)


async def test_observations_of_a_packet_set_aside_are_named(tmp_path: Path) -> None:
    case = await foreign(OracleCase(tmp_path))
    code = case.judge().mismatched[0]["tracing_code"]
    case.change(
        "INSERT INTO observations SELECT ?, record, number, time, indicator, data_point, exact, value, unit, sensor, "
        "quality, source, country, city, site_id FROM observations LIMIT 1",
        code,
    )
    assert said(case.judge().problems, code, "set aside as other_site but has observations")


async def test_an_honest_packet_set_aside_is_missing(case: OracleCase) -> None:
    case.change("DELETE FROM observations WHERE exact LIKE '0.2%' AND site_id = 'fd00::1'")
    case.change("UPDATE kpi_records SET status = 'mismatch' WHERE height = 6")
    assert case.judge().missing == 2


async def test_a_packet_that_was_not_opened_is_named(case: OracleCase) -> None:
    case.change("UPDATE kpi_records SET status = 'unopened', reason = 'no_key' WHERE height = 6")
    assert said(case.judge().problems, "is unopened: no_key")


async def test_a_site_outside_the_plan_is_named(case: OracleCase) -> None:
    case.plan = replace(case.plan, sites=case.plan.sites[:1])
    verdict = case.judge()
    assert verdict.unexpected == 6
    assert verdict.problem_count >= 9


async def test_another_genesis_is_named(case: OracleCase, tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.write_bytes(case.chain.world.genesis.raw)
    other.write_bytes(b"{}")
    assert judge(case.plan, case.values, case.store, SCHEMAS, own).is_clean
    assert said(judge(case.plan, case.values, case.store, SCHEMAS, other).problems, "block 1: chain")


async def test_the_command_tells_clean_from_faulty_from_unusable(
    case: OracleCase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, blocks = tmp_path / "plan.json", tmp_path / "blocks"
    write_plan(case.plan, plan)
    blocks.mkdir()
    for number, value in enumerate(case.values, 5):
        (blocks / f"{number}.bin").write_bytes(value)
    usual = ["--plan", plan, "--store", case.store, "--schemas", SCHEMAS, "--blocks-dir", blocks]
    arguments = [str(item) for item in usual]
    assert command.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == 0
    case.change("DELETE FROM observations WHERE exact = '0.21'")
    assert command.main(arguments) == 1
    assert json.loads(capsys.readouterr().out)["missing"] == 2
    case.store.unlink()
    assert command.main(arguments) == 2
    assert "store.sqlite is no file" in capsys.readouterr().err


async def test_schemas_that_are_not_there_are_an_input_error(case: OracleCase, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.avsc"):
        judge(case.plan, case.values, case.store, tmp_path)


def framed_bytes(data: bytes) -> bytes:
    """The Avro encoding of a bytes value."""
    length, out = len(data) * 2, b""
    while length > 127:
        out, length = out + bytes([length & 127 | 128]), length >> 7
    return out + bytes([length]) + data


def observation_row(item: Observation) -> dict[str, Any]:
    """An observation as the store's table has it."""
    row = {name: getattr(item, name) for name in item._fields if name not in ("site", "time_ms")}
    place = {"country": item.site.country, "city": item.site.city, "site_id": site_id_text(item.site.site_id)}
    return row | place | {"time": item.time_ms}


async def foreign(case: OracleCase) -> OracleCase:
    """A run as told in which one site also speaks for another."""
    extending = Extending("sensor-1", QualityCode.ACCURATE_MEASUREMENT, "test")
    value = KpiValue("LOCAL:TRAFFIC_SPEED", "", 1, 2, "HM")
    record = encode_record(UnifiedRecord(site_name(9), NOW_MS, (value,), extending))
    case.chain.packets(case.sites[0].packet(records=[record]))
    return await case.send_all()
