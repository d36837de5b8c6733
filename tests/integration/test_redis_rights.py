"""Who may talk to Redis, and which commands each user may run."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from ops.child import ChildSpec
from ops.redis import server
from ops.stack import EmbeddedStack
from ops.supervisor import Supervisor
from ops.tls.authority import CertificateFiles

pytestmark = pytest.mark.stack


def client(stack: EmbeddedStack, user: str) -> redis.Redis:
    """A client of ``user`` with a certificate."""
    return server.client(stack.redis_address(user, stack.credentials("node", "n1")))


@pytest.mark.parametrize(
    "command",
    [
        ("CONFIG", "GET", "*"),
        ("CONFIG", "SET", "appendfsync", "no"),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("SCRIPT", "FLUSH"),
        ("DEBUG", "SLEEP", "0"),
        ("SHUTDOWN",),
        ("ACL", "LIST"),
        ("SET", "other:key", "x"),
        ("EVAL", "return redis.call('set', KEYS[1], 'x')", "1", "other:key"),
    ],
    ids=" ".join,
)
def test_a_node_is_refused(stack: EmbeddedStack, command: tuple[str, ...]) -> None:
    """Commands on the server and keys of others are not a node's."""
    with (
        client(stack, "node") as node,
        pytest.raises(redis.exceptions.ResponseError, match=r"permission|not allowed"),
    ):
        node.execute_command(*command)


def test_a_node_commits_by_script(stack: EmbeddedStack, unique_name: Callable[[str], str]) -> None:
    """A registered script runs on keys below bkdms:, loaded by EVAL when the server does not know it."""
    key = f"bkdms:{unique_name('k')}"
    with client(stack, "node") as node:
        script = "redis.call('hset', KEYS[1], 'height', ARGV[1]) return redis.call('hget', KEYS[1], 'height')"
        assert node.eval(script, 1, key, "7") == b"7"
        assert node.hgetall(key) == {b"height": b"7"}


def test_a_reader_reads_and_does_not_write(stack: EmbeddedStack, unique_name: Callable[[str], str]) -> None:
    """The API's user sees what a node wrote and can't change it."""
    key = f"bkdms:{unique_name('k')}"
    with client(stack, "node") as node, client(stack, "reader") as reader:
        node.set(key, b"1")
        assert reader.get(key) == b"1"
        with pytest.raises(redis.exceptions.NoPermissionError):
            reader.set(key, b"2")


def test_every_write_is_on_disk_before_it_is_answered(stack: EmbeddedStack) -> None:
    """The settings of durability are those the ledger needs."""
    with client(stack, "admin") as admin:
        settings = admin.config_get("append*", "maxmemory*")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["maxmemory-policy"] == "noeviction"


def test_without_a_password_nothing_works(stack: EmbeddedStack) -> None:
    """A certificate alone is not enough: the default user is off."""
    files, address = (
        stack.credentials("validator", "v1"),
        stack.redis_address("node", stack.credentials("node", "n1")),
    )
    with (
        tls_client(address, ssl_certfile=str(files.certificate), ssl_keyfile=str(files.key)) as stranger,
        pytest.raises((redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError)),
    ):
        stranger.get("bkdms:x")


def test_without_a_certificate_nothing_works(stack: EmbeddedStack) -> None:
    """A password alone is not enough."""
    address = stack.redis_address("node", stack.credentials("node", "n1"))
    password = address.password_file.read_text("ascii")
    with (
        tls_client(address, username="node", password=password) as stranger,
        pytest.raises(redis.exceptions.ConnectionError),
    ):
        stranger.ping()


def test_without_tls_nothing_works(stack: EmbeddedStack) -> None:
    """There is no plain port."""
    address = stack.redis_address("node", stack.credentials("node", "n1"))
    assert address.host is not None
    assert address.port is not None
    with (
        redis.Redis(host=address.host, port=address.port, retry=server.NO_RETRY) as stranger,
        pytest.raises(redis.exceptions.ConnectionError),
    ):
        stranger.ping()


def test_the_bundled_redis_listens_on_a_private_socket_only(tmp_path: Path) -> None:
    """Where the system has no Redis, the wheel's one runs without any TCP port, with the same users."""
    place = server.RedisPlace(server.bundled_program(), tmp_path / "redis", tmp_path / "redis.log", 0)
    unused = CertificateFiles(Path("-"), Path("-"), Path("-"))
    server.prepare(place, unused)
    address = place.address("node", unused)
    with supervisor(tmp_path) as running:
        running.start(
            ChildSpec(
                name="redis",
                argv=tuple(server.command(place)),
                log_file=tmp_path / "redis.out",
                probe=lambda: server.is_ready(address),
            )
        )
        with server.client(address) as node:
            assert node.set("bkdms:x", b"1")
            with pytest.raises(redis.exceptions.NoPermissionError):
                node.flushall()
        with server.client(place.address("admin", unused)) as admin:
            assert admin.config_get("port") == {"port": "0"}
    assert place.folder.stat().st_mode & 0o777 == 0o700


@contextmanager
def supervisor(folder: Path) -> Iterator[Supervisor]:
    """A supervisor that ends with the test."""
    made = Supervisor(folder)
    try:
        yield made
    finally:
        made.close()


def tls_client(address: server.RedisAddress, **settings: str) -> redis.Redis:
    """A client that speaks TLS to the same place, with settings of its own."""
    assert address.host is not None
    assert address.port is not None
    assert address.tls is not None
    return redis.Redis(
        host=address.host,
        port=address.port,
        ssl=True,
        ssl_ca_certs=str(address.tls.ca),
        ssl_min_version=ssl.TLSVersion.TLSv1_3,
        retry=server.NO_RETRY,
        **settings,  # type: ignore[arg-type]  # each is a string that the client takes
    )
