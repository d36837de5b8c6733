"""The tables of topics and rights, as data."""

from dataclasses import fields

import pytest

from ops.kafka.acl_table import Grant, Operation, grants
from ops.kafka.topic_table import topic_table
from ops.redis.acl_table import REDIS_USERS, acl_line
from ops.tls.principal import Role
from pipeline.core.topics import Topics

TOPICS = Topics("t1.")


def writers(topic: str) -> set[Role]:
    """The roles that may write a topic."""
    return {
        role
        for role in Role
        for grant in grants(role, TOPICS)
        if grant.name == topic and Operation.WRITE in grant.operations
    }


def readers(topic: str) -> set[Role]:
    """The roles that may read a topic."""
    return {
        role
        for role in Role
        for grant in grants(role, TOPICS)
        if grant.name == topic and Operation.READ in grant.operations
    }


def test_a_site_may_write_packets_and_nothing_else() -> None:
    """The role that outsiders hold has one right."""
    assert grants(Role.SITE, TOPICS) == (Grant("topic", TOPICS.packets, (Operation.WRITE,)),)


def test_only_nodes_publish_blocks() -> None:
    """Nobody else can put a block on the topic that all believe in after checking."""
    assert writers(TOPICS.blocks) == {Role.NODE}


def test_plain_values_are_read_by_analysis_only() -> None:
    """Observations stay with those who are granted them."""
    assert readers(TOPICS.observations) == {Role.ASSESS, Role.ANALYST}


def test_only_the_validator_reads_packets() -> None:
    """What sites send is filtered before anybody else sees it."""
    assert readers(TOPICS.packets) == {Role.VALIDATOR}


@pytest.mark.parametrize("role", Role)
def test_rights_keep_to_the_deployment(role: Role) -> None:
    """A grant names a topic of this deployment, or the role's own groups and internal topics."""
    for grant in grants(role, TOPICS):
        assert grant.name in TOPICS.all() or (grant.prefixed and grant.name == f"bkdms-{role.value}")


def test_every_topic_is_made_with_explicit_settings() -> None:
    """Limits, retention and clock are never the broker's defaults."""
    table = topic_table(TOPICS, chains=3)
    assert {spec.name for spec in table} == set(TOPICS.all())
    for spec in table:
        assert {"max.message.bytes", "retention.ms", "message.timestamp.type"} <= spec.settings.keys()


def test_what_is_kept_for_ever_is_flushed_for_each_message() -> None:
    """Chain log and blocks survive a power cut; one partition each for a chain."""
    table = {spec.name: spec for spec in topic_table(TOPICS, chains=3)}
    for name in (TOPICS.chain, TOPICS.blocks):
        assert table[name].partitions == 3
        assert table[name].settings["flush.messages"] == "1"
        assert table[name].settings["retention.ms"] == "-1"


@pytest.mark.parametrize("prefix", ["a b", "a/b", "ä", "x" * 101])
def test_a_prefix_that_kafka_refuses_is_refused(prefix: str) -> None:
    """The name would be refused later, and less clearly."""
    with pytest.raises(ValueError, match="topic prefix"):
        Topics(prefix)


def test_topics_hold_the_prefix_alone() -> None:
    """Names are derived, so two deployments with one prefix are equal."""
    assert [field.name for field in fields(Topics)] == ["prefix"]
    assert all(name.startswith("t1.kpi.") for name in TOPICS.all())


@pytest.mark.parametrize("user", sorted(REDIS_USERS.keys() - {"admin"}))
def test_no_redis_user_has_a_dangerous_command(user: str) -> None:
    """Neither a category nor a command that reaches past the keys below bkdms:."""
    line = acl_line(user, "00" * 32)
    assert "~bkdms:* resetchannels -@all +" in line
    for word in ("+@", "config", "flush", "keys", "script", "debug", "scan", "function", "nopass"):
        assert word not in line
