"""Database roles as data: role x table x privileges, and whose certificate speaks for which role.

What is not here is refused: a table or view that no row names is its owner's alone. Privileges cover reading and
writing rows; tables are made and changed by ``bkdms_platform``, which owns the database and everything in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ops.tls.principal import Role

# Superuser of the embedded server: makes roles and databases. No program of ours connects as it but set-up.
ADMIN_ROLE = "bkdms_admin"
UNLIMITED = -1


class DatabaseRole(StrEnum):
    """The four roles that programs and people connect as."""

    PLATFORM = "bkdms_platform"
    ASSESS = "bkdms_assess"
    READER = "bkdms_reader"
    API = "bkdms_api"


@dataclass(frozen=True, slots=True)
class Access:
    """Privileges on one table or view; ``hidden`` columns are left out of a SELECT grant."""

    privileges: tuple[str, ...]
    hidden: tuple[str, ...] = ()


_READ = Access(("SELECT",))
_ALL = Access(("SELECT", "INSERT", "UPDATE", "DELETE"))
# The packet as the site sent it is for those who may read the blocks topic.
_READ_RECORDS = Access(("SELECT",), hidden=("city_data",))

# ``openings`` is in no row: with a seed, digests of values could be tried one by one after erasure.
TABLE_RIGHTS: Mapping[DatabaseRole, Mapping[str, Access]] = MappingProxyType(
    {
        DatabaseRole.ASSESS: {
            "bkdms_store_version": _READ,
            "observations": _READ,
            "kpi_records": _READ_RECORDS,
            "blocks": _READ,
            "sites": _READ,
            "platform_position": _READ,
            "assessments": _ALL,
            "assessments_unsent": _ALL,
            "assess_position": _ALL,
        },
        DatabaseRole.READER: {
            "bkdms_store_version": _READ,
            "observations": _READ,
            "kpi_records": _READ_RECORDS,
            "blocks": _READ,
            "sites": _READ,
            "platform_position": _READ,
            "assessments": _READ,
            "v_observations": _READ,
            "v_kpi_records": _READ,
            "v_blocks": _READ,
            "v_sites": _READ,
            "v_assessments": _READ,
        },
        DatabaseRole.API: {"bkdms_store_version": _READ, "assessments": _READ, "v_assessments": _READ},
    }
)

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

# Role of a certificate -> the database role it speaks for. Sites, nodes and validators have none.
CERTIFICATE_ROLES: Mapping[Role, str] = MappingProxyType(
    {
        Role.ADMIN: ADMIN_ROLE,
        Role.PLATFORM: DatabaseRole.PLATFORM,
        Role.ASSESS: DatabaseRole.ASSESS,
        Role.ANALYST: DatabaseRole.READER,
        Role.API: DatabaseRole.API,
    }
)
