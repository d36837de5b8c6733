"""One whole deployment, every program a process of its own, for the tests of a run with faults."""

from collections.abc import Iterator

import pytest

from pipeline.apps.demo.run import Show, make_show
from tests.support.collector import Collector, running_collector


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """A collector of traces."""
    with running_collector() as running:
        yield running


@pytest.fixture(scope="session")
def show(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Show]:
    """Everything running on a fresh chain, every packet traced; nobody is enrolled yet."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BKDMS_TRACES__ENDPOINT", collector.endpoint)
        environment.setenv("BKDMS_TRACES__RATIO", "1")
        running = make_show(tmp_path_factory.mktemp("e2e"), lambda _: None)
        running.deployment.start()
        yield running
        running.deployment.stop()
