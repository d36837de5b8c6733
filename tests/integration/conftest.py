"""One real Kafka and one real Redis for the whole test session; each test can have topics of its own."""

from collections.abc import Callable, Iterator

import pytest

from ops.stack import EmbeddedStack
from pipeline.core.topics import Topics


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
