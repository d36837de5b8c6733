"""A tracing code leads to site, time, values and bytes; stored bytes that differ from the ledger's are told."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from pipeline.adapters.sql.engine import transaction
from pipeline.adapters.sql.packets import SqlPackets
from pipeline.core.tracing import TracingCode
from pipeline.services.block_source import BlockSource
from pipeline.services.trace import TraceProblem, trace_in_store
from tests.support.chain import MemoryReader, framed
from tests.unit.test_platform import Case, drain


@pytest.fixture
async def case(tmp_path: Path) -> Case:
    made = Case(tmp_path)
    made.publish()
    await drain(made.worker())
    return made


def code(case: Case, height: int = 3, entry: int = 1) -> str:
    return str(TracingCode(case.chain.world.genesis.chain[:5], height, entry))


async def trace(case: Case, asked: str) -> dict[str, Any] | TraceProblem:
    genesis = case.chain.world.genesis
    store = SqlPackets(case.engine, genesis)
    return await trace_in_store(asked, genesis.chain, store.find, BlockSource(MemoryReader(case.topic)))


async def test_a_code_leads_to_site_values_and_bytes(case: Case) -> None:
    found = await trace(case, code(case).lower())
    assert isinstance(found, dict)
    assert (found["code"], found["height"], found["entry"]) == (code(case), 3, 1)
    assert found["site"] == str(case.sites[1].name)
    assert [value["exact"] for value in found["values"]] == ["0.01", "-0.01", "0.07"]
    assert (found["indicator"], found["value"]) == ("LOCAL:TRAFFIC_SPEED", "0.01")
    assert found["bytes_match"]
    block = case.chain.blocks[2].block
    data = found["data_recorder"]
    assert block.encoded[data["offset"] :][: data["length"]] == block.entries[1].payload


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ("city_data = zeroblob(10)", "packet_bytes"),
        ("data_offset = data_offset + 1", "packet_bytes"),
        ("check_code = zeroblob(32)", "check_code"),
        ("block_length = block_length - 1", "block_recorder"),
    ],
)
async def test_a_changed_row_is_told(case: Case, change: str, differs: str) -> None:
    with transaction(case.engine) as connection:
        connection.execute(text(f"UPDATE kpi_records SET {change}"))
    found = await trace(case, code(case))
    assert isinstance(found, dict)
    assert [name for name, same in found["matches"].items() if not same] == [differs]
    assert not found["bytes_match"]


async def test_a_topic_with_another_block_at_the_offset_is_told(case: Case) -> None:
    case.topic.values[2] = framed(case.chain.certified[1])
    found = await trace(case, code(case))
    assert isinstance(found, dict)
    assert not any(found["matches"].values())


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ("nonsense", TraceProblem.MISTYPED),
        (str(TracingCode(bytes(5), 3, 1)), TraceProblem.OTHER_CHAIN),
    ],
)
async def test_codes_that_lead_nowhere_are_told_apart(case: Case, asked: str, problem: TraceProblem) -> None:
    assert await trace(case, asked) is problem


async def test_a_code_with_a_typing_error_is_noticed(case: Case) -> None:
    good = code(case)
    swapped = good[1] + good[0] + good[2:]
    assert await trace(case, swapped) is TraceProblem.MISTYPED


async def test_a_place_without_a_packet_is_told(case: Case) -> None:
    assert await trace(case, code(case, 9)) is TraceProblem.NOT_COMMITTED
