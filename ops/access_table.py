"""Who may do what: role x Kafka topics, Redis, database tables, API, sockets. What is not here is refused.

Kafka's bindings (``ops.kafka.acl_table``), Redis' users (``ops.redis.acl_table``), the database's roles
(``ops.postgres.role_table``), the API's scopes and the audit of sockets are made from it; nothing is granted elsewhere.
Admin and broker are Kafka's super users and need no topics.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from ops.tls.principal import Role


class Operation(StrEnum):
    """The Kafka operations that some role needs."""

    READ = "READ"
    WRITE = "WRITE"
    CREATE = "CREATE"
    DELETE = "DELETE"
    DESCRIBE = "DESCRIBE"


class DatabaseRole(StrEnum):
    """The four roles that programs and people connect to the database as."""

    PLATFORM = "bkdms_platform"
    ASSESS = "bkdms_assess"
    READER = "bkdms_reader"
    API = "bkdms_api"


# Superuser of the embedded server: makes roles and databases. No program of ours connects as it but set-up.
ADMIN_ROLE = "bkdms_admin"


class RedisRight(StrEnum):
    """What a Redis user may do: keys below our prefix are read, or read and written; ``ALL`` lifts every limit."""

    READ = "read"
    WRITE = "write"
    ALL = "all"


class Scope(StrEnum):
    """What the API asks for beside what it shows to everybody who may connect."""

    HEAD_OWN = "head:own"
    HEAD_ANY = "head:any"
    TRACES = "traces:read"
    ASSESSMENTS = "assessments:read"
    METRICS = "metrics:read"


class Socket(StrEnum):
    """What a program may listen on, by the settings that name the address."""

    METRICS = "worker.metrics_port"
    API = "api.port"


@dataclass(frozen=True, slots=True)
class TableRight:
    """Privileges on one table or view; ``hidden`` columns are left out of a SELECT grant."""

    privileges: tuple[str, ...]
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quota:
    """What Kafka lets one principal take: bytes per second in and out, and percent of one request thread's time."""

    produce_bytes_per_s: int
    consume_bytes_per_s: int
    request_percent: int


@dataclass(frozen=True, slots=True)
class Access:
    """One role's row. ``topics`` are named as in ``Topics``; tables are those of the database role it speaks for.

    ``is_worker``: its programs are Faust workers, which may keep internal topics under their application id.
    """

    topics: Mapping[str, tuple[Operation, ...]] = field(default_factory=dict)
    is_worker: bool = False
    redis: RedisRight | None = None
    database: str | None = None
    tables: Mapping[str, TableRight] = field(default_factory=dict)
    scopes: frozenset[Scope] = frozenset()
    listens: tuple[Socket, ...] = ()
    quota: Quota | None = None


