"""A program knows what it listens on, and says so when nobody decided on it."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import structlog
from prometheus_client import REGISTRY

from ops.access_table import ACCESS
from ops.tls.principal import Role
from pipeline.adapters.listening_sockets import listening
from pipeline.apps.observed import PROGRAMS
from pipeline.apps.upkeep import ROLE_OF, Upkeep, allowed_sockets, unexpected, upkeep_of
from pipeline.config import Settings


def settings(**tables: object) -> Settings:
    return Settings.model_validate(tables)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[set[str]]:
    """Sockets of each kind, open while the test runs: the addresses that listen."""
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as tcp,
        closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as tcp6,
        closing(socket.socket(type=socket.SOCK_DGRAM)) as udp,
        closing(socket.socket(socket.AF_UNIX)) as unix,
    ):
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        yield {
            f"127.0.0.1:{tcp.getsockname()[1]}",
            f"[::1]:{tcp6.getsockname()[1]}",
            f"127.0.0.1:{udp.getsockname()[1]}",
            str(tmp_path / "s"),
        }


def test_every_kind_of_socket_is_seen(opened: set[str]) -> None:
    assert opened <= (listening() or set())


def test_closed_and_outgoing_sockets_are_none(opened: set[str]) -> None:
    before = listening()
    assert before is not None
    tcp = next(one for one in opened if one.startswith("127.0.0.1"))
    with closing(socket.socket()) as client, closing(socket.socket(type=socket.SOCK_DGRAM)) as asking:
        with suppress(ConnectionRefusedError):
            client.connect(("127.0.0.1", int(tcp.rpartition(":")[2])))
        asking.connect(("127.0.0.1", 9))
        assert listening() == before


def test_another_process_is_seen_by_its_number() -> None:
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert listening(child.pid) == frozenset({f"127.0.0.1:{port}"})
        child.communicate("")
    assert listening(child.pid) is None


def test_every_kind_of_program_has_its_row() -> None:
    assert set(ROLE_OF) == set(PROGRAMS)
    assert set(ROLE_OF.values()) <= set(ACCESS)


def test_a_site_listens_on_nothing() -> None:
    assert allowed_sockets("site", settings()) == frozenset()


def test_a_program_listens_where_its_settings_say() -> None:
    given = settings(worker={"metrics_port": 9100}, api={"port": 8480, "host": "::1"})
    assert allowed_sockets("node", given) == {"127.0.0.1:9100"}
    assert allowed_sockets("api", given) == {"[::1]:8480"}
    assert allowed_sockets("site", given) == {"127.0.0.1:9100"}


@pytest.mark.parametrize("role", [Role.REGISTRAR, Role.AUDITOR, Role.CLIENT, Role.ADMIN])
def test_commands_listen_on_nothing(role: Role) -> None:
    assert ACCESS[role].listens == ()


@pytest.mark.parametrize(
    ("found", "rest"),
    [
        ({"127.0.0.1:9100"}, set[str]()),
        ({"127.0.0.1:9100", "127.0.0.1:6066"}, {"127.0.0.1:6066"}),
        ({"0.0.0.0:9100"}, {"0.0.0.0:9100"}),
        ({"/run/x", "@abstract"}, {"/run/x", "@abstract"}),
    ],
)
def test_what_no_setting_names_is_unexpected(found: set[str], rest: set[str]) -> None:
    assert unexpected(frozenset(found), frozenset({"127.0.0.1:9100"})) == rest


def test_a_port_on_all_addresses_is_allowed_on_each() -> None:
    """And a path that ends like it is not."""
    allowed = frozenset({"0.0.0.0:9100"})
    assert unexpected(frozenset({"0.0.0.0:9100", "[::]:9100", "10.0.0.1:9100"}), allowed) == frozenset()
    assert unexpected(frozenset({"/run/x:9100"}), allowed) == {"/run/x:9100"}


def test_an_unexpected_socket_is_an_error_a_figure_and_unreadiness_until_it_is_gone() -> None:
    open_now = {"127.0.0.1:6066"}
    upkeep = Upkeep(frozenset(), settings(), lambda: frozenset(open_now))
    with structlog.testing.capture_logs() as events:
        upkeep.audit()
        upkeep.audit()
    assert [(event["event"], event["log_level"], event["address"]) for event in events] == [
        ("unexpected_socket", "error", "127.0.0.1:6066")
    ]
    was_good = upkeep.is_good
    assert not was_good
    assert REGISTRY.get_sample_value("bkdms_unexpected_sockets") == 1
    open_now.clear()
    assert upkeep.audit() == frozenset()
    assert upkeep.is_good
    assert REGISTRY.get_sample_value("bkdms_unexpected_sockets") == 0


async def test_the_first_look_is_at_the_start() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as stray:
        upkeep = upkeep_of("site", settings())
        task = asyncio.create_task(upkeep.run())
        async with asyncio.timeout(10):
            while upkeep.is_good:
                await asyncio.sleep(0.01)
        task.cancel()
        assert f"127.0.0.1:{stray.getsockname()[1]}" in upkeep.audit()


def test_where_nothing_can_be_told_nothing_is_claimed() -> None:
    assert Upkeep(frozenset(), settings(), lambda: None).audit() == frozenset()
    assert listening(2**22 + os.getpid()) is None
