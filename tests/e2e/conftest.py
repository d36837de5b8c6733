"""One whole deployment, every program a process of its own, for the tests of a run with faults."""

from collections.abc import Iterator

import pytest

from pipeline.apps.demo.run import Show, make_show


@pytest.fixture(scope="session")
def show(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Show]:
    """Everything running on a fresh chain; nobody is enrolled yet."""
    running = make_show(tmp_path_factory.mktemp("e2e"), lambda _: None)
    running.deployment.start()
    yield running
    running.deployment.stop()
