"""``bkdms attach``: what a client may do, what its folder says, and what is refused before Kafka is asked."""

import tomllib
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from ops.kafka.acl_table import TOPIC_RIGHTS, grants
from ops.kafka.client_rights import (
    client_bindings,
    client_group,
    granted_topics,
    is_denied,
)
from ops.kafka.live import denial
from ops.tls.principal import Principal, Role
from pipeline.apps import client_folder
from pipeline.apps.client_folder import Attachment, texts
from pipeline.config import load_settings
from pipeline.core.topics import Topics
from tests.support import command_line
from tests.support.clean_env import clean_env

__all__ = ["clean_env"]
MARIA = Principal(Role.CLIENT, "maria")
TOPICS = ("t.kpi.blocks.v1", "t.kpi.observations.v1")
MADE = Attachment(
    "client:maria", "127.0.0.1:9", "https://127.0.0.1:8", client_group(MARIA), TOPICS, "t.", "2027-01-01"
)


def test_a_client_may_read_its_topics_in_its_own_groups_and_nothing_else() -> None:
    found = {(b.restype, b.name, b.resource_pattern_type) for b in client_bindings(MARIA, TOPICS)}
    literal, prefixed = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
    assert found == {
        (ResourceType.TOPIC, "t.kpi.blocks.v1", literal),
        (ResourceType.TOPIC, "t.kpi.observations.v1", literal),
        (ResourceType.GROUP, "bkdms-client-maria", literal),
        (ResourceType.GROUP, "bkdms-client-maria:", prefixed),
    }
    for binding in client_bindings(MARIA, TOPICS):
        assert (binding.principal, binding.operation) == ("User:client:maria", AclOperation.READ)
        assert binding.permission_type == AclPermissionType.ALLOW


def test_no_client_can_join_the_groups_of_another() -> None:
    for other in ("maria2", "maria-x", "maria.x", "mar"):
        theirs = client_group(Principal(Role.CLIENT, other))
        assert theirs != client_group(MARIA)
        assert not theirs.startswith(f"{client_group(MARIA)}:")
        assert not client_group(MARIA).startswith(f"{theirs}:")


def test_the_role_itself_has_no_rights() -> None:
    assert Role.CLIENT not in TOPIC_RIGHTS
    assert grants(Role.CLIENT, Topics()) == ()


def test_a_denial_is_of_everything() -> None:
    assert {(b.restype, b.name) for b in denial(MARIA)} == {
        (ResourceType.TOPIC, "*"),
        (ResourceType.GROUP, "*"),
        (ResourceType.TRANSACTIONAL_ID, "*"),
        (ResourceType.BROKER, "kafka-cluster"),
    }
    assert is_denied(denial(MARIA))
    assert not is_denied(client_bindings(MARIA, TOPICS))


def test_who_is_denied_is_listed_without_topics() -> None:
    other = Principal(Role.CLIENT, "other")
    held = {*client_bindings(MARIA, TOPICS), *denial(MARIA), *client_bindings(other, TOPICS)}
    assert granted_topics(held) == {MARIA: [], other: list(TOPICS)}


def test_its_settings_file_is_one_that_our_programs_read(clean_env: Path) -> None:
    folder = clean_env / "maria"
    folder.mkdir()
    for name, text in texts(MADE).items():
        (folder / name).write_text(text)
    settings = load_settings(folder / client_folder.SETTINGS)
    assert settings.kafka.bootstrap == "127.0.0.1:9"
    assert settings.kafka.key == folder / "key.pem"
    assert settings.api.url == "https://127.0.0.1:8"
    assert settings.topics.observations == "t.kpi.observations.v1"
    assert settings.genesis == folder / "genesis.json"


def test_without_an_api_nothing_speaks_of_one() -> None:
    made = Attachment("client:m", "127.0.0.1:9", "", "g", ("kpi.blocks.v1",), "", "2027-01-01")
    found = texts(made)
    assert "api" not in tomllib.loads(found[client_folder.SETTINGS])
    assert "registry" not in found[client_folder.CONNECT_SINK]
    assert "The API" not in found[client_folder.README]


@pytest.mark.parametrize("name", [client_folder.LIBRDKAFKA, client_folder.JAVA])
def test_properties_name_the_client_s_group(name: str) -> None:
    assert "group.id=bkdms-client-maria\n" in texts(MADE)[name]


def test_a_connect_sink_reads_in_the_client_s_group_with_our_schemas() -> None:
    sink = texts(MADE)[client_folder.CONNECT_SINK]
    assert "consumer.override.group.id=bkdms-client-maria\n" in sink
    assert "topics=t.kpi.blocks.v1,t.kpi.observations.v1\n" in sink
    assert "value.converter.schema.registry.url=https://127.0.0.1:8\n" in sink


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    return command_line.refused(capsys, "attach", *arguments)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "say whom: bkdms attach --name NAME"),
        (("--name", "a b"), "begin with a letter or digit"),
        (("--name", "maria", "--topics", "blocks"), "nothing runs in"),
        (("--name", "maria", "--revoke"), "nothing runs in"),
        (("--list",), "nothing runs in"),
    ],
)
def test_mistakes_are_named_in_one_line(
    clean_env: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], part: str
) -> None:
    assert part in refused(capsys, *arguments)
    assert not (clean_env / "maria").exists()


def test_a_key_that_is_there_is_not_replaced_unasked(
    clean_env: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("maria").mkdir(mode=0o700)
    Path("maria/key.pem").write_text("kept")
    assert "--renew" in refused(capsys, "--name", "maria", "--topics", "blocks")
    assert Path("maria/key.pem").read_text() == "kept"
