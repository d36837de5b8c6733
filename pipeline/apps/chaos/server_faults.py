"""Faults of Kafka and Redis beyond being killed: wiped, old, refusing, restarted, grown."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random
from typing import Final

from confluent_kafka.admin import AdminClient, NewPartitions

from ops.kafka.admin import client_settings
from ops.local_servers import REDIS, LocalServers
from pipeline.apps.chaos.stand import Stand

Strike = Callable[[Stand, Random], AbstractContextManager[str]]
_OLD_S: Final = 2.0
_TIMEOUT_S: Final = 15.0
# More replicas than there are: what a writer sees is an error at every write, while reads go on.
_REFUSE: Final = ("min-replicas-to-write", "1")
_ACCEPT: Final = ("min-replicas-to-write", "0")


def restart(kind: str) -> Strike:
    """End a server in order and start it again; of several brokers one."""

    @contextmanager
    def strike(stand: Stand, dice: Random) -> Iterator[str]:
        name = dice.choice(stand.names(kind))
        stand.end(name)
        yield name
        stand.restart(name)

    return strike


@contextmanager
def redis_wiped(stand: Stand, _: Random) -> Iterator[str]:
    """Delete everything; healing is the nodes' work."""
    with stand.redis() as client:
        client.flushall()
    yield REDIS


@contextmanager
def redis_refuses(stand: Stand, _: Random) -> Iterator[str]:
    """Let Redis answer every write with an error."""
    with stand.redis() as client:
        client.config_set(*_REFUSE)
        yield REDIS
        client.config_set(*_ACCEPT)


@contextmanager
def redis_old_copy(stand: Stand, _: Random) -> Iterator[str]:
    """Copy Redis' files, go on for a while, then start it on the copy."""
    data = LocalServers.of(stand.deployment.data_dir).redis.folder / "data"
    copy = data.with_name("data.copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy)
    time.sleep(_OLD_S)
    stand.end(REDIS)
    shutil.rmtree(data)
    copy.rename(data)
    stand.restart(REDIS)  # before another fault of the round waits for a step that needs it
    yield REDIS


@contextmanager
def more_partitions(stand: Stand, _: Random) -> Iterator[str]:
    """Give the packets topic one more partition; packets of a site may then overtake one another."""
    servers = LocalServers.of(stand.deployment.data_dir)
    admin = AdminClient(client_settings(servers.kafka_bootstrap, servers.asking))
    topic = stand.topics.packets
    count = len(admin.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions) + 1
    for future in admin.create_partitions([NewPartitions(topic, count)]).values():
        future.result(_TIMEOUT_S)
    yield f"{count} partitions"
