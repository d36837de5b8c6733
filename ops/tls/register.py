"""The register of an authority: every certificate it issued, one JSON object a line."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from ops.files import PRIVATE_FILE_MODE
from ops.tls.principal import Principal
from pipeline.core.errors import ConfigError

REGISTER = "issued.jsonl"


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate: serial number in hexadecimal, whose it is, its life in ISO 8601, GMT, its authority's number.

    Entries of earlier releases don't say which authority it was: ``issuer`` is empty then.
    """

    serial: str
    principal: str
    begins: str
    ends: str
    issuer: str = ""

    @classmethod
    def of(
        cls, principal: Principal, certificate: x509.Certificate, issuer: x509.Certificate
    ) -> "IssuedCertificate":
        """The entry of a certificate."""
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        numbers = serial_text(certificate.serial_number), serial_text(issuer.serial_number)
        return cls(numbers[0], str(principal), _time(begins), _time(ends), numbers[1])


def serial_text(number: int) -> str:
    """Return a serial number as the register and the list of revoked ones have it."""
    return f"{number:x}"


def enter(folder: Path, entry: IssuedCertificate) -> None:
    """Add an entry; others may do so at the same time."""
    line = json.dumps(asdict(entry)).encode() + b"\n"
    handle = os.open(folder / REGISTER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE_MODE)
    with os.fdopen(handle, "ab", buffering=0) as file:
        file.write(line)
        os.fsync(handle)


def entries(folder: Path) -> Iterator[IssuedCertificate]:
    """Yield every entry, oldest first; a last line that was cut off is passed over.

    Raises:
        ConfigError: another line is damaged (code ``register``).
    """
    file = folder / REGISTER
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            yield IssuedCertificate(**json.loads(line))
        except (ValueError, TypeError):
            if number == len(lines) and not line.endswith(b"\n"):
                return
            raise ConfigError(
                f"{file} line {number} is damaged: take the file from a backup, or remove that line",
                code="register",
            ) from None


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
