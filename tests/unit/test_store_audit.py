"""Every row of the platform's store that is not what the ledger gives is named by table, row and column."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.sql.platform_tables import PLATFORM
from pipeline.adapters.sql.state_rows import STATE
from pipeline.adapters.sql.store_snapshot import SqlStoreSnapshot
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.row_audit import RowChange, RowFinding
from pipeline.core.storage import KeyRing
from pipeline.core.tracing import TracingCode
from tests.support.stored_chain import StoredChain, Tampered

TABLES = {**PLATFORM.tables, **STATE.tables}
COLUMNS = [(table.name, column.name) for table in TABLES.values() for column in table.columns]
KEYS = {name: [column.name for column in table.primary_key] for name, table in TABLES.items()}
SINGLE = {"chain_head", "chain_identity", "platform_position"}
PLAIN = {"observations", "openings"}


def no_key(_fingerprint: bytes) -> None:
    return None


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredChain:
    return StoredChain(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
async def store(stored: StoredChain) -> Path:
    """A store of all six blocks."""
    return await stored.fill("whole.sqlite", 6)


def middle(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return rows[len(rows) // 2]


def other(value: Any) -> Any:
    """Return another value of the same kind, of which no other row has any."""
    if isinstance(value, bytes):
        return value[:-1] + bytes((value[-1] ^ 1,))
    if isinstance(value, str):
        return value + "x"
    return value + 1000


def where(table: str, row: dict[str, Any]) -> tuple[str, list[Any]]:
    return " AND ".join(f"{name} = ?" for name in KEYS[table]), [row[name] for name in KEYS[table]]


def key_of(table: str, row: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, row[name]) for name in KEYS[table])


@pytest.mark.parametrize("from_kafka", [True, False])
@pytest.mark.parametrize("keys", [None, no_key])
def test_the_store_that_the_worker_filled_is_good(
    stored: StoredChain, store: Path, keys: KeyRing | None, from_kafka: bool
) -> None:
    report = stored.audit(store, keys=keys, from_kafka=from_kafka)
    assert report.findings == []
    assert report.is_good
    assert (report.height, report.packets, report.values) == (6, 8, 9)
    assert report.unverified == (1 if keys is None else 2)


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_an_edited_column_is_named(stored: StoredChain, store: Path, table: str, column: str) -> None:
    copy = Tampered(store, f"{table}-{column}")
    row = middle(copy.rows(table, KEYS[table]))
    condition, key = where(table, row)
    copy.run(f"UPDATE {table} SET {column} = ? WHERE {condition}", [other(row[column]), *key])
    (finding,) = stored.audit(copy.path).findings
    assert (finding.table, finding.key, finding.change) == (table, key_of(table, row), RowChange.EDITED)
    assert column in finding.columns
    assert len(finding.columns) == 1 or column.startswith("published_")
    assert finding.detail


@pytest.mark.parametrize("table", TABLES)
def test_a_removed_row_is_named(stored: StoredChain, store: Path, table: str) -> None:
    copy = Tampered(store, f"removed-{table}")
    row = middle(copy.rows(table, KEYS[table]))
    condition, key = where(table, row)
    copy.run(f"DELETE FROM {table} WHERE {condition}", key)
    (finding,) = stored.audit(copy.path).findings
    assert (finding.table, finding.key, finding.change) == (table, key_of(table, row), RowChange.REMOVED)


@pytest.mark.parametrize("table", TABLES)
def test_an_added_row_is_named(stored: StoredChain, store: Path, table: str) -> None:
    copy = Tampered(store, f"added-{table}")
    row = middle(copy.rows(table, KEYS[table]))
    added = row | {KEYS[table][-1]: other(row[KEYS[table][-1]])}
    for name in ("entry", "sequence", "tree_size"):  # unique beside the key
        if name in row:
            added[name] = other(row[name])
    added[[name for name in row if name not in KEYS[table]][-1]] = other(list(row.values())[-1])
    marks = ", ".join("?" * len(added))
    copy.run(f"INSERT INTO {table} ({', '.join(added)}) VALUES ({marks})", list(added.values()))
    (finding,) = stored.audit(copy.path).findings
    assert (finding.table, finding.key, finding.change) == (table, key_of(table, added), RowChange.ADDED)


def swapped(copy: Tampered, table: str, one: dict[str, Any], two: dict[str, Any]) -> None:
    """Let two rows change their keys, that is, their places."""
    place = dict(one)
    for name in KEYS[table]:
        place[name] = f"tmp{one[name]}" if isinstance(one[name], str) else -7
    for before, after in ((one, place), (two, one), (place, two)):
        condition, key = where(table, before)
        parts = ", ".join(f"{name} = ?" for name in KEYS[table])
        copy.run(
            f"UPDATE {table} SET {parts} WHERE {condition}",
            [*(after[name] for name in KEYS[table]), *key],
        )


@pytest.mark.parametrize("table", sorted(TABLES.keys() - SINGLE))
@pytest.mark.parametrize("distance", [1, 2])
def test_two_rows_that_changed_places_are_named(
    stored: StoredChain, store: Path, table: str, distance: int
) -> None:
    copy = Tampered(store, f"swapped-{table}-{distance}")
    rows = copy.rows(table, KEYS[table])
    one, two = rows[0], rows[distance]
    swapped(copy, table, one, two)
    (finding,) = stored.audit(copy.path).findings
    assert finding.change is RowChange.REORDERED
    assert finding.table == table
    assert finding.key in (key_of(table, one), key_of(table, two))
    assert finding.columns


def test_values_exchanged_between_two_rows_are_named_on_both(stored: StoredChain, store: Path) -> None:
    copy = Tampered(store, "exchanged")
    rows = copy.rows("observations", KEYS["observations"])
    one, two = (row for row in rows if row["exact"] in ("0.10", "0.60"))
    for row, source in ((one, two), (two, one)):
        condition, key = where("observations", row)
        copy.run(
            f"UPDATE observations SET exact = ?, value = ? WHERE {condition}",
            [source["exact"], source["value"], *key],
        )
    findings = stored.audit(copy.path).findings
    assert {finding.table for finding in findings} == {"observations"}
    assert {key for finding in findings for key in [finding.key]} <= {
        key_of("observations", one),
        key_of("observations", two),
    }


@pytest.mark.parametrize("column", [column for table, column in COLUMNS if table in PLAIN])
def test_without_the_key_an_edited_value_is_found_by_the_digest_that_the_site_signed(
    stored: StoredChain, store: Path, column: str
) -> None:
    table = "openings" if column == "seed" else "observations"
    copy = Tampered(store, f"keyless-{column}")
    row = next(row for row in copy.rows(table, KEYS[table]))
    condition, key = where(table, row)
    copy.run(f"UPDATE {table} SET {column} = ? WHERE {condition}", [other(row[column]), *key])
    findings = stored.audit(copy.path, keys=no_key).findings
    assert findings
    assert all(finding.table in PLAIN for finding in findings)
    assert any(dict(finding.key)["tracing_code"] == row["tracing_code"] for finding in findings)


@pytest.mark.parametrize("table", sorted(PLAIN))
def test_without_the_key_missing_values_are_found(stored: StoredChain, store: Path, table: str) -> None:
    copy = Tampered(store, f"keyless-without-{table}")
    row = copy.rows(table, KEYS[table])[0]
    copy.run(f"DELETE FROM {table} WHERE tracing_code = ?", [row["tracing_code"]])
    (finding,) = stored.audit(copy.path, keys=no_key).findings
    assert dict(finding.key) == {"tracing_code": row["tracing_code"]}


def test_no_plain_value_is_in_what_is_told(stored: StoredChain, store: Path) -> None:
    copy = Tampered(store, "told")
    copy.run("UPDATE observations SET exact = '4711.99', sensor = 'other-sensor'")
    copy.run("UPDATE openings SET seed = x'c0ffee'")
    report = stored.audit(copy.path)
    told = json.dumps(report.as_json()) + "".join(map(str, report.findings))
    assert report.problems > 9
    assert not [word for word in ("4711", "other-sensor", "sensor-1", "c0ffee", "0.10") if word in told]


async def test_a_store_that_is_behind_is_compared_up_to_where_it_stands(stored: StoredChain) -> None:
    for blocks in (0, 1, 4, 5):
        path = await stored.fill(f"behind-{blocks}.sqlite", blocks)
        report = stored.audit(path)
        assert (report.findings, report.height) == ([], blocks)
        assert report.is_good


def test_a_store_that_is_ahead_of_the_blocks_is_not_called_good(stored: StoredChain, store: Path) -> None:
    report = stored.audit(store, blocks=4)
    assert (report.findings, report.is_beyond, report.is_good) == ([], True, False)


def test_a_row_changed_within_the_blocks_is_found_although_the_store_is_ahead(
    stored: StoredChain, store: Path
) -> None:
    copy = Tampered(store, "ahead")
    copy.run("UPDATE kpi_records SET module_id = 'x' WHERE height = 2 AND entry = 0")
    (finding,) = stored.audit(copy.path, blocks=4).findings
    assert finding.columns == ("module_id",)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("kpi_records", "city_data", "text where bytes belong"),
        ("kpi_records", "height", "three"),
        ("sites", "active", 2),
        ("observations", "value", "seven"),
        ("observations", "quality", "1"),
        ("blocks", "hash", 7),
    ],
)
def test_values_of_another_type_do_not_pass_and_do_not_crash(
    stored: StoredChain, store: Path, table: str, column: str, value: Any
) -> None:
    copy = Tampered(store, f"type-{table}-{column}")
    row = copy.rows(table, KEYS[table])[0]
    condition, key = where(table, row)
    copy.run(f"UPDATE {table} SET {column} = ? WHERE {condition}", [value, *key])
    for keys in (None, no_key):
        findings = stored.audit(copy.path, keys=keys).findings
        if (table, column, value) == ("observations", "quality", "1"):
            assert findings == []  # the column's own type made a number of it
        else:
            assert findings
            assert findings[0].table == table


@pytest.mark.parametrize("column", ["height", "block_hash", "frontier", "chain_bytes"])
async def test_a_changed_head_is_named_although_the_store_is_behind(stored: StoredChain, column: str) -> None:
    copy = Tampered(await stored.fill(f"head-{column}.sqlite", 4), f"head-{column}-edited")
    (row,) = copy.rows("chain_head", ["one"])
    copy.run(f"UPDATE chain_head SET {column} = ?", [other(row[column])])
    (finding,) = stored.audit(copy.path).findings
    assert (finding.table, finding.columns) == ("chain_head", (column,))


@pytest.mark.parametrize("place", [(1, 0), (7, 0), (2, 3), (4, 1)])
def test_a_value_of_what_is_no_packet_is_an_added_row(
    stored: StoredChain, store: Path, place: tuple[int, int]
) -> None:
    copy = Tampered(store, f"stray-{place}")
    code = str(TracingCode(stored.genesis.chain[:5], *place))
    row = copy.rows("observations", KEYS["observations"])[0] | {"tracing_code": code}
    marks = ", ".join("?" * len(row))
    copy.run(f"INSERT INTO observations VALUES ({marks})", list(row.values()))
    (finding,) = stored.audit(copy.path).findings
    assert (finding.change, dict(finding.key)["tracing_code"]) == (RowChange.ADDED, code)


@pytest.mark.parametrize("offset", [-1, 3, 5, 7, "x"])
async def test_a_position_that_does_not_follow_the_last_block_is_named(
    stored: StoredChain, store: Path, offset: object
) -> None:
    copy = Tampered(store, f"position-{offset}")
    copy.run("UPDATE platform_position SET next_offset = ?", [offset])
    (finding,) = stored.audit(copy.path).findings
    assert (finding.table, finding.columns) == ("platform_position", ("next_offset",))


def test_many_changed_rows_are_counted_and_the_first_named(stored: StoredChain, store: Path) -> None:
    copy = Tampered(store, "many")
    copy.run("UPDATE kpi_records SET chain_id = 'https://elsewhere'")
    report = stored.audit(copy.path)
    assert report.problems == 8
    assert all(finding.columns == ("chain_id",) for finding in report.findings)


def test_the_store_of_another_chain_is_named(stored: StoredChain, store: Path) -> None:
    copy = Tampered(store, "foreign")
    copy.run("UPDATE chain_identity SET chain = zeroblob(32)")
    assert str(stored.audit(copy.path).findings[0]).startswith(
        "table chain_identity, row one=1, column chain: edited"
    )


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no store"):
        SqlStoreSnapshot(f"sqlite:///{tmp_path / 'none.sqlite'}")
    assert list(tmp_path.iterdir()) == []


def test_a_database_without_a_table_is_no_good_store(store: Path) -> None:
    copy = Tampered(store, "dropped")
    copy.run("DROP TABLE openings", changes=False)
    with pytest.raises(IntegrityError, match="no table openings"):
        SqlStoreSnapshot(f"sqlite:///{copy.path}")


def test_findings_read_well() -> None:
    finding = RowFinding(
        "t", (("key", b"\x01"), ("n", 2)), RowChange.REMOVED, (), "the ledger gives this row"
    )
    assert str(finding) == "table t, row key=01 n=2: removed: the ledger gives this row"
    assert finding.as_json()["key"] == {"key": "01", "n": 2}
