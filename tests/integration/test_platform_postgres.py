"""What a platform worker promises of its store, on PostgreSQL: the tests of the store in a file, and COPY."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from pipeline.adapters.sql import bulk
from pipeline.adapters.sql.engine import open_sqlite, transaction
from pipeline.adapters.sql.packets import SqlPackets
from pipeline.adapters.sql.platform_tables import observations
from pipeline.core.errors import IntegrityError
from tests.support.store_schemas import StoreSchemas
from tests.unit.test_platform import (
    Case,
    crash_everywhere,
    drain,
    test_every_packet_becomes_one_table_10_3_row_that_points_at_its_bytes,
    test_every_value_becomes_one_observation_row_and_one_published_value,
    test_observations_that_kafka_did_not_take_are_sent_again,
    test_rows_and_seed_give_the_digest_that_the_site_signed,
    test_the_store_of_another_chain_is_refused,
)
from tests.unit.test_trace import code, trace

__all__ = [
    "test_every_packet_becomes_one_table_10_3_row_that_points_at_its_bytes",
    "test_every_value_becomes_one_observation_row_and_one_published_value",
    "test_observations_that_kafka_did_not_take_are_sent_again",
    "test_rows_and_seed_give_the_digest_that_the_site_signed",
    "test_the_store_of_another_chain_is_refused",
]
pytestmark = pytest.mark.stack


@pytest.fixture
def case(schemas: StoreSchemas, tmp_path: Path) -> Case:
    return Case(tmp_path, schemas.engine())


async def test_both_databases_hold_the_same_rows(case: Case, tmp_path: Path) -> None:
    """Numbers, texts, bytes, exact decimals and doubles, of every table."""
    case.publish()
    await drain(case.worker())
    rows = case.rows()
    case.engine = open_sqlite(tmp_path / "same.sqlite", durable=False)
    await drain(case.worker())
    assert case.rows() == rows
    assert sum(map(len, rows.values())) > 30


@pytest.mark.faults
async def test_a_crash_before_any_write_leaves_the_same_rows_afterwards(
    schemas: StoreSchemas, tmp_path: Path
) -> None:
    await crash_everywhere(lambda name: Case(tmp_path / name, schemas.engine()))


async def test_a_code_leads_to_values_and_bytes_and_a_changed_row_is_told(case: Case) -> None:
    case.publish()
    await drain(case.worker())
    found = await trace(case, code(case))
    assert isinstance(found, dict)
    assert ([value["exact"] for value in found["values"]], found["bytes_match"]) == (
        ["0.01", "-0.01", "0.07"],
        True,
    )
    with transaction(case.engine) as connection:
        connection.execute(text("UPDATE kpi_records SET data_offset = data_offset + 1"))
    changed = await trace(case, code(case))
    assert isinstance(changed, dict)
    assert not changed["bytes_match"]


async def test_looking_up_a_packet_needs_no_right_to_change_tables(case: Case) -> None:
    case.publish()
    await drain(case.worker())
    with transaction(case.engine) as connection:
        connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
    assert SqlPackets(case.engine, case.chain.world.genesis).find(code(case)) is not None


def value_row(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: "x" for column in observations.columns}
    return row | {"record": 0, "number": 0, "time": 1, "value": 0.1, "quality": 1} | changes


async def test_a_row_that_is_there_already_contradicts_and_its_values_stay_out_of_the_error(
    case: Case,
) -> None:
    case.worker()
    with transaction(case.engine) as connection:
        bulk.insert_rows(connection, observations, [value_row(exact="42.4242")])
    with pytest.raises(IntegrityError) as raised, transaction(case.engine) as connection:
        bulk.insert_rows(connection, observations, [value_row(exact="42.4242", tracing_code="secret-code")])
        bulk.insert_rows(connection, observations, [value_row(exact="42.4242")])
    assert raised.value.code == "database_rows"
    assert "observations_pkey" in str(raised.value)
    assert "42.42" not in str(raised.value.__cause__)
    with pytest.raises(IntegrityError) as raised, transaction(case.engine) as connection:
        connection.execute(observations.insert(), [value_row(exact="42.4242")])
    assert "42.42" not in str(raised.value.__cause__)
    assert len(case.table("observations")) == 1


@pytest.mark.parametrize("value", [0.1, -0.0, 5e-324, 1.7976931348623157e308, 12.34])
async def test_doubles_come_back_as_they_were_copied(case: Case, value: float) -> None:
    case.worker()
    with transaction(case.engine) as connection:
        bulk.insert_rows(connection, observations, [value_row(value=value)])
    assert repr(case.table("observations")[0]["value"]) == repr(value)
