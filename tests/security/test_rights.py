"""What good certificates may not do in Kafka, Redis and PostgreSQL, tried one after the other."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from confluent_kafka.admin import AdminClient
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from ops.postgres.role_table import ADMIN_ROLE
from ops.tls.principal import Role
from pipeline.adapters.kafka import KafkaTrimmer
from pipeline.adapters.redis_ledger.connection import RedisConnection
from pipeline.adapters.tls import TlsFiles
from pipeline.core.errors import BkdmsError
from tests.security.attack import Attack, Run
from tests.security.ground import Ground

pytestmark = [pytest.mark.stack, pytest.mark.security]
Step = Callable[[Ground], Coroutine[Any, Any, object]]
_ANSWER_S: Final = 15.0
_DENIED: Final = "Authorization"


async def outcome(step: Coroutine[Any, Any, object]) -> str:
    """Return whether Kafka said that this is not allowed."""
    try:
        await step
    except (KafkaError, BkdmsError) as error:
        names = {type(error).__name__, type(error.__cause__).__name__}
        return "refused" if any(_DENIED in name for name in names) else str(error)
    return "allowed"


def all_of(steps: dict[str, Step]) -> Run:
    """Try every step; name those that were allowed, or ended otherwise."""

    async def run(ground: Ground) -> str:
        found = {name: await outcome(step(ground)) for name, step in steps.items()}
        others = [f"{name}: {seen}" for name, seen in found.items() if seen != "refused"]
        return ", ".join(others) or f"{len(steps)} refused"

    return run


def writing(role: Role, topic: str) -> Step:
    return lambda ground: ground.send(role, "hostile", getattr(ground.topics, topic), b"hostile")


def reading(role: Role, topic: str) -> Step:
    """By librdkafka, which tells a refusal at once; READ brings DESCRIBE with it, so that lacking this lacks both."""

    def read(ground: Ground) -> None:
        files, name = ground.files(role, "hostile"), getattr(ground.topics, topic)
        client = AdminClient(
            {
                "bootstrap.servers": ground.deployment.stack.kafka_bootstrap,
                "security.protocol": "SSL",
                "ssl.ca.location": str(files.ca),
                "ssl.certificate.location": str(files.certificate),
                "ssl.key.location": str(files.key),
            }
        )
        error = client.list_topics(name, timeout=_ANSWER_S).topics[name].error
        if error is not None:
            raise for_code(error.code())

    return lambda ground: asyncio.to_thread(read, ground)


def trimming(role: Role, topic: str) -> Step:
    return lambda ground: KafkaTrimmer(ground.connection(role, "hostile")).trim(
        getattr(ground.topics, topic), 0, 1
    )


def administering(role: Role, ask: Callable[[AIOKafkaAdminClient, Ground], Any]) -> Step:
    async def step(ground: Ground) -> None:
        admin = AIOKafkaAdminClient(**ground.connection(role, "hostile").options())
        await admin.start()
        try:
            answer = await ask(admin, ground)
        finally:
            await admin.close()
        answers = answer if isinstance(answer, list) else [answer]
        codes = [
            item
            for one in answers
            for rows in one.to_object().values()
            if isinstance(rows, list)
            for row in rows
            for key, item in row.items()
            if key == "error_code"
        ]
        for code in codes:
            if code:
                raise for_code(code)

    return step


def _topic(admin: AIOKafkaAdminClient, _: Ground) -> Any:
    return admin.create_topics([NewTopic("hostile", 1, 1)])


def _partitions(admin: AIOKafkaAdminClient, ground: Ground) -> Any:
    return admin.create_partitions({ground.topics.chain: NewPartitions(2)})


def _settings(admin: AIOKafkaAdminClient, ground: Ground) -> Any:
    resource = ConfigResource(ConfigResourceType.TOPIC, ground.topics.blocks, configs={"retention.ms": "1"})
    return admin.alter_configs([resource])


TOPICS: Final = (
    "packets",
    "chain",
    "blocks",
    "rejected",
    "cosignatures",
    "sites",
    "observations",
    "assessments",
)
SITE: Final = {
    **{f"write {topic}": writing(Role.SITE, topic) for topic in TOPICS if topic != "packets"},
    # That it may write to the packets topic lets it ask about it, too.
    **{f"read {topic}": reading(Role.SITE, topic) for topic in TOPICS if topic != "packets"},
    "trim packets": trimming(Role.SITE, "packets"),
    "create a topic": administering(Role.SITE, _topic),
    "add partitions": administering(Role.SITE, _partitions),
    "change a topic's settings": administering(Role.SITE, _settings),
}
VALIDATOR: Final = {
    **{
        f"write {topic}": writing(Role.VALIDATOR, topic)
        for topic in ("packets", "blocks", "cosignatures", "sites")
    },
    **{
        f"read {topic}": reading(Role.VALIDATOR, topic) for topic in ("blocks", "observations", "assessments")
    },
    "trim the chain log": trimming(Role.VALIDATOR, "chain"),
}
NODE: Final = {
    **{f"write {topic}": writing(Role.NODE, topic) for topic in ("packets", "observations", "assessments")},
    **{f"read {topic}": reading(Role.NODE, topic) for topic in ("packets", "observations", "assessments")},
    "change a topic's settings": administering(Role.NODE, _settings),
}
ANALYST: Final = {f"write {topic}": writing(Role.ANALYST, topic) for topic in TOPICS}


def redis_as(ground: Ground, user: str, password: str | None = None) -> Redis:
    """Return a client of Redis as a user, with a node's certificate."""
    files = ground.deployment.stack.credentials(Role.NODE, "hostile")
    address = ground.deployment.stack.redis_address(user, files)
    tls = TlsFiles(files.ca, files.certificate, files.key)
    client = RedisConnection(
        address.username, address.password_file, address.unix_socket, address.host, address.port, tls
    ).open()
    if password is not None:
        client.connection_pool.connection_kwargs["password"] = password
    return client


