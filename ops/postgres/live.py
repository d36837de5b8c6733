"""What a running PostgreSQL is told without a restart: to read its certificate again, and whom to shut out."""

from collections.abc import Iterable

import psycopg

from ops.postgres.server import PostgresPlace, admin_address, write_certificate, write_map
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Principal
from pipeline.core.errors import TransientError


def reload_certificate(where: PostgresPlace, admin: CertificateFiles, own: CertificateFiles) -> None:
    """Show new connections the certificate in ``own``; those that are open go on.

    Raises:
        TransientError: the server does not answer (code ``database``).
    """
    write_certificate(where, own)
    _tell(where, admin, ())


def shut_out(where: PostgresPlace, admin: CertificateFiles, revoked: Iterable[Principal]) -> None:
    """Let certificates of these principals, and of no others, speak for no role; end their sessions.

    Raises:
        TransientError: the server does not answer (code ``database``).
    """
    gone = list(revoked)
    write_map(where, gone)
    _tell(where, admin, gone)


def _tell(where: PostgresPlace, admin: CertificateFiles, gone: Iterable[Principal]) -> None:
    subjects = [f"/OU={one.role.value}/CN={one}" for one in gone]
    try:
        with psycopg.connect(admin_address(where, admin), autocommit=True) as connection:
            # Files first: who is ended here and comes back at once is judged by them.
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_ssl "
                "WHERE client_dn = ANY(%s) AND pid <> pg_backend_pid()",
                (subjects,),
            )
    except psycopg.Error as error:
        raise TransientError(f"PostgreSQL can't be told: {error}", code="database") from error
