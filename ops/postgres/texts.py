"""The three settings files of a PostgreSQL of ours: the server's, who is admitted, which certificate is which role."""

import re
from collections.abc import Iterable, Sequence

from ops.postgres.role_table import CERTIFICATE_ROLES
from ops.tls.principal import MAX_NAME_CHARACTERS, Principal

HOST = "127.0.0.1"
MAX_CONNECTIONS = 100
SHARED_BUFFERS_MB = 64
_MAP = "bkdms"


def settings_text(seen: str, port: int, listen: str = HOST) -> str:
    """``postgresql.conf``: TLS 1.3 alone, durable, discreet.

    ``seen`` is the folder as the server sees it, with ``hba.conf``, ``ident.conf`` and ``tls/`` in it.
    """
    settings = {
        "listen_addresses": listen,
        "port": port,
        "unix_socket_directories": "",
        "hba_file": f"{seen}/hba.conf",
        "ident_file": f"{seen}/ident.conf",
        **_transport(seen),
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "max_connections": MAX_CONNECTIONS,
        "shared_buffers": f"{SHARED_BUFFERS_MB}MB",
        "max_wal_size": "512MB",
        # Statements over a period's rows are short; compiling them costs more than it saves.
        "jit": "off",
        "timezone": "GMT",
        "log_timezone": "GMT",
        "lc_messages": "C",
        **_logging(),
    }
    return "".join(f"{key} = '{_quoted(value)}'\n" for key, value in settings.items())


def access_text(networks: Iterable[str] = (f"{HOST}/32",)) -> str:
    """``pg_hba.conf``: certificates over TLS from these networks.

    What no line admits is refused, and so is a certificate that the map gives no role.
    """
    return "".join(f"hostssl all all {network} cert map={_MAP}\n" for network in networks)


def ident_text(revoked: Iterable[Principal] = ()) -> str:
    """``pg_ident.conf``: the common name of a certificate is a principal, ``role:name``; none of ``revoked``."""
    name = rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_CHARACTERS - 1}}}"
    gone = sorted(revoked, key=str)
    return "".join(
        f'{_MAP} "/^{re.escape(role.value)}:{_but([one.name for one in gone if one.role is role])}{name}$" '
        f"{database_role}\n"
        for role, database_role in CERTIFICATE_ROLES.items()
    )


def _but(names: Sequence[str]) -> str:
    """Return the part of an expression that matches none of these names."""
    # In the map's file a quoted word ends at the next quote; names hold letters, digits, dots and dashes alone.
    return f"(?!(?:{'|'.join(name.replace('.', '[.]') for name in names)})$)" if names else ""


def _transport(seen: str) -> dict[str, str]:
    return {
        "ssl": "on",
        "ssl_min_protocol_version": "TLSv1.3",
        "ssl_ca_file": f"{seen}/tls/ca.pem",
        "ssl_cert_file": f"{seen}/tls/server.pem",
        "ssl_key_file": f"{seen}/tls/server.key",
    }


def _logging() -> dict[str, object]:
    return {
        "logging_collector": "off",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        # Statements and details of errors hold values in clear, which no log may.
        "log_statement": "none",
        "log_min_error_statement": "panic",
        "log_min_duration_statement": -1,
        "log_parameter_max_length": 0,
        "log_parameter_max_length_on_error": 0,
        "log_error_verbosity": "terse",
    }


def _quoted(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace("'", "''")
