"""Database roles, from the table of access: role x table x privileges, and whose certificate speaks for which role.

What is not here is refused: a table or view that no row names is its owner's alone. Privileges cover reading and
writing rows; tables are made and changed by ``bkdms_platform``, which owns the database and everything in it.
"""

from collections.abc import Mapping
from types import MappingProxyType

from ops.access_table import ACCESS, ADMIN_ROLE, DatabaseRole, TableRight
from ops.tls.principal import Role

__all__ = [
    "ADMIN_ROLE",
    "CERTIFICATE_ROLES",
    "CONNECTION_LIMITS",
    "LOCKING_ROLES",
    "TABLE_RIGHTS",
    "UNLIMITED",
    "DatabaseRole",
    "TableRight",
]

UNLIMITED = -1

TABLE_RIGHTS: Mapping[DatabaseRole, Mapping[str, TableRight]] = MappingProxyType(
    {DatabaseRole(row.database): row.tables for row in ACCESS.values() if row.database and row.tables}
)
"""Database role -> table or view -> privileges; the owner of everything, ``bkdms_platform``, needs no row."""

# Analysts can't use up the connections that the platform worker needs.
CONNECTION_LIMITS: Mapping[DatabaseRole, int] = MappingProxyType(
    {
        DatabaseRole.PLATFORM: UNLIMITED,
        DatabaseRole.ASSESS: 20,
        DatabaseRole.READER: 30,
        DatabaseRole.API: 20,
    }
)

# Who may lock by number: others could hold the lock that keeps a second worker off the store.
LOCKING_ROLES = (DatabaseRole.PLATFORM, DatabaseRole.ASSESS)

CERTIFICATE_ROLES: Mapping[Role, str] = MappingProxyType(
    {role: row.database for role, row in ACCESS.items() if row.database is not None}
)
"""Role of a certificate -> the database role it speaks for. Sites, nodes and validators have none."""
