"""``bkdms status`` tells of sockets that nobody decided on, and is not good while there are any."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ops.child import ChildState, ChildStatus
from ops.files import write_private
from pipeline.apps.local import status
from pipeline.apps.local.status import PartStatus, StackStatus, read_status


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a socket on which this process listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as opened:
        yield int(opened.getsockname()[1])


def unexpected(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, ports: dict[str, int]
) -> tuple[StackStatus, tuple[str, ...]]:
    """What is told of a child that is this very process."""
    child = ChildStatus(name, ChildState.RUNNING, os.getpid(), None, 0, 0.0, "")
    monkeypatch.setattr(status, "holder", lambda _: 1)
    monkeypatch.setattr(status, "read_children", lambda _: (child,))
    text = "{" + ",".join(f'"{key}": {value}' for key, value in ports.items()) + "}"
    write_private(folder / "ports.json", text.encode())
    found = read_status(folder)
    return found, found.parts[0].unexpected


def test_a_port_that_was_given_to_the_part_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    address = f"127.0.0.1:{port}"
    assert address not in unexpected(tmp_path, monkeypatch, "redis", {"redis": port})[1]
    assert address not in unexpected(tmp_path, monkeypatch, "kafka", {"kafka_controller": port})[1]


def test_a_port_of_nobody_or_of_another_part_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    for ports in ({"redis": 1}, {"redis": 1, "kafka": port}):
        found, places = unexpected(tmp_path, monkeypatch, "redis", ports)
        assert f"127.0.0.1:{port}" in places
        assert not found.is_good


def test_a_stack_that_listens_where_it_should_is_good() -> None:
    part = PartStatus("redis", ChildState.RUNNING.value, 1, 0, 0.0, "")
    assert StackStatus("/d", 1, (part,)).is_good
