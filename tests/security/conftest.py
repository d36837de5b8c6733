"""One running deployment for all attacks, and the table that is printed at the end."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.security.attack import Attack, Findings
from tests.security.ground import Ground, open_ground

_FINDINGS = pytest.StashKey[Findings]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin an empty table."""
    config.stash[_FINDINGS] = Findings()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Flood last: what it leaves in the topic would keep the others waiting."""
    items.sort(key=lambda item: "test_flood" in item.nodeid)


@pytest.fixture(scope="session")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """Everything running, with sites enrolled."""
    async with open_ground(tmp_path_factory.mktemp("security") / "d") as opened:
        yield opened


@pytest.fixture
def see(ground: Ground, pytestconfig: pytest.Config) -> Callable[[Attack], Awaitable[str]]:
    """Carry out an attack, note it in the table and return what was seen."""
    findings = pytestconfig.stash[_FINDINGS]
    return lambda attack: findings.see(attack, ground)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was tried, expected and seen."""
    findings = config.stash[_FINDINGS]
    if findings.rows:
        terminalreporter.section("attacks")
        for line in findings.table():
            terminalreporter.write_line(line)
