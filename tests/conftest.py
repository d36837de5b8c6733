"""Fixtures that more than one kind of test uses, and how Hypothesis searches: not by the clock, and the same each time.

``--hypothesis-profile=searching`` looks for new examples, ``--hypothesis-profile=thorough`` multiplies those of the
state machines with faults; ``make determinism`` does.
"""

import itertools
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.support import hang, keys
from tests.support.postgres import Database, RunningPostgres, running_postgres

settings.register_profile("bkdms", deadline=None, print_blob=True, derandomize=True, database=None)
settings.register_profile("thorough", settings.get_profile("bkdms"), max_examples=1000)
settings.register_profile("searching", settings.get_profile("bkdms"), derandomize=False)
settings.load_profile("bkdms")


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


@pytest.fixture(autouse=True)
def logging_of_its_own() -> Iterator[None]:
    """What a program sets up for its log in the process of a test, on the test's own streams, ends with the test."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
    root.setLevel(level)


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
