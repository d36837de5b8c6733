"""One PostgreSQL on this machine: its settings, who may connect, its address.

It listens on a loopback port alone, speaks nothing but TLS 1.3, and knows its clients by certificates of our authority
alone: there is no password, no Unix socket and no trusted connection. As root it runs as a system user of its own,
who can change neither settings nor rights.
"""

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import psutil
import psycopg

from ops.child import ChildSpec, RunAs, launched
from ops.files import private_folder, write_private
from ops.postgres.program import PostgresPrograms, system_user
from ops.postgres.role_table import ADMIN_ROLE
from ops.postgres.texts import HOST, access_text, ident_text, settings_text
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Principal
from pipeline.core.errors import ConfigError

# The database that every PostgreSQL has from its beginning.
FIRST_DATABASE = "postgres"
INITDB_TIMEOUT_S = 120
PROBE_TIMEOUT_S = 2
READY_TIMEOUT_S = 60.0
# Sessions of a server that was killed end by themselves, in a moment.
PATIENCE_S = 5.0
POLL_S = 0.05
_GROUP_FILE_MODE = 0o640
_GROUP_FOLDER_MODE = 0o750


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """Programs, folder, port and system user (None: ourselves) of one PostgreSQL."""

    programs: PostgresPrograms
    folder: Path
    port: int
    user: str | None

    @property
    def run_as(self) -> RunAs | None:
        """The user to become, with the folder handed to him."""
        return RunAs(self.user, self.folder) if self.user is not None else None

    @property
    def seen(self) -> str:
        """The folder's path as the server sees it."""
        return str(self.folder) if self.user is None else RunAs.SEEN_AS


def place(programs: PostgresPrograms, folder: Path, port: int) -> PostgresPlace:
    """Describe a server in ``folder``, run by ourselves or, when we are root, by PostgreSQL's system user.

    Raises:
        ConfigError: we are root and there is no such user (code ``no_postgres``).
    """
    return PostgresPlace(programs, folder, port, system_user())


def prepare(
    where: PostgresPlace,
    server: CertificateFiles,
    *,
    revoked: Iterable[Principal] = (),
    is_short_lived: bool = False,
) -> None:
    """Make the database files when there are none; write settings, access rules and certificate anew.

    Certificates of ``revoked`` speak for no role.

    Raises:
        ConfigError: the files are of another version, or could not be made (code ``postgres_files``).
    """
    _folder(where, where.folder)
    write_certificate(where, server)
    _file(where, where.folder / "postgresql.conf", settings_text(where.seen, where.port).encode())
    _file(where, where.folder / "hba.conf", access_text().encode())
    write_map(where, revoked)
    version_file = where.folder / "data" / "PG_VERSION"
    if not version_file.exists():
        _make_files(where, is_short_lived=is_short_lived)
    elif (held := version_file.read_text("ascii").strip()) != str(where.programs.version):
        raise ConfigError(
            f"{where.folder} is of PostgreSQL {held}, and the program is {where.programs.version}: install "
            f"{held}, or move the folder away and let the platform worker fill a new store from the blocks",
            code="postgres_files",
        )
    _forget_ended(where.folder / "data")


def write_certificate(where: PostgresPlace, server: CertificateFiles) -> None:
    """Put the server's certificate where it reads it, at its start or when told to."""
    _folder(where, where.folder / "tls")
    for name, source in (
        ("ca.pem", server.ca),
        ("server.pem", server.certificate),
        ("server.key", server.key),
    ):
        _file(where, where.folder / "tls" / name, source.read_bytes())


def write_map(where: PostgresPlace, revoked: Iterable[Principal]) -> None:
    """Say whose certificates speak for which role; those of ``revoked`` for none."""
    _file(where, where.folder / "ident.conf", ident_text(revoked).encode())


def child(
    where: PostgresPlace, log_file: Path, admin: CertificateFiles, *, name: str, stage: int
) -> ChildSpec:
    """The server as a child of the supervisor; ``admin`` is the certificate that its probe shows."""
    data = f"{where.seen}/data"
    return ChildSpec(
        name=name,
        argv=(
            *(str(where.programs.folder / "postgres"), "-D", data),
            *("-c", f"config_file={where.seen}/postgresql.conf"),
        ),
        log_file=log_file,
        probe=lambda: is_ready(admin_address(where, admin)),
        ready_timeout_s=READY_TIMEOUT_S,
        stage=stage,
        environment=where.programs.environment,
        # Ends sessions and keeps everything; SIGTERM would wait for clients to leave.
        stop_signal=signal.SIGINT,
        run_as=where.run_as,
    )


