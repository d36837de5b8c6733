"""The certificates that a data folder holds: its authority's, and one for each program by role and name."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ops.tls.authority import Authority, CertificateFiles, is_fresh
from ops.tls.principal import Principal, Role


class Holders:
    """Issues certificates into one data folder, and renews what is old; makes the authority when there is none.

    Raises:
        ConfigError: the authority's files are damaged.
    """

    def __init__(self, data_dir: Path, now: Callable[[], datetime]) -> None:
        self._data_dir = data_dir
        self._now = now
        folder = data_dir / "tls"
        if (folder / "ca.key").exists():
            self._authority = Authority.load(folder)
        else:
            self._authority = Authority.create(folder, now=now())

    def issue(self, principal: Principal) -> CertificateFiles:
        """The certificate of ``principal``, made when it is missing or old."""
        folder = certificate_folder(self._data_dir, principal)
        files = self._authority.issued(folder)
        if is_fresh(files, now=self._now()):
            return files
        return self._authority.issue(principal, folder, now=self._now())

    def all(self) -> list[Principal]:
        """Everybody who has a certificate here."""
        found = (self._data_dir / "tls").glob("*/*/certificate.pem")
        return [Principal(Role(file.parts[-3]), file.parts[-2]) for file in found]


def certificate_folder(data_dir: Path, principal: Principal) -> Path:
    """Return where the stack keeps the certificate of one of its own programs."""
    return data_dir / "tls" / principal.role.value / principal.name
