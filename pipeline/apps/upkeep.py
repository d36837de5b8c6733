"""What every program does beside its work: takes over renewed certificates, and looks at what it listens on itself.

Y.4810 clause 9 wants no door that nobody decided on: a socket that the table of access does not give to the program
makes it not ready, with an error in its log.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from ops.access_table import ACCESS, Socket
from ops.tls.principal import Role
from pipeline.adapters.listening_sockets import listening
from pipeline.adapters.tls import reload_changed
from pipeline.apps.observed import show_certificates
from pipeline.config import Settings
from pipeline.telemetry import metrics
from pipeline.telemetry.logs import logger

AUDIT_S: Final = 60.0
"""Between two looks at the sockets; the first is at the start."""

ROLE_OF: Final = {
    "node": Role.NODE,
    "validator": Role.VALIDATOR,
    "platform": Role.PLATFORM,
    "assess": Role.ASSESS,
    "export": Role.EXPORTER,
    "api": Role.API,
    "site": Role.SITE,
    # Runs with an analyst's certificate.
    "parquet": Role.ANALYST,
}
"""The row of the table of access for each kind of program."""

_ANY: Final = ("0.0.0.0", "[::]")  # noqa: S104  what a setting may say

_log = logger(__name__)


def allowed_sockets(program: str, settings: Settings) -> frozenset[str]:
    """Return ``host:port`` of what the table lets a program listen on, at the addresses of its settings."""
    places = {
        Socket.METRICS: (settings.worker.metrics_host, settings.worker.metrics_port),
        Socket.API: (settings.api.host, settings.api.port),
    }
    found = [places[socket] for socket in ACCESS[ROLE_OF[program]].listens]
    return frozenset(f"{_host(host)}:{port}" for host, port in found if port is not None)


@dataclass(slots=True)
class Upkeep:
    """The upkeep of one program; ``run`` goes on until it is cancelled."""

    allowed: frozenset[str]
    settings: Settings
    sockets: Callable[[], frozenset[str] | None] = listening
    _unexpected: frozenset[str] = frozenset()
    _told: set[str] = field(default_factory=set)

    @property
    def is_good(self) -> bool:
        """Whether nothing was found that must not be."""
        return not self._unexpected

    def audit(self) -> frozenset[str]:
        """Compare what this process listens on with what it may, and return the rest."""
        found = self.sockets()
        self._unexpected = frozenset() if found is None else unexpected(found, self.allowed)
        metrics.UNEXPECTED_SOCKETS.set(len(self._unexpected))
        for address in sorted(self._unexpected - self._told):
            _log.error("unexpected_socket", address=address, allowed=sorted(self.allowed))
        self._told = set(self._unexpected)
        return self._unexpected

    def reload(self) -> None:
        """Take over certificates that were renewed, and show when they run out."""
        changed = reload_changed()
        for files, problem in changed:
            metrics.CERTIFICATE_RELOADS.labels("good" if problem is None else "bad").inc()
            if problem is None:
                _log.info("certificate_reloaded", certificate=str(files.certificate))
            else:
                _log.error("certificate_not_reloaded", certificate=str(files.certificate), reason=problem)
        if changed:
            show_certificates(self.settings)

    async def run(self) -> None:
        """Reload every ``transport.reload_s`` and audit every minute."""
        metrics.show_zeros(metrics.CERTIFICATE_RELOADS, [("good",), ("bad",)])
        due_s = time.monotonic()
        while True:
            self.reload()
            if time.monotonic() >= due_s:
                self.audit()
                due_s = time.monotonic() + AUDIT_S
            await asyncio.sleep(self.settings.transport.reload_s)


def unexpected(found: frozenset[str], allowed: frozenset[str]) -> frozenset[str]:
    """Return those addresses that nothing allows; an allowed port on all addresses allows it on each."""
    ports = {address.rpartition(":")[2] for address in allowed if address.startswith(_ANY)}
    return frozenset(
        address
        for address in found - allowed
        if address.startswith(("/", "@")) or address.rpartition(":")[2] not in ports
    )


def upkeep_of(program: str, settings: Settings) -> Upkeep:
    """Return the upkeep of a program by its settings."""
    return Upkeep(allowed_sockets(program, settings), settings)


def _host(host: str) -> str:
    with suppress(ValueError):
        return f"[{host}]" if ip_address(host).version == 6 else host
    return "127.0.0.1" if host == "localhost" else host
