"""One real Kafka and one real Redis for the whole test session; each test can have topics of its own."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from ops.stack import EmbeddedStack
from pipeline.core.topics import Topics
from tests.support.postgres import RunningPostgres
from tests.support.store_schemas import StoreSchemas
from tests.support.stored_chain import StoredChain


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """A running stack in a temporary folder."""
    with EmbeddedStack(tmp_path_factory.mktemp("stack"), is_short_lived=True) as running:
        yield running


@pytest.fixture
def topics(stack: EmbeddedStack, unique_name: Callable[[str], str]) -> Topics:
    """The eight topics under a prefix of this test's own."""
    own = Topics(f"{unique_name('t')}.")
    stack.add_topics(own)
    return own


@pytest.fixture(scope="module")
def schemas(postgres: RunningPostgres) -> Iterator[StoreSchemas]:
    """Empty schemas for stores, in a database of the module's own."""
    with postgres.database() as database:
        made = StoreSchemas(database)
        yield made
        made.close()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredChain:
    """Six blocks, and the keys that open most of their packets."""
    return StoredChain(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
async def filled(schemas: StoreSchemas, stored: StoredChain) -> AsyncIterator[str]:
    """Name of a schema with a store of all six blocks, for tests that leave it as it was."""
    name = schemas.name()
    await stored.fill_into(schemas.at(name))
    yield name
