"""A real PostgreSQL for a test session, and databases of their own for tests."""

import contextlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from ops import ports
from ops.child import ChildStatus
from ops.files import private_folder
from ops.postgres import roles, server
from ops.postgres.program import find_programs
from ops.postgres.role_table import CERTIFICATE_ROLES, DatabaseRole
from ops.supervisor import Supervisor
from ops.tls.authority import Authority, CertificateFiles
from ops.tls.principal import Principal, Role

NAME = "postgres"


@dataclass(frozen=True, slots=True)
class Database:
    """An empty database with its roles; ``url`` is what settings take, ``conninfo`` what psycopg and psql take."""

    running: "RunningPostgres"
    name: str

    def url(self, role: DatabaseRole = DatabaseRole.PLATFORM) -> str:
        """SQLAlchemy's URL for a role, with its certificate."""
        return server.url(self.running.place, role, self.name, self.running.files(role))

    def conninfo(self, role: DatabaseRole = DatabaseRole.PLATFORM) -> str:
        """libpq's connection string for a role, with its certificate."""
        return server.address(self.running.place, role, self.name, self.running.files(role))

    def grant(self) -> None:
        """Give the roles their rights on the tables and views made so far."""
        with psycopg.connect(self.conninfo()) as owner:
            roles.grant_tables(owner)


@dataclass(slots=True)
class RunningPostgres:
    """A PostgreSQL in a temporary folder, with an authority of its own."""

    folder: Path
    place: server.PostgresPlace
    authority: Authority
    supervisor: Supervisor
    _count: Iterator[int] = field(default_factory=itertools.count)

    def files(self, role: DatabaseRole) -> CertificateFiles:
        """The certificate that speaks for a database role."""
        holder = next(held for held, database_role in CERTIFICATE_ROLES.items() if database_role == role)
        return self.certificate(Principal(holder, "test"))

    def certificate(self, principal: Principal) -> CertificateFiles:
        """The certificate of any principal; made once."""
        folder = self.folder / "clients" / principal.role.value / principal.name
        if (folder / "certificate.pem").exists():
            return CertificateFiles.of(folder)
        return self.authority.issue(principal, folder, now=datetime.now(UTC))

    @property
    def admin(self) -> str:
        """Connection string of the superuser to the server's first database."""
        return server.admin_address(self.place, self.certificate(Principal(Role.ADMIN, "test")))

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A fresh database, dropped at the end with whoever is still connected."""
        made = Database(self, f"test_{next(self._count)}")
        roles.apply_roles(self.admin, made.name)
        try:
            yield made
        finally:
            # A test may have stopped the server for good.
            with (
                contextlib.suppress(psycopg.OperationalError),
                psycopg.connect(self.admin, autocommit=True) as c,
            ):
                c.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(made.name))
                )

    def stop(self) -> None:
        """Stop the server, as an outage; ``start`` brings it back at the same address with the same data."""
        self.supervisor.stop(NAME)

    def kill(self) -> None:
        """SIGKILL the server."""
        self.supervisor.kill(NAME)

    def start(self) -> None:
        """Start it again and wait until it answers."""
        self.supervisor.restart(NAME)

    def status(self) -> ChildStatus:
        """The server's process."""
        return self.supervisor.children()[0]


@contextmanager
def running_postgres(folder: Path) -> Iterator[RunningPostgres]:
    """Run a PostgreSQL in ``folder`` until the block ends."""
    now = datetime.now(UTC)
    private_folder(folder)
    tls = folder / "authority"
    authority = Authority.load(tls) if Authority.exists(tls) else Authority.create(tls, now=now)
    port = ports.reserve(folder / "ports.json", [NAME])[NAME]
    place = server.place(find_programs(), folder / NAME, port)
    files = authority.issue(Principal(Role.POSTGRES, "1"), folder / "server", now=now)
    server.prepare(place, files, is_short_lived=True)
    supervisor = Supervisor(folder)
    made = RunningPostgres(folder, place, authority, supervisor)
    admin = made.certificate(Principal(Role.ADMIN, "test"))
    try:
        supervisor.start(server.child(place, folder / "postgres.log", admin, name=NAME, stage=0))
        yield made
    finally:
        supervisor.close()
