"""Fixtures that more than one kind of test uses."""

import itertools
import os
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def unique_name() -> Callable[[str], str]:
    """Makes names that no other test of this session has: ``unique_name("t")`` gives ``t-<pid>-<n>``."""
    counter = itertools.count(1)
    return lambda stem: f"{stem}-{os.getpid()}-{next(counter)}"
