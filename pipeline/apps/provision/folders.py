"""Folders of a deployment: files that change only when their content does, certificates that are renewed in time."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ops.files import private_folder, write_private
from ops.tls.authority import Authority, CertificateFiles, is_fresh, names_hosts
from ops.tls.principal import Principal

CA = "ca.pem"
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
        files = CertificateFiles(folder / CA, folder / CERTIFICATE, folder / KEY)
        root = self.authority.certificate_file.read_bytes()
        is_ours = files.ca.exists() and files.ca.read_bytes() == root
        is_named = not principal.role.is_server or names_hosts(files, hosts)
        if not (is_ours and is_named and is_fresh(files, now=self.now)):
            self.authority.issue(principal, folder, now=self.now, hosts=hosts)
            self.changed.append(f"{name}/{CERTIFICATE}")
        self.put(name, CA, root)
        return files
