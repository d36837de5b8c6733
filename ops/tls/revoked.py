"""Whom certificates were taken back from. Names stay on the list for ever: old certificates still carry them."""

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ops.files import private_folder, write_private
from pipeline.core.errors import ConfigError

REVOKED = "revoked.json"


@dataclass(frozen=True, slots=True)
class Revocation:
    """When (ISO 8601, GMT) and why a principal was revoked, and the serial numbers it held (hexadecimal)."""

    at: str
    reason: str
    serials: tuple[str, ...] = ()


def read_revoked(file: Path) -> dict[str, Revocation]:
    """Return every revocation by principal (``role:name``); nobody where there is no file yet.

    Raises:
        ConfigError: the file can't be read or is damaged (code ``revoked``).
    """
    try:
        found = json.loads(file.read_text("utf-8"))
        return {
            str(name): Revocation(str(one["at"]), str(one["reason"]), tuple(map(str, one["serials"])))
            for name, one in found.items()
        }
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(
            f"{file}: {error.strerror}; let us read the list of revoked", code="revoked"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError(f"{file} is damaged: take it from a backup", code="revoked") from None


def revoked_bytes(revoked: Mapping[str, Revocation]) -> bytes:
    """Return the file of these revocations."""
    return json.dumps({name: asdict(one) for name, one in sorted(revoked.items())}, indent=1).encode()


def add_revocation(file: Path, principal: str, revocation: Revocation) -> bool:
    """Put a principal on the list; False when it is there already, with its first date and reason.

    Raises:
        ConfigError: the file is damaged.
    """
    found = read_revoked(file)
    if principal in found:
        return False
    private_folder(file.parent)
    write_private(file, revoked_bytes(found | {principal: revocation}))
    return True


class RevokedFile:
    """The list as a server asks it, read again whenever the file changes. May be asked by several threads.

    Raises:
        ConfigError: the file is damaged at the start.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._names: frozenset[str] = frozenset()
        self._serials: frozenset[str] = frozenset()
        self._look()

    def is_revoked(self, principal: str, serial: str = "") -> bool:
        """Tell whether the holder's name or this one certificate (hexadecimal serial number) is on the list."""
        with self._lock:
            try:
                self._look()
            except ConfigError:
                # Nobody comes off the list by damaging it.
                self._seen = None
            return principal in self._names or serial.lower().lstrip("0") in self._serials

    def _look(self) -> None:
        seen = _stamp(self._file)
        if seen == self._seen:
            return
        found = read_revoked(self._file)
        self._names |= found.keys()
        self._serials |= {serial for one in found.values() for serial in one.serials}
        self._seen = seen


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size
