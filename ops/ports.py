"""Loopback ports: chosen once for a data folder, then kept, so that clients find the same address again."""

import json
import random
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from ops.files import write_private
from pipeline.core.errors import ConfigError

HOST = "127.0.0.1"
# Below the range from which the system takes the local ports of outgoing connections.
FIRST_PORT = 20_000
LAST_PORT = 32_000
ATTEMPTS = 200
# A server that was just killed may hold its port for a moment.
PATIENCE_S = 5.0
POLL_S = 0.05


def reserve(file: Path, names: Iterable[str]) -> dict[str, int]:
    """The ports of ``names`` as ``file`` keeps them; missing ones are chosen among the free and added.

    Raises:
        ConfigError: the file is damaged, or no free port was found.
    """
    try:
        ports: dict[str, int] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    except ValueError as error:
        raise ConfigError(f"{file} is damaged: remove it, and new ports are chosen") from error
    missing = [name for name in names if name not in ports]
    for name in missing:
        ports[name] = _choose(taken=ports.values())
    if missing:
        write_private(file, json.dumps(ports, indent=1, sort_keys=True).encode())
    return ports


def demand_free(port: int, file: Path) -> None:
    """Wait a moment until nobody listens on ``port``.

    Raises:
        ConfigError: another program holds it.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not _is_free(port):
        if time.monotonic() > deadline:
            raise ConfigError(
                f"port {port} is in use by another program: stop that, or remove {file} to choose new ports"
            )
        time.sleep(POLL_S)


def is_open(port: int) -> bool:
    """Whether something accepts connections on ``port``."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _choose(taken: Iterable[int]) -> int:
    held = set(taken)
    for _ in range(ATTEMPTS):
        port = random.randint(FIRST_PORT, LAST_PORT)  # noqa: S311 - a port is no secret
        if port not in held and _is_free(port):
            return port
    raise ConfigError(f"no free port between {FIRST_PORT} and {LAST_PORT} on {HOST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: ports of connections that are winding down count as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
