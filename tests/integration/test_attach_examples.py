"""The examples of docs/attach.md, as they stand there, against real Kafka, PostgreSQL and API."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ops.postgres.role_table import DatabaseRole
from ops.stack import EmbeddedStack
from pipeline.core.topics import Topics
from tests.support.attached import DEADLINE_S, City, bkdms, program, publish, running_city
from tests.support.postgres import Database, RunningPostgres
from tests.support.world import World

pytestmark = pytest.mark.stack
PAGE = Path(__file__).parents[2] / "docs" / "attach.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDICATOR = "LOCAL:TRAFFIC_SPEED"
CITY = World().site(1).name.city
BIN = str(Path(sys.executable).parent)


def examples() -> dict[str, str]:
    """The code blocks of the page that have a file's name in their first line, and the one of `tail`."""
    found = {}
    for language, text in BLOCK.findall(PAGE.read_text("utf-8")):
        name = re.match(r"# (\w+\.\w+)", text)
        if name:
            found[name[1]] = text
        elif language == "sh":
            found["tail.sh"] = text
    return found


@pytest.fixture(scope="module")
def database(postgres: RunningPostgres) -> Iterator[Database]:
    """One database for the page."""
    with postgres.database() as made:
        yield made


@pytest.fixture(scope="module")
async def city(
    stack: EmbeddedStack,
    database: Database,
    unique_name: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[City]:
    """A running city whose store is in PostgreSQL."""
    topics = Topics(f"{unique_name('t')}.")
    stack.add_topics(topics)
    made = City(
        stack,
        topics,
        tmp_path_factory.mktemp("city"),
        store_url=database.url(DatabaseRole.PLATFORM),
        api_store_url=database.url(DatabaseRole.API),
        reader_url=database.url(DatabaseRole.READER),
    )
    height = await publish(made)
    with running_city(made, height) as running:
        yield running


@pytest.fixture(scope="module")
def client(city: City, unique_name: Callable[[str], str]) -> Iterator[Path]:
    """The folder that `bkdms attach` makes, with the page's examples in it."""
    folder, settings = city.folder / "client", city.operator_settings()
    argv = bkdms(
        "attach", "--name", unique_name("c"), "--topics", "observations,blocks,chain", "-o", str(folder)
    )
    with program([*argv, "--data-dir", str(city.stack.data_dir)], city.folder) as said:
        said.process.wait(60)
        assert said.process.returncode == 0, said.found
    for name, text in examples().items():
        (folder / name).write_text(_named(text, city))
    (folder / "bkdms.toml").open("a").write('\n[parquet]\nfolder = "values"\nflush_ms = 100\n')
    yield folder
    settings.unlink()


def _named(text: str, city: City) -> str:
    """Put this test's names and addresses in the place of the page's."""
    for topic in Topics().all():
        text = text.replace(topic, f"{city.topics.prefix}{topic}")
    store = re.compile(r'f"postgresql\+psycopg://[^"]+"')
    return store.sub(lambda _: repr(city.reader_url), text).replace("unlocode:USMES", CITY)


def run(folder: Path, *argv: str, **environment: str) -> str:
    """Run a program to its good end, with our own before others; return what it said."""
    path = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        argv,
        cwd=folder,
        env=os.environ | path | environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("with_confluent.py", ()), ("with_aiokafka.py", ()), ("with_faust.py", ("worker", "-l", "warn"))],
)
def test_a_python_client_reads_every_value(
    client: Path, city: City, name: str, arguments: tuple[str, ...]
) -> None:
    with program([sys.executable, name, *arguments], client) as said:
        lines = said.until(lambda found: sum(INDICATOR in line for line in found) >= city.values)
    values = [line for line in lines if INDICATOR in line]
    assert len(values) == city.values
    assert all(CITY in line.split() for line in values)


def test_tail_shows_topics_as_the_page_says(client: Path) -> None:
    lines = run(client, "sh", "-e", "tail.sh").splitlines()
    observed = [line for line in lines if " Observations " in line]
    assert len(observed) == 10 + 5
    assert sum(line.startswith('{"kafka":') and '"CertifiedBlock"' in line for line in lines) > 1


@pytest.mark.faults
def test_parquet_files_hold_each_value_once_although_the_worker_is_killed(client: Path, city: City) -> None:
    worker = bkdms("--config", "bkdms.toml", "worker", "parquet")
    folder = client / "values"
    with program(worker, client) as said:
        said.until(lambda _: any((folder / "_bkdms").glob("position.json")))
        said.process.send_signal(signal.SIGKILL)
    with program(worker, client) as said:
        said.until(lambda found: any("worker_started" in line for line in found))
        said.until(lambda _: _values(folder) >= city.values)
        said.process.terminate()
        assert said.process.wait(30) == 0
    assert _values(folder) == city.values
    table = run(client, sys.executable, "parquet_duckdb.py")
    assert CITY in table
    assert INDICATOR in table
    assert f"{city.values} values, each once: True" in run(client, sys.executable, "parquet_pandas.py")
    stored = run(client, sys.executable, "store_pandas.py")
    assert re.search(rf"{INDICATOR}\s+{city.values}\b", stored)
    assert "0 rows" in stored


def _values(folder: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("city=*/day=*/*.parquet"))


def test_curl_reads_the_api(client: Path, city: City) -> None:
    said = run(client, "sh", "-e", "api.sh", URL=city.api_url)
    assert '"ready"' in said or '"height"' in said
    assert f"{city.topics.observations}-value" in said
    assert '"name": "Observations"' in said or '"name":"Observations"' in said


def test_the_page_has_all_the_examples_that_are_tested() -> None:
    assert examples().keys() == {
        "tail.sh",
        "with_confluent.py",
        "with_aiokafka.py",
        "with_faust.py",
        "parquet_duckdb.py",
        "parquet_pandas.py",
        "store_pandas.py",
        "api.sh",
    }
