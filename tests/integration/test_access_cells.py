"""Every cell of the table of access on the real servers: what it allows is allowed, and everything else is refused."""

import time
from typing import Any

import pytest
import redis
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from ops.access_table import ACCESS, Operation
from ops.kafka.acl_table import application_prefix
from ops.kafka.admin import client_settings
from ops.redis import server
from ops.redis.acl_table import REDIS_USERS
from ops.stack import EmbeddedStack
from ops.tls.principal import Role
from pipeline.core.topics import Topics

pytestmark = pytest.mark.stack

ROLES = tuple(role for role in Role if role not in (Role.ADMIN, Role.BROKER))
COLUMNS = (
    *("packets", "chain", "blocks", "rejected"),
    *("cosignatures", "sites", "observations", "assessments"),
)
TIMEOUT_S = 30
# Redis lets everybody say who he is and go.
ALWAYS = {"auth", "hello", "quit", "reset"}
# A group's coordinator is found and loaded when the group is first asked for.
NOT_YET = {
    *(KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE),
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}


def kafka(stack: EmbeddedStack, role: Role) -> AdminClient:
    """A client with a certificate of a role."""
    return AdminClient(client_settings(stack.kafka_bootstrap, stack.credentials(role, "cells")))


def words(operations: list[AclOperation] | None) -> set[str]:
    """The names of what a broker allows."""
    return {operation.name for operation in operations or ()}


def allowed(client: AdminClient, topics: Topics) -> dict[str, set[str]]:
    """What the broker's authorizer lets a client do on each topic; nothing where it doesn't even show it."""
    found: dict[str, set[str]] = {}
    names = TopicCollection([getattr(topics, column) for column in COLUMNS])
    asked = client.describe_topics(names, include_authorized_operations=True, request_timeout=TIMEOUT_S)
    for column in COLUMNS:
        try:
            described = asked[getattr(topics, column)].result(TIMEOUT_S)
        except KafkaException as error:
            assert error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
            found[column] = set()
        else:
            found[column] = words(described.authorized_operations)
    return found


@pytest.mark.parametrize("role", ROLES)
def test_kafka_allows_a_role_its_cells_and_no_other(stack: EmbeddedStack, topics: Topics, role: Role) -> None:
    """All operations on all topics, as the broker judges them for this certificate: 8 topics x 8 operations."""
    wanted = {
        column: {operation.value for operation in ACCESS[role].topics.get(column, ())} for column in COLUMNS
    }
    # Kafka takes describing to be part of each of these.
    for granted in wanted.values():
        if granted:
            granted.add(Operation.DESCRIBE.value)
    assert allowed(kafka(stack, role), stack.topics) == wanted


@pytest.mark.parametrize("role", ROLES)
def test_no_role_may_do_anything_to_the_cluster(stack: EmbeddedStack, role: Role) -> None:
    client = kafka(stack, role)
    cluster = client.describe_cluster(include_authorized_operations=True, request_timeout=TIMEOUT_S)
    assert words(cluster.result(TIMEOUT_S).authorized_operations) == set()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_in_its_own_groups_alone(stack: EmbeddedStack, role: Role) -> None:
    client = kafka(stack, role)
    reads = any(Operation.READ in operations for operations in ACCESS[role].topics.values())
    found = {other for other in ROLES if is_shown(client, f"{application_prefix(other)}-t")}
    assert found == ({role} if reads else set())


def is_shown(client: AdminClient, group: str) -> bool:
    """Whether the broker tells of a group, if only that there is none; reading in it brings that right."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            client.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group].result(TIMEOUT_S)
        except KafkaException as error:
            code = error.args[0].code()
            if code in NOT_YET and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            assert code in (KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.GROUP_ID_NOT_FOUND)
            return bool(code == KafkaError.GROUP_ID_NOT_FOUND)
        return True


@pytest.fixture(scope="module")
def commands(stack: EmbeddedStack) -> dict[str, int]:
    """Every command of this Redis, with the number of words it takes at least."""
    with admin(stack) as client:
        found: Any = client.execute_command("COMMAND")
    rows = list(found.values() if isinstance(found, dict) else found)
    parts = [(part[0].decode(), part[1]) for row in rows for part in row["subcommands"]]
    whole = [(row["name"], row["arity"]) for row in rows if not row["subcommands"]]
    return {name: abs(arity) for name, arity in (*whole, *parts)}


def admin(stack: EmbeddedStack) -> redis.Redis:
    """A client of Redis that may do everything."""
    return server.client(stack.redis_address("admin", stack.credentials(Role.ADMIN, "local")))


def is_allowed(client: redis.Redis, user: str, words: list[str]) -> bool:
    """Ask Redis' own judgement, without doing it."""
    try:
        answer = client.execute_command("ACL DRYRUN", user, *words)  # type: ignore[no-untyped-call]
    except redis.ResponseError as error:
        assert "permission" in str(error).lower() or "access" in str(error).lower(), error
        return False
    return answer in (b"OK", "OK", True)


def sample(name: str, arity: int, key: str) -> list[str]:
    """A call of a command with one key, or as many words as it wants."""
    if name in ("eval", "evalsha"):
        return [name, "return 1", "1", key]
    words = name.split("|")
    return [*words, *[key] * (arity - len(words))]


@pytest.mark.parametrize("user", sorted(REDIS_USERS.keys() - {"admin"}))
def test_redis_allows_a_user_its_commands_and_no_other(
    stack: EmbeddedStack, commands: dict[str, int], user: str
) -> None:
    """Each command that this Redis knows, on a key of ours."""
    assert len(commands) > 200
    with admin(stack) as client:
        found = {
            name
            for name, arity in commands.items()
            if is_allowed(client, user, sample(name, arity, "bkdms:x"))
        }
    assert found - ALWAYS == set(REDIS_USERS[user].commands)


@pytest.mark.parametrize("user", sorted(REDIS_USERS.keys() - {"admin"}))
def test_no_command_reaches_a_key_of_others(
    stack: EmbeddedStack, commands: dict[str, int], user: str
) -> None:
    without_key = {"ping", "time", "client|setname", "client|id"}
    with admin(stack) as client:
        for name in sorted(set(REDIS_USERS[user].commands) & commands.keys() - without_key):
            assert not is_allowed(client, user, sample(name, commands[name], "other:x")), name
