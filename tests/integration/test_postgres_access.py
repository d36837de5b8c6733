"""Who may connect to PostgreSQL: holders of our certificates, as the role theirs speaks for, over TLS 1.3."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from ops.postgres import server
from ops.postgres.role_table import ADMIN_ROLE, CERTIFICATE_ROLES, DatabaseRole
from ops.tls.authority import Authority, CertificateFiles
from ops.tls.principal import Principal, Role
from tests.support.postgres import Database, RunningPostgres

pytestmark = pytest.mark.stack

ALL_ROLES = (ADMIN_ROLE, *DatabaseRole)
STRANGERS = [role for role in Role if role not in CERTIFICATE_ROLES]


def can_connect(database: Database, role: str, files: CertificateFiles, **settings: str) -> bool:
    """Whether a session opens for the holder of ``files`` as ``role``."""
    conninfo = server.address(database.running.place, role, database.name, files)
    changed = psycopg.conninfo.make_conninfo(conninfo, connect_timeout=10, **settings)
    try:
        psycopg.connect(changed).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("role", DatabaseRole)
def test_a_role_connects_with_its_certificate(database: Database, role: DatabaseRole) -> None:
    """Each role's certificate opens a TLS 1.3 session as that role."""
    with psycopg.connect(database.conninfo(role)) as connection:
        found = connection.execute(
            "SELECT current_user, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone()
    assert found == (role.value, "TLSv1.3")


def test_a_certificate_speaks_for_one_role(postgres: RunningPostgres, database: Database) -> None:
    """Of all certificates and roles, only the pairs of the table connect; sites, nodes and others not at all."""
    found = {
        (holder, role)
        for holder in Role
        for role in ALL_ROLES
        if can_connect(database, role, postgres.certificate(Principal(holder, "any-name")))
    }
    assert found == {(holder, str(role)) for holder, role in CERTIFICATE_ROLES.items()}
    assert len(STRANGERS) > 5


def test_without_tls_nobody_connects(database: Database) -> None:
    """A plain connection is refused, whatever else is right."""
    files = database.running.files(DatabaseRole.READER)
    assert not can_connect(database, DatabaseRole.READER, files, sslmode="disable")


def test_without_a_certificate_nobody_connects(database: Database) -> None:
    """TLS alone, or with a password, is not enough."""
    files = database.running.files(DatabaseRole.READER)
    for more in ({}, {"password": "bkdms_reader"}):
        assert not can_connect(
            database,
            DatabaseRole.READER,
            files,
            sslcert="/none",
            sslkey="/none",
            sslcertmode="disable",
            **more,
        )


def test_older_tls_is_refused(database: Database) -> None:
    """The server speaks 1.3 and nothing else."""
    files = database.running.files(DatabaseRole.READER)
    assert not can_connect(database, DatabaseRole.READER, files, ssl_max_protocol_version="TLSv1.2")
    assert can_connect(database, DatabaseRole.READER, files)


def test_another_authority_opens_nothing(database: Database, tmp_path: Path) -> None:
    """The right name from another authority is refused, and a server of another authority is not believed."""
    now = datetime.now(UTC)
    foreign = Authority.create(tmp_path / "ca", now=now)
    forged = foreign.issue(Principal(Role.PLATFORM, "test"), tmp_path / "forged", now=now)
    ours = database.running.files(DatabaseRole.PLATFORM)
    believing = CertificateFiles(ours.ca, forged.certificate, forged.key)
    assert not can_connect(database, DatabaseRole.PLATFORM, believing)
    doubting = CertificateFiles(forged.ca, ours.certificate, ours.key)
    assert not can_connect(database, DatabaseRole.PLATFORM, doubting)


@pytest.mark.parametrize("name", [server.FIRST_DATABASE, "template1"])
@pytest.mark.parametrize("role", DatabaseRole)
def test_roles_stay_out_of_other_databases(database: Database, role: DatabaseRole, name: str) -> None:
    """Only the superuser connects to the databases that the server has from its beginning."""
    files = database.running.files(role)
    assert not can_connect(database, role, files, dbname=name)


def test_the_server_is_durable_discreet_and_on_loopback(postgres: RunningPostgres) -> None:
    """The settings that nothing may be lost, nothing logged and nobody outside served."""
    wanted = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "ssl_min_protocol_version": "TLSv1.3",
        "log_statement": "none",
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
    }
    with psycopg.connect(postgres.admin) as admin:
        found = admin.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(wanted),))
        assert dict(found.fetchall()) == wanted
        rules = admin.execute("SELECT type, auth_method, error FROM pg_hba_file_rules").fetchall()
        mistakes = admin.execute(
            "SELECT error FROM pg_ident_file_mappings WHERE error IS NOT NULL"
        ).fetchall()
    assert rules == [("hostssl", "cert", None)]
    assert mistakes == []


def test_values_do_not_reach_the_log(postgres: RunningPostgres, database: Database) -> None:
    """A row that is refused is named by its error, and neither it nor the statement is written down."""
    secret = "secret-7f3a"
    with psycopg.connect(database.conninfo()) as owner:
        owner.execute("CREATE TABLE once (value text PRIMARY KEY)")
        owner.execute("INSERT INTO once VALUES (%s)", (secret,))
        with pytest.raises(psycopg.errors.UniqueViolation, match=secret):
            owner.execute("INSERT INTO once VALUES (%s)", (secret,))
        owner.rollback()
        with pytest.raises(psycopg.errors.UndefinedTable):
            owner.execute(f"SELECT '{secret}' FROM none")
    log = (postgres.folder / "postgres.log").read_text("utf-8")
    assert "duplicate key" in log
    assert secret not in log
