"""Quotas of Kafka's clients by principal: what the table of access gives a role, and what was set by hand.

Spoken as Kafka's protocol has it (AlterClientQuotas and DescribeClientQuotas, version 0), since confluent-kafka has no
call for it. Any broker passes the request on to the controller.
"""

import socket
import ssl
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from types import MappingProxyType
from typing import Final

from ops.access_table import ACCESS, Quota
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Principal, Role
from pipeline.core.errors import ConfigError, TransientError

TIMEOUT_S: Final = 30
_DESCRIBE: Final = 48
_ALTER: Final = 49
_ANY_USER: Final = 2
_MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
# Our field -> Kafka's name.
_NAMES: Final[Mapping[str, str]] = {
    "produce_bytes_per_s": "producer_byte_rate",
    "consume_bytes_per_s": "consumer_byte_rate",
    "request_percent": "request_percentage",
}
NONE_GIVEN: Final[Mapping[Role, Quota]] = MappingProxyType({})


def keep_quotas(
    bootstrap: str,
    files: CertificateFiles,
    principals: Iterable[Principal],
    given: Mapping[Role, Quota] = NONE_GIVEN,
) -> list[Principal]:
    """Give principals the quota of their role, where they have none yet; return to whom one was given.

    What was set by hand stays, but for the roles in ``given``: theirs goes before the table's and before the hand's.

    Raises:
        TransientError: Kafka did not answer (code ``kafka``).
        ConfigError: Kafka refuses.
    """
    wanted = {who: given.get(who.role, ACCESS[who.role].quota) for who in principals}
    if not any(wanted.values()):
        return []
    held = quotas(bootstrap, files)
    missing = {
        who: quota
        for who, quota in wanted.items()
        if quota is not None
        and (str(who) not in held or (who.role in given and held[str(who)] != _values(quota)))
    }
    set_quotas(bootstrap, files, missing)
    return list(missing)


def _values(quota: Quota) -> dict[str, float]:
    return {_NAMES[name]: float(value) for name, value in asdict(quota).items()}


def set_quotas(bootstrap: str, files: CertificateFiles, wanted: Mapping[Principal, Quota]) -> None:
    """Set the quotas of principals, whatever they had.

    Raises:
        TransientError: Kafka did not answer (code ``kafka``).
        ConfigError: Kafka refuses.
    """
    if not wanted:
        return
    entries = [
        struct.pack(">i", 1)
        + _text("user")
        + _text(str(principal))
        + struct.pack(">i", len(_NAMES))
        + b"".join(_text(name) + struct.pack(">db", value, 0) for name, value in _values(quota).items())
        for principal, quota in wanted.items()
    ]
    body = struct.pack(">i", len(entries)) + b"".join(entries) + b"\0"
    answer = _ask(bootstrap, files, _ALTER, body)
    answer.number()
    for _ in range(answer.number()):
        code, message = answer.number(">h"), answer.text()
        for _ in range(answer.number()):
            answer.text()
            answer.text()
        if code:
            raise ConfigError(f"Kafka refuses a quota: {message or f'error {code}'}")


def quotas(bootstrap: str, files: CertificateFiles) -> dict[str, dict[str, float]]:
    """Return every principal's quotas by Kafka's names.

    Raises:
        TransientError: Kafka did not answer (code ``kafka``).
        ConfigError: Kafka refuses.
    """
    body = struct.pack(">i", 1) + _text("user") + struct.pack(">b", _ANY_USER) + _text(None) + b"\0"
    answer = _ask(bootstrap, files, _DESCRIBE, body)
    answer.number()
    code, message = answer.number(">h"), answer.text()
    if code:
        raise ConfigError(f"Kafka does not tell its quotas: {message or f'error {code}'}")
    found: dict[str, dict[str, float]] = {}
    for _ in range(answer.number()):
        names = [(answer.text(), answer.text()) for _ in range(answer.number())]
        values = {str(answer.text()): answer.real() for _ in range(answer.number())}
        found |= {name: values for kind, name in names if kind == "user" and name is not None}
    return found


class _Answer:
    """The fields of an answer, in order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def number(self, form: str = ">i") -> int:
        """Return the next whole number."""
        return int(self._next(form))

    def real(self) -> float:
        """Return the next fraction."""
        return float(self._next(">d"))

    def _next(self, form: str) -> float:
        value: float
        (value,) = struct.unpack_from(form, self._data, self._place)
        self._place += struct.calcsize(form)
        return value

    def text(self) -> str | None:
        """Return the next string, None for a null."""
        length = self.number(">h")
        if length < 0:
            return None
        self._place += length
        return self._data[self._place - length : self._place].decode()


def _text(value: str | None) -> bytes:
    if value is None:
        return struct.pack(">h", -1)
    data = value.encode()
    return struct.pack(">h", len(data)) + data


def _ask(bootstrap: str, files: CertificateFiles, key: int, body: bytes) -> _Answer:
    """Send one request over a connection of its own and return what follows the answer's number.

    Of several brokers the first that can be reached is asked.
    """
    *others, last = bootstrap.split(",")
    for broker in others:
        with suppress(TransientError):
            return _ask_one(broker, files, key, body)
    return _ask_one(last, files, key, body)


def _ask_one(bootstrap: str, files: CertificateFiles, key: int, body: bytes) -> _Answer:
    request = struct.pack(">hhi", key, 0, 1) + _text("bkdms-quotas") + body
    host, _, port = bootstrap.strip().rpartition(":")
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S) as plain,
            _context(files).wrap_socket(plain, server_hostname=host.strip("[]")) as stream,
        ):
            stream.sendall(struct.pack(">i", len(request)) + request)
            (length,) = struct.unpack(">i", _read(stream, 4))
            if not 4 <= length <= _MAX_ANSWER_BYTES:
                raise TransientError(f"Kafka at {bootstrap} answers with {length} bytes", code="kafka")
            return _Answer(_read(stream, length)[4:])
    except OSError as error:
        raise TransientError(
            f"Kafka at {bootstrap} did not answer about quotas: {error}", code="kafka"
        ) from error


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.certificate, files.key)
    return context


def _read(stream: ssl.SSLSocket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = stream.recv(length - len(data))
        if not part:
            raise ConnectionError("the connection was closed")
        data += part
    return data
