"""How to reach Redis: mutual TLS over TCP, or a Unix socket in a private folder.

Each connection reads the certificate files anew, so renewed ones need no reload.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from pipeline.adapters.tls import TlsFiles
from pipeline.core.errors import ConfigError

_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class RedisConnection:
    """Address and user; the password is read from its file at each connect."""

    username: str
    password_file: Path
    unix_socket: Path | None = None
    host: str | None = None
    port: int | None = None
    tls: TlsFiles | None = None

    def open(self) -> "Redis":
        """Return a client; it connects when first used.

        Raises:
            ConfigError: the password file or the address is missing.
        """
        try:
            password = self.password_file.read_text("ascii").strip()
        except OSError as error:
            raise ConfigError(f"cannot read the Redis password file {self.password_file}: {error}") from None
        retry = Retry(NoBackoff(), 0)  # our callers retry, and know what they retry
        if self.unix_socket is not None:
            return Redis(
                unix_socket_path=str(self.unix_socket),
                username=self.username,
                password=password,
                socket_timeout=_TIMEOUT_S,
                retry=retry,
            )
        if self.host is None or self.port is None or self.tls is None:
            raise ConfigError("Redis needs a Unix socket, or host, port and TLS files")
        return Redis(
            host=self.host,
            port=self.port,
            username=self.username,
            password=password,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=retry,
            ssl=True,
            ssl_ca_certs=str(self.tls.ca),
            ssl_certfile=str(self.tls.certificate),
            ssl_keyfile=str(self.tls.key),
            ssl_check_hostname=True,
            ssl_min_version=ssl.TLSVersion.TLSv1_3,
        )
