"""Fixtures that more than one kind of test uses."""

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import hang, keys
from tests.support.postgres import Database, RunningPostgres, running_postgres


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """A test that hangs ends the session, and says where it was."""
    hang.watch(item, settings)
    return True


@pytest.fixture(scope="session", autouse=True)
def keys_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Passphrases of tests are cheap and lie in a folder of the session; keys that tests write may be plain."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in keys.environment(tmp_path_factory.mktemp("secrets")).items():
            environment.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def unique_name() -> Callable[[str], str]:
    """Makes names that no other test of this session has: ``unique_name("t")`` gives ``t-<pid>-<n>``."""
    counter = itertools.count(1)
    return lambda stem: f"{stem}-{os.getpid()}-{next(counter)}"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPostgres]:
    """A running PostgreSQL; who stops it has one of his own by ``running_postgres``."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture
def database(postgres: RunningPostgres) -> Iterator[Database]:
    """A fresh database on it, with roles and without tables."""
    with postgres.database() as made:
        yield made
