"""The one table of rights, and that everything that is applied to servers is what it says."""

import pytest
from confluent_kafka.admin import AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from ops.access_table import ACCESS, Operation, RedisRight, Scope, Socket, api_scopes
from ops.kafka.acl_table import TOPIC_RIGHTS, WORKER_ROLES, grants
from ops.kafka.admin import bindings_of
from ops.postgres.role_table import CERTIFICATE_ROLES, TABLE_RIGHTS
from ops.redis.acl_table import REDIS_USERS, redis_user
from ops.tls.principal import Principal, Role
from pipeline.core.topics import Topics

TOPICS = Topics("t1.")
NAMES = tuple(
    name
    for name in (
        "packets",
        "chain",
        "blocks",
        "rejected",
        "cosignatures",
        "sites",
        "observations",
        "assessments",
    )
)


def test_every_role_has_its_row() -> None:
    assert set(ACCESS) == set(Role)


def test_every_topic_of_a_deployment_is_a_column() -> None:
    assert {getattr(TOPICS, name) for name in NAMES} == set(TOPICS.all())
    assert {topic for row in ACCESS.values() for topic in row.topics} == set(NAMES)


@pytest.mark.parametrize("role", Role)
def test_kafka_is_told_what_the_row_says_and_nothing_else(role: Role) -> None:
    """Each binding is a cell of the row, or the role's own groups and internal topics; each cell is a binding."""
    row = ACCESS[role]
    wanted = {
        ("TOPIC", getattr(TOPICS, topic), "LITERAL", operation.value)
        for topic, operations in row.topics.items()
        for operation in operations
    }
    own = f"bkdms-{role.value}"
    if any(Operation.READ in operations for operations in row.topics.values()):
        wanted.add(("GROUP", own, "PREFIXED", "READ"))
    if row.is_worker:
        wanted |= {("TOPIC", own, "PREFIXED", word) for word in ("READ", "WRITE", "CREATE")}
    told = [
        (
            ResourceType(one.restype),
            one.name,
            ResourcePatternType(one.resource_pattern_type),
            AclOperation(one.operation),
        )
        for one in bindings_of(Principal(role, "x"), TOPICS)
    ]
    assert {(kind.name, name, pattern.name, word.name) for kind, name, pattern, word in told} == wanted
    assert len(told) == len(wanted)


@pytest.mark.parametrize("role", Role)
def test_rights_are_those_of_one_principal(role: Role) -> None:
    for one in bindings_of(Principal(role, "x"), TOPICS):
        assert (one.principal, one.host) == (f"User:{role.value}:x", "*")
        assert AclPermissionType(one.permission_type) is AclPermissionType.ALLOW


def test_roles_with_topics_and_workers_are_those_of_the_rows() -> None:
    assert set(TOPIC_RIGHTS) == {role for role in Role if grants(role, TOPICS)}
    assert {role for role, row in ACCESS.items() if row.is_worker} == WORKER_ROLES


def test_redis_has_a_user_for_each_right_that_some_role_has() -> None:
    rights = {row.redis for row in ACCESS.values()} - {None}
    assert rights == set(RedisRight)
    assert {redis_user(role) for role in Role} - {None} == set(REDIS_USERS)
    assert redis_user(Role.NODE) == "node"
    assert redis_user(Role.SITE) is None


def test_the_database_knows_the_rows_that_name_a_role_of_it() -> None:
    assert {role: row.database for role, row in ACCESS.items() if row.database} == dict(CERTIFICATE_ROLES)
    for role, row in ACCESS.items():
        if row.tables:
            assert TABLE_RIGHTS[CERTIFICATE_ROLES[role]] == row.tables  # type: ignore[index]  # a StrEnum
        assert not row.tables or row.database is not None


def test_only_the_owner_of_the_store_and_its_analysis_write_tables() -> None:
    writers = {
        (role, table)
        for role, row in ACCESS.items()
        for table, right in row.tables.items()
        if set(right.privileges) != {"SELECT"}
    }
    assert writers == {
        (Role.ASSESS, name) for name in ("assessments", "assessments_unsent", "assess_position")
    }


def test_plain_values_over_http_are_for_the_platform_zone() -> None:
    assert {role for role in Role if Scope.ASSESSMENTS in api_scopes(role)} == {
        *(Role.PLATFORM, Role.ASSESS, Role.ANALYST, Role.REGISTRAR)
    }


def test_a_site_asks_for_its_own_head_and_where_a_packet_is_and_nothing_else() -> None:
    assert api_scopes(Role.SITE) == {Scope.HEAD_OWN, Scope.TRACES}


def test_the_api_alone_listens_for_more_than_metrics() -> None:
    assert [role for role, row in ACCESS.items() if set(row.listens) - {Socket.METRICS}] == [Role.API]


def test_everybody_from_outside_has_a_quota() -> None:
    """A site's is the smallest: what it floods, it floods with that at most."""
    assert {role for role, row in ACCESS.items() if row.quota} == {
        *(Role.SITE, Role.ANALYST, Role.AUDITOR, Role.CLIENT)
    }
    site = ACCESS[Role.SITE].quota
    assert site is not None
    assert site.produce_bytes_per_s <= 1024 * 1024