def url(where: PostgresPlace, role: str, database: str, files: CertificateFiles) -> str:
    """SQLAlchemy's URL by which the holder of ``files`` connects as ``role``."""
    return url_at(f"{HOST}:{where.port}", role, database, files)


def url_at(place: str, role: str, database: str, files: CertificateFiles) -> str:
    """The same for a server at ``host:port``."""
    query = urlencode(_tls(files), quote_via=quote, safe="/")
    return f"postgresql+psycopg://{role}@{place}/{quote(database, safe='')}?{query}"


def address(where: PostgresPlace, role: str, database: str, files: CertificateFiles) -> str:
    """libpq's connection string for the same, as psql and psycopg take it."""
    return address_at(HOST, where.port, role, database, files)


def address_at(host: str, port: int, role: str, database: str, files: CertificateFiles) -> str:
    """The same for a server elsewhere."""
    return psycopg.conninfo.make_conninfo("", host=host, port=port, user=role, dbname=database, **_tls(files))


def service(where: PostgresPlace, role: str, database: str, files: CertificateFiles) -> str:
    """The same as a section of libpq's service file, by the role's name: ``psql service=bkdms_reader``."""
    settings = {"host": HOST, "port": str(where.port), "user": role, "dbname": database, **_tls(files)}
    return "".join([f"[{role}]\n", *(f"{key}={value}\n" for key, value in settings.items())])


def admin_address(where: PostgresPlace, files: CertificateFiles, database: str = FIRST_DATABASE) -> str:
    """Connection string of the superuser, for whoever holds an admin's certificate."""
    return address(where, ADMIN_ROLE, database, files)


def is_ready(conninfo: str) -> bool:
    """Whether the server answers statements."""
    try:
        with psycopg.connect(conninfo, connect_timeout=PROBE_TIMEOUT_S) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.Error:
        return False


def _tls(files: CertificateFiles) -> dict[str, str]:
    return {
        "sslmode": "verify-full",
        "sslrootcert": str(files.ca),
        "sslcert": str(files.certificate),
        "sslkey": str(files.key),
    }


def _make_files(where: PostgresPlace, *, is_short_lived: bool) -> None:
    data = where.folder / "data"
    private_folder(data)
    if where.user is not None:
        entry = pwd.getpwnam(where.user)
        os.chown(data, entry.pw_uid, entry.pw_gid)
    argv = [
        *(
            str(where.programs.folder / "initdb"),
            "-D",
            f"{where.seen}/data",
            "-U",
            ADMIN_ROLE,
            "-A",
            "reject",
        ),
        *("-E", "UTF8", "--locale=C", "--data-checksums", "--no-instructions"),
        *(["--no-sync"] if is_short_lived else []),
    ]
    made = subprocess.run(  # noqa: S603
        launched(argv, where.run_as),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INITDB_TIMEOUT_S,
        check=False,
        env={**os.environ, **where.programs.environment},
    )
    if made.returncode != 0:
        words = (made.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ConfigError(f"initdb could not make {data}: {words}", code="postgres_files")


def _forget_ended(data: Path) -> None:
    """Remove the note of a server that was killed and is gone.

    PostgreSQL itself would take a dead process that nobody has waited for, or another with the same number, for it.
    A server that lives keeps its note, and the one that is started refuses.
    """
    note = data / "postmaster.pid"
    deadline = time.monotonic() + PATIENCE_S
    while note.exists():
        # Every process of a server works in its data folder.
        if not any(str(data) == process.info["cwd"] for process in psutil.process_iter(["cwd"])):
            note.unlink(missing_ok=True)
        elif time.monotonic() > deadline:
            return
        else:
            time.sleep(POLL_S)


def _folder(where: PostgresPlace, folder: Path) -> None:
    private_folder(folder)
    _open_to(where, folder, _GROUP_FOLDER_MODE)


def _file(where: PostgresPlace, path: Path, content: bytes) -> None:
    write_private(path, content)
    _open_to(where, path, _GROUP_FILE_MODE)


def _open_to(where: PostgresPlace, path: Path, mode: int) -> None:
    """Let the server's own user read what stays ours."""
    if where.user is not None:
        os.chown(path, -1, pwd.getpwnam(where.user).pw_gid)
        path.chmod(mode)