REDIS_COMMANDS: Final = {
    "reader": (("SET", "bkdms:x", "1"), ("DEL", "bkdms:x"), ("EVAL", "return 1", "0"), ("GET", "other")),
    "node": (
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("KEYS", "*"),
        ("ACL", "LIST"),
        ("SCRIPT", "FLUSH"),
        ("MODULE", "LIST"),
        ("SHUTDOWN",),
        ("REPLICAOF", "127.0.0.1", "1"),
        ("SET", "other", "1"),
        ("MONITOR",),
    ),
}


def redis_commands(user: str) -> Run:
    async def run(ground: Ground) -> str:
        allowed, client = [], redis_as(ground, user)
        for command in REDIS_COMMANDS[user]:
            try:
                await client.execute_command(*command)  # type: ignore[no-untyped-call]
            except NoPermissionError:
                continue
            except RedisError as error:
                allowed.append(f"{command[0]}: {error}")
                continue
            allowed.append(command[0])
        await client.aclose()
        return ", ".join(allowed) or f"{len(REDIS_COMMANDS[user])} refused"

    return run


def redis_login(user: str, password: str) -> Run:
    async def run(ground: Ground) -> str:
        client = redis_as(ground, user, password)
        try:
            await client.ping()
        except RedisError:
            return "refused"
        finally:
            await client.aclose()
        return "allowed"

    return run


# Each needs a right of its own.
STATEMENTS: Final = (
    "DELETE FROM kpi_records",
    "UPDATE observations SET exact = '0'",
    "CREATE TABLE hostile (x int)",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "SELECT pg_read_file('/etc/passwd')",
    "CREATE ROLE hostile SUPERUSER",
    f"SET ROLE {ADMIN_ROLE}",
)


def statements(role: Role) -> Run:
    async def run(ground: Ground) -> str:
        url = ground.deployment.stack.database_url(role, "hostile").replace("+psycopg", "")
        allowed = []
        for statement in STATEMENTS:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                # What keeps a session from writing by mistake, anybody may lift.
                await connection.execute("SET default_transaction_read_only = off")
                try:
                    await connection.execute(statement.encode())
                except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue):
                    continue
                allowed.append(statement)
        return ", ".join(allowed) or f"{len(STATEMENTS)} refused"

    return run


ATTACKS: Final = [
    Attack("a site's certificate at everything in Kafka", "DST-4", f"{len(SITE)} refused", all_of(SITE)),
    Attack(
        "a validator's certificate elsewhere in Kafka",
        "DST-8",
        f"{len(VALIDATOR)} refused",
        all_of(VALIDATOR),
    ),
    Attack("a node's certificate at plain values in Kafka", "DST-8", f"{len(NODE)} refused", all_of(NODE)),
    Attack("an analyst's certificate writing to Kafka", "DST-8", f"{len(ANALYST)} refused", all_of(ANALYST)),
    *(
        Attack(
            f"Redis user {user} at commands of others",
            "DST-8",
            f"{len(commands)} refused",
            redis_commands(user),
        )
        for user, commands in REDIS_COMMANDS.items()
    ),
    Attack("Redis with a guessed password", "DST-8", "refused", redis_login("node", "guessed")),
    Attack("PostgreSQL as an analyst", "DST-8", f"{len(STATEMENTS)} refused", statements(Role.ANALYST)),
    Attack("PostgreSQL as the API", "DST-8", f"{len(STATEMENTS)} refused", statements(Role.API)),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_right_that_nobody_gave(attack: Attack, see: Callable[[Attack], Awaitable[str]]) -> None:
    assert await see(attack) == attack.expected
