"""The certificates that a data folder holds: its authorities', and one for each program by role and name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ops.tls.authority import LEAF_LIFETIME, Authority, CertificateFiles
from ops.tls.exchange import CA_FOLDER
from ops.tls.generation import PLAIN_CA_KEYS, CaKeys
from ops.tls.principal import Principal, Role
from ops.tls.profile import Branch, branch_of
from ops.tls.revoked import REVOKED, read_revoked
from pipeline.core.errors import ConfigError

PKI_FOLDER = "pki"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long certificates last: those of sites and clients, and those of the platform's own parts."""

    sites: timedelta = LEAF_LIFETIME
    parts: timedelta = LEAF_LIFETIME

    def of(self, role: Role) -> timedelta:
        """The lifetime of a role's certificates."""
        return self.sites if branch_of(role) is Branch.SITES else self.parts


USUAL_LIFETIMES = Lifetimes()


class Holders:
    """Issues certificates into one data folder, and renews what is old; makes the authorities when there are none.

    Raises:
        ConfigError: the authorities' files are damaged.
    """

    def __init__(
        self,
        data_dir: Path,
        now: Callable[[], datetime],
        lifetimes: Lifetimes = USUAL_LIFETIMES,
        keys: CaKeys = PLAIN_CA_KEYS,
    ) -> None:
        self._folder = data_dir / PKI_FOLDER
        self._now = now
        self._lifetimes = lifetimes
        self._keys = keys
        if not Authority.exists(self._folder):
            Authority.create(self._folder, now=now(), keys=keys)
        self._loaded = Authority.load(self._folder, keys)
        self._stamp = self._seen()

    @property
    def authority(self) -> Authority:
        """The authorities as they are now: another program may replace one while this one runs.

        Raises:
            ConfigError: their files are damaged.
        """
        seen = self._seen()
        if seen != self._stamp:
            self._loaded, self._stamp = Authority.load(self._folder, self._keys), seen
        return self._loaded

    def _seen(self) -> tuple[int, int] | None:
        try:
            status = (self._folder / CA_FOLDER).stat()
        except FileNotFoundError:
            return None  # two generations change places
        return status.st_ino, status.st_mtime_ns

    def issue(self, principal: Principal) -> CertificateFiles:
        """The certificate of ``principal``, made when it is missing or old.

        Raises:
            ConfigError: the principal was revoked (code ``revoked``).
        """
        refuse_revoked(self._folder, principal)
        files = self.files(principal)
        if not self.authority.is_fresh(principal, files, now=self._now()):
            self._make(principal)
        return files

    def _make(self, principal: Principal) -> None:
        lifetime = self._lifetimes.of(principal.role)
        self.authority.issue(principal, self.files(principal).key.parent, now=self._now(), lifetime=lifetime)

    def renew(
        self,
        *,
        everything: bool = False,
        tell: Callable[[list[Principal]], None] = lambda _: None,
    ) -> list[Principal]:
        """Make anew what is old, or ``everything``; returns whose certificates were.

        ``tell`` hears whose of the servers were before any client's is: a server is to trust before it is asked.

        Raises:
            TransientError: as ``tell``; what is left is done by the next call.
        """
        servers = [one for one in self.all() if one.role.is_server]
        renewed = self._renew(servers, everything)
        tell(renewed)
        return renewed + self._renew([one for one in self.all() if not one.role.is_server], everything)

    def _renew(self, principals: Iterable[Principal], everything: bool) -> list[Principal]:
        now, authority = self._now(), self.authority
        old = [
            one for one in principals if everything or not authority.is_fresh(one, self.files(one), now=now)
        ]
        for principal in old:
            self._make(principal)
        return old

    def files(self, principal: Principal) -> CertificateFiles:
        """Where the certificate of ``principal`` is, or would be."""
        return CertificateFiles.of(self._folder / principal.role.value / principal.name)

    def revoked(self) -> list[Principal]:
        """Everybody who was revoked."""
        return revoked_in(self._folder)

    def all(self) -> list[Principal]:
        """Everybody who has a certificate here and was not revoked."""
        gone = read_revoked(self._folder / REVOKED)
        found = [
            Principal(Role(file.parts[-3]), file.parts[-2])
            for file in self._folder.glob("*/*/certificate.pem")
        ]
        return [principal for principal in found if str(principal) not in gone]


def revoked_in(folder: Path) -> list[Principal]:
    """Everybody whose certificates were taken back; ``folder`` is the authorities'.

    Raises:
        ConfigError: the list is damaged.
    """
    return [Principal.parse(name) for name in read_revoked(folder / REVOKED)]


def refuse_revoked(folder: Path, principal: Principal) -> None:
    """Refuse a name whose certificates were taken back; ``folder`` is the authorities'.

    Raises:
        ConfigError: it was revoked (code ``revoked``).
    """
    found = read_revoked(folder / REVOKED).get(str(principal))
    if found is not None:
        raise ConfigError(
            f"{principal} was revoked at {found.at}, and old certificates carry that name: choose another name",
            code="revoked",
        )


def certificate_folder(data_dir: Path, principal: Principal) -> Path:
    """Return where the stack keeps the certificate of one of its own programs."""
    return data_dir / PKI_FOLDER / principal.role.value / principal.name
