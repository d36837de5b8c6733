"""Folders of a deployment: files that change only when their content does, certificates that are renewed in time."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ops.files import private_folder, write_private
from ops.tls.authority import Authority, CertificateFiles
from ops.tls.holders import revoked_in
from ops.tls.principal import Principal
from ops.tls.revoked import REVOKED, read_revoked, revoked_bytes

CA = "ca.pem"
CLIENTS = "clients.pem"
CERTIFICATE = "certificate.pem"
KEY = "key.pem"
_SECRET_BYTES = 24


@dataclass
class Folders:
    """Every folder below ``root``; ``changed`` lists the files that were written, relative to it."""

    root: Path
    authority: Authority
    now: datetime
    changed: list[str] = field(default_factory=list)

    @property
    def revoked(self) -> list[Principal]:
        """Everybody whose certificates were taken back."""
        return revoked_in(self.authority.folder)

    def revoked_list(self) -> bytes:
        """The list of them, as servers read it."""
        return revoked_bytes(read_revoked(self.authority.folder / REVOKED))

    def put(self, name: str, file: str, content: bytes | str) -> Path:
        """Write a private file of ``name`` unless it holds just that."""
        path = private_folder(self.root / name) / file
        wanted = content.encode() if isinstance(content, str) else content
        if not path.exists() or path.read_bytes() != wanted:
            write_private(path, wanted)
            self.changed.append(f"{name}/{file}")
        return path

    def keep(self, name: str, file: str, source: Path) -> None:
        """Copy a secret to where it is used."""
        self.put(name, file, source.read_bytes())

    def make_secret(self, name: str, file: str) -> None:
        """Make a password where there is none yet."""
        if not (self.root / name / file).exists():
            self.put(name, file, secrets.token_urlsafe(_SECRET_BYTES))

    def certify(self, name: str, principal: Principal, hosts: tuple[str, ...] = ()) -> CertificateFiles:
        """Give ``name`` a certificate of its principal, a new one when the old one is old or names other hosts."""
        folder = private_folder(self.root / name)
        files = CertificateFiles.of(folder)
        if not self.authority.is_fresh(principal, files, now=self.now, hosts=hosts):
            self.authority.issue(principal, folder, now=self.now, hosts=hosts)
            self.changed.append(f"{name}/{CERTIFICATE}")
        return files
