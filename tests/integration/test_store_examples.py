"""Every question in docs/store.md runs as it stands and finds something, as an analyst, on both databases."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, insert, text

from ops.postgres.role_table import DatabaseRole
from pipeline.adapters.sql.assessment_tables import assessments
from pipeline.adapters.sql.engine import open_engine, open_existing, transaction
from pipeline.adapters.sql.schema import VIEWS
from pipeline.apps.store_database import open_store
from tests.support.postgres import Database, RunningPostgres
from tests.support.stored_chain import StoredChain

pytestmark = pytest.mark.stack
PAGE = Path(__file__).parents[2] / "docs" / "store.md"
QUESTIONS = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
ANYWHERE = [question for question in QUESTIONS if not question.startswith("-- PostgreSQL")]


def add_figure(engine: Engine) -> None:
    """Store an assessment, as the assess worker would."""
    row = {
        "country": "US",
        "city": "unlocode:USMES",
        "site_id": "10.0.0.1",
        "indicator": "A",
        "data_point": "",
    }
    row |= {
        "kind": "value",
        "formula": "mean",
        "chain_id": "https://x",
        "window": "day",
        "exact": "1",
        "unit": "HM",
    }
    numbers = {
        "window_start": 0,
        "window_end": 86_400_000,
        "value": 1.0,
        "achieved": 1,
        "possible": 1,
        "quality": 1,
    }
    rest = {
        "verified": True,
        "finding": "",
        "tracing_codes": "[]",
        "tracing_count": 0,
        "tracing_digest": bytes(32),
    }
    with transaction(engine) as connection:
        connection.execute(insert(assessments).values(row | numbers | rest))
    engine.dispose()


@pytest.fixture(scope="module")
async def in_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    stored = StoredChain(tmp_path_factory.mktemp("stores"))
    url = f"sqlite:///{await stored.fill('whole.sqlite', 6)}"
    add_figure(open_engine(url))
    return url


@pytest.fixture(scope="module")
def database(postgres: RunningPostgres) -> Iterator[Database]:
    with postgres.database() as made:
        yield made


@pytest.fixture(scope="module")
async def as_reader(database: Database, tmp_path_factory: pytest.TempPathFactory) -> str:
    stored = StoredChain(tmp_path_factory.mktemp("stores"))
    open_store(database.url(), stored.genesis).close()
    await stored.fill_into(open_engine(database.url()))
    add_figure(open_engine(database.url()))
    return database.conninfo(DatabaseRole.READER)


def test_there_are_questions() -> None:
    assert len(QUESTIONS) > len(ANYWHERE) > 4


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_finds_something_in_postgresql(as_reader: str, question: str) -> None:
    with psycopg.connect(as_reader) as reader:
        assert reader.execute(question.encode()).fetchall()


@pytest.mark.parametrize("question", ANYWHERE)
def test_a_question_finds_something_in_a_file(in_file: str, question: str) -> None:
    engine = open_existing(in_file)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(question).all()
    engine.dispose()


@pytest.mark.parametrize("view", VIEWS)
def test_the_page_lists_the_columns_of_a_view(in_file: str, as_reader: str, view: str) -> None:
    (row,) = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith(f"| `{view}`")]
    named = re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row))[1:]
    engine = open_existing(in_file)
    with engine.connect() as connection:
        assert list(connection.execute(text(f"SELECT * FROM {view}")).keys()) == named
    engine.dispose()
    with psycopg.connect(as_reader) as reader:
        found = reader.execute(f"SELECT * FROM {view} LIMIT 0".encode()).description or []
    assert [column.name for column in found] == named