_READ = (Operation.READ,)
_WRITE = (Operation.WRITE,)
_BOTH = (Operation.READ, Operation.WRITE)
_SELECT = TableRight(("SELECT",))
_EDIT = TableRight(("SELECT", "INSERT", "UPDATE", "DELETE"))
# The packet as the site sent it is for those who may read the blocks topic.
_SELECT_RECORDS = TableRight(("SELECT",), hidden=("city_data",))
_MIB = 1024 * 1024
# The outsiders: some 15 packets of 200 values a second. Forged ones cost validators a signature check each, so that a
# flood in another site's name has to stay a small part of what a validator can check.
_OUTSIDE = Quota(produce_bytes_per_s=_MIB // 4, consume_bytes_per_s=_MIB, request_percent=25)
# Readers beside the platform: catching up with much takes a while, and nobody else waits for it.
_BESIDE = Quota(produce_bytes_per_s=_MIB, consume_bytes_per_s=32 * _MIB, request_percent=100)

# ``openings`` is in no row: with a seed, digests of values could be tried one by one after erasure.
_STORED: Mapping[str, TableRight] = {
    "bkdms_store_version": _SELECT,
    "observations": _SELECT,
    "kpi_records": _SELECT_RECORDS,
    "blocks": _SELECT,
    "sites": _SELECT,
    "platform_position": _SELECT,
}

ACCESS: Mapping[Role, Access] = MappingProxyType(
    {
        Role.ADMIN: Access(redis=RedisRight.ALL, database=ADMIN_ROLE, scopes=frozenset({Scope.METRICS})),
        Role.BROKER: Access(),
        Role.REDIS: Access(),
        Role.POSTGRES: Access(),
        # No sockets: its metrics page, where a setting asks for one, is the one exception.
        Role.SITE: Access(
            topics={"packets": _WRITE},
            scopes=frozenset({Scope.HEAD_OWN, Scope.TRACES}),
            listens=(Socket.METRICS,),
            quota=_OUTSIDE,
        ),
        Role.VALIDATOR: Access(
            topics={"packets": _READ, "sites": _READ, "chain": _WRITE, "rejected": _WRITE},
            is_worker=True,
            listens=(Socket.METRICS,),
        ),
        Role.NODE: Access(
            topics={
                # DELETE is for DeleteRecords; the broker's delete.topic.enable=false keeps it from more.
                "chain": (*_BOTH, Operation.DELETE),
                "cosignatures": _BOTH,
                "blocks": _BOTH,
                "sites": _BOTH,
                "rejected": _WRITE,
            },
            is_worker=True,
            redis=RedisRight.WRITE,
            listens=(Socket.METRICS,),
        ),
        Role.REGISTRAR: Access(
            topics={"chain": _BOTH, "blocks": _READ},
            redis=RedisRight.READ,
            scopes=frozenset({Scope.HEAD_ANY, Scope.TRACES, Scope.ASSESSMENTS}),
        ),
        Role.PLATFORM: Access(
            topics={"blocks": _READ, "observations": _WRITE},
            is_worker=True,
            database=DatabaseRole.PLATFORM,
            scopes=frozenset({Scope.HEAD_ANY, Scope.TRACES, Scope.ASSESSMENTS}),
            listens=(Socket.METRICS,),
        ),
        Role.EXPORTER: Access(
            topics={"blocks": _READ},
            is_worker=True,
            scopes=frozenset({Scope.TRACES}),
            listens=(Socket.METRICS,),
        ),
        Role.API: Access(
            topics={"blocks": _READ},
            database=DatabaseRole.API,
            tables={"bkdms_store_version": _SELECT, "assessments": _SELECT, "v_assessments": _SELECT},
            listens=(Socket.API,),
        ),
        Role.ASSESS: Access(
            topics={"observations": _READ, "assessments": _WRITE},
            is_worker=True,
            database=DatabaseRole.ASSESS,
            tables={
                **_STORED,
                "assessments": _EDIT,
                "assessments_unsent": _EDIT,
                "assess_position": _EDIT,
            },
            scopes=frozenset({Scope.ASSESSMENTS}),
            listens=(Socket.METRICS,),
        ),
        Role.ANALYST: Access(
            topics={"observations": _READ, "assessments": _READ},
            database=DatabaseRole.READER,
            tables={
                **_STORED,
                "assessments": _SELECT,
                **dict.fromkeys(
                    ("v_observations", "v_kpi_records", "v_blocks", "v_sites", "v_assessments"), _SELECT
                ),
            },
            scopes=frozenset({Scope.TRACES, Scope.ASSESSMENTS}),
            # The Parquet sink runs with an analyst's certificate.
            listens=(Socket.METRICS,),
            quota=_BESIDE,
        ),
        Role.AUDITOR: Access(
            topics={"blocks": _READ, "chain": _READ, "cosignatures": _READ, "rejected": _READ},
            scopes=frozenset({Scope.HEAD_ANY, Scope.TRACES}),
            quota=_BESIDE,
        ),
        # Reads the topics that are granted to its name alone (``ops.kafka.client_rights``).
        Role.CLIENT: Access(quota=_BESIDE),
        Role.MONITOR: Access(scopes=frozenset({Scope.METRICS})),
    }
)


def api_scopes(role: Role) -> frozenset[Scope]:
    """What a certificate of ``role`` may ask the API for, beside what is shown to everybody."""
    return ACCESS[role].scopes
