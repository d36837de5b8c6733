"""Chain state survives its way through rows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from pipeline.adapters.sql.engine import open_sqlite, transaction
from pipeline.adapters.sql.state_rows import clear_state, create_state_tables, load_state, save_changes
from pipeline.core.control import BackfillGrant
from pipeline.core.errors import ConfigError
from pipeline.core.keys import PublicKey, Use
from pipeline.core.merkle import Frontier
from pipeline.core.names import MAX_LONG, MAX_TIME_MS, SiteName
from pipeline.core.sealing import PRIVATE_BYTES, SEALING_ALGORITHM, SealingKey, Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import ChainState, Changes, Head, Offer, Position, Site, Tables, in_one
from tests.support.world import World, secret

GENESIS = World().genesis
KEYS = [
    *(Ed25519Signer(secret(f"k{i}"), Use.SITE).public for i in range(2)),
    *(SealingKey(a, secret(f"s{a}", PRIVATE_BYTES[a])).public for a in SEALING_ALGORITHM.values()),
]

texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
hashes = st.binary(min_size=32, max_size=32)
site_ids = st.binary(min_size=16, max_size=16)
times = st.integers(0, MAX_TIME_MS)
longs = st.integers(0, MAX_LONG)
names = st.builds(SiteName, st.sampled_from(["US", "IT"]), texts, site_ids)
keys: st.SearchStrategy[PublicKey] = st.sampled_from(KEYS)
sites = st.builds(
    Site,
    names,
    keys,
    st.lists(st.sampled_from(Suite), min_size=1, unique=True).map(tuple),
    st.lists(texts, max_size=3).map(tuple),
    st.lists(site_ids, max_size=3).map(tuple),
    st.booleans(),
)
positions = st.builds(Position, longs, hashes)
tables = st.builds(
    Tables,
    st.dictionaries(names, sites, max_size=3),
    st.dictionaries(names, positions, max_size=3),
    st.dictionaries(
        names,
        st.lists(st.builds(BackfillGrant, names, times, times, times), max_size=2).map(tuple),
        max_size=2,
    ),
    st.dictionaries(names, st.lists(st.builds(Offer, longs, keys, times), max_size=2).map(tuple), max_size=2),
    st.dictionaries(hashes, positions, max_size=2),
)
frontiers = st.lists(hashes, max_size=9).map(Frontier.EMPTY.extend)
heads = st.builds(Head, longs, hashes, frontiers, longs, longs, st.integers(-1, MAX_TIME_MS), longs, longs)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = open_sqlite(tmp_path_factory.mktemp("rows") / "state.db", durable=False)
    with transaction(engine) as connection:
        create_state_tables(connection, GENESIS)
    yield engine
    engine.dispose()


@settings(max_examples=60, deadline=None)
@given(first=tables, second=tables, head=heads)
def test_rows_of_changes_give_the_state_that_the_changes_gave(
    engine: Engine, first: Tables, second: Tables, head: Head
) -> None:
    with transaction(engine) as connection:
        clear_state(connection)
        save_changes(connection, Changes(first, head))
        save_changes(connection, Changes(second, head))
    with transaction(engine) as connection:
        state = load_state(connection, GENESIS)
    assert isinstance(state, ChainState)
    for part in Tables.__slots__:
        assert getattr(state.tables, part) == getattr(first, part) | getattr(second, part)
    assert state.head == head


@settings(max_examples=40, deadline=None)
@given(first=tables, second=tables, head=heads)
def test_changes_stored_together_are_as_those_stored_one_after_the_other(
    engine: Engine, first: Tables, second: Tables, head: Head
) -> None:
    together = in_one([Changes(first, Head(*range(8))), Changes(second, head)])
    assert together is not None
    with transaction(engine) as connection:
        clear_state(connection)
        save_changes(connection, together)
    with transaction(engine) as connection:
        state = load_state(connection, GENESIS)
    assert isinstance(state, ChainState)
    for part in Tables.__slots__:
        assert getattr(state.tables, part) == getattr(first, part) | getattr(second, part)
    assert state.head == head
    assert in_one([]) is None


def test_a_database_without_blocks_has_no_state(tmp_path: Path) -> None:
    engine = open_sqlite(tmp_path / "state.db")
    with transaction(engine) as connection:
        create_state_tables(connection, GENESIS)
        assert load_state(connection, GENESIS) is None


def test_a_database_of_another_chain_is_refused(tmp_path: Path) -> None:
    engine = open_sqlite(tmp_path / "state.db")
    with transaction(engine) as connection:
        create_state_tables(connection, GENESIS)
    with pytest.raises(ConfigError, match="holds chain"), transaction(engine) as connection:
        create_state_tables(connection, World(nodes=5, quorum=4).genesis)
