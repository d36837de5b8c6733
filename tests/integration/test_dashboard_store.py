"""Every question of a dashboard to the store, asked of a real PostgreSQL as Grafana asks, before and after data."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from ops.grafana import macros
from ops.grafana.board import Board
from ops.grafana.boards import BOARDS
from ops.grafana.city import CITY
from ops.postgres.role_table import DatabaseRole
from pipeline.adapters.sql.assess_store import SqlAssessStore
from pipeline.adapters.sql.engine import open_engine
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.core.assess.assess import assess_cell
from pipeline.core.assess.cells import touched_at
from pipeline.core.assess.changes import Found, Position
from pipeline.core.assess.plan_reader import read_plan
from tests.support.bundled_plan import PLACE, PLAN
from tests.support.bundled_store import BundledChain
from tests.support.panels import Question, questions
from tests.support.postgres import Database, RunningPostgres

pytestmark = pytest.mark.stack
ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
INTERVAL_S = 86_400
CHOSEN = {"country": [PLACE[0]], "city": [PLACE[1]], "indicator": ["LOCAL:TRAVEL_TIME"]}
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Answers:
    """What a store answers to all questions, and the columns of each answer."""

    rows: dict[str, Rows]
    columns: dict[str, list[str]]


def shown(sites: list[str]) -> macros.Shown:
    return macros.Shown(*ALWAYS, INTERVAL_S, CHOSEN | {"site": sites})


def choices_of(reader: psycopg.Connection, board: Board) -> dict[str, list[str]]:
    """Ask a dashboard's variables in their order, with what is chosen in those before."""
    chosen: dict[str, list[str]] = {}
    for choice in board.choices:
        text = macros.statement(choice.statement, macros.Shown(*ALWAYS, INTERVAL_S, chosen | CHOSEN))
        chosen[choice.name] = [row[0] for row in reader.execute(text.encode()).fetchall()]
    return chosen


def ask(database: Database, sites: list[str]) -> Answers:
    rows, columns = {}, {}
    with psycopg.connect(database.conninfo(DatabaseRole.READER)) as reader:
        for question in questions(is_sql=True):
            found = reader.execute(macros.statement(question.text, shown(sites)).encode())
            rows[str(question)] = found.fetchall()
            columns[str(question)] = [column.name for column in found.description or ()]
    return Answers(rows, columns)


def assess(database: Database, chain_id: str) -> None:
    """Put all figures of the city into the store, as the assessment worker does."""
    plan = read_plan(PLAN)
    store = SqlAssessStore(lambda: open_engine(database.url(DatabaseRole.ASSESS)))
    head = store.head()
    cells = {
        cell for country, city, time in store.times(0, head) for cell in touched_at(plan, country, city, time)
    }
    found = [
        Found(cell, assess_cell(plan, chain_id, cell, store.groups(cell)))
        for cell in cells
        if (cell.country, cell.city) == PLACE
    ]
    store.replace(found, store.load(), Position(head, plan.digest))
    store.close()


@pytest.fixture(scope="module")
def bundled() -> BundledChain:
    return BundledChain()


@pytest.fixture(scope="module")
def database(postgres: RunningPostgres) -> Iterator[Database]:
    with postgres.database() as made:
        yield made


@pytest.fixture(scope="module")
def before(database: Database, bundled: BundledChain) -> Answers:
    """The answers of a store that has its tables and nothing in them."""
    store = SqlPlatformStore(open_engine(database.url()), bundled.genesis)
    store.close()
    database.grant()
    return ask(database, ["fd00::1"])


@pytest.fixture(scope="module")
async def after(database: Database, bundled: BundledChain, before: Answers) -> Answers:
    """The answers once the bundled measurements are stored and assessed."""
    store = SqlPlatformStore(open_engine(database.url()), bundled.genesis)
    await bundled.fill(store)
    assess(database, bundled.genesis.origin)
    with psycopg.connect(database.conninfo(DatabaseRole.READER)) as reader:
        sites = choices_of(reader, CITY)["site"]
    return ask(database, sites)


@pytest.mark.parametrize("question", [*questions(is_sql=True)], ids=str)
async def test_the_answer_moves_when_data_comes(question: Question, before: Answers, after: Answers) -> None:
    rows = after.rows[str(question)]
    assert rows, "no rows"
    assert any(value not in (None, 0, "") for value in rows[0]), rows[0]
    assert rows != before.rows[str(question)]


@pytest.mark.parametrize("question", [one for one in questions(is_sql=True) if one.is_series], ids=str)
async def test_a_series_has_the_columns_that_grafana_draws(question: Question, after: Answers) -> None:
    """Time first and ascending, then names as text, then numbers: anything else Grafana refuses to draw."""
    rows, columns = after.rows[str(question)], after.columns[str(question)]
    assert columns[0] == "time"
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    texts = [name for name, value in zip(columns, rows[-1], strict=True) if isinstance(value, str)]
    assert texts in ([], ["metric"])


@pytest.mark.parametrize("board", [one for one in BOARDS if one.choices], ids=lambda board: board.uid)
async def test_there_is_something_to_choose(board: Board, database: Database, after: Answers) -> None:
    with psycopg.connect(database.conninfo(DatabaseRole.READER)) as reader:
        found = choices_of(reader, board)
    assert all(found.values()), found
    assert PLACE[0] in found["country"]
    assert PLACE[1] in found["city"]


async def test_values_are_those_of_the_bundled_file(after: Answers, bundled: BundledChain) -> None:
    """The summary's greatest value at one site is that of the file's first rows."""
    summary = after.rows["city-indicators: Summary"]
    named = dict(zip(after.columns["city-indicators: Summary"], summary[0], strict=True))
    assert (named["site"], named["values"], named["unit"]) == (
        "fd62:6b64:6d73:1::387",
        bundled.records,
        "SEC",
    )


async def test_the_reader_can_read_nothing_but_what_dashboards_need(
    database: Database, after: Answers
) -> None:
    with (
        psycopg.connect(database.conninfo(DatabaseRole.READER)) as reader,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        reader.execute("SELECT * FROM openings")
