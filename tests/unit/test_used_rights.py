"""Which rights were used, read from Kafka's log of decisions."""

from pathlib import Path

import pytest

from ops.access_table import ACCESS, Operation
from ops.kafka.admin import bindings_of
from ops.kafka.broker import LOG_SETTINGS, SETTINGS_SECONDS, BrokerPlace
from ops.kafka.live import denial
from ops.kafka.used_rights import DECISIONS, unused, used_in, watch
from ops.tls.principal import Principal, Role
from pipeline.apps.cli.rights import table_rows
from pipeline.core.topics import Topics

VALIDATOR = Principal(Role.VALIDATOR, "v1")


def line(word: str, operation: str, resource: str, principal: Principal = VALIDATOR) -> str:
    """A line as Kafka writes it."""
    return (
        f"Principal = {principal.kafka} is {word} operation = {operation} from host = 127.0.0.1 on resource = "
        f"{resource} for request = Fetch with resourceRefCount = 1 based on rule MatchingAcl(…)"
    )


LINES = [
    line("Allowed", "READ", "Topic:LITERAL:kpi.packets.v1"),
    line("Allowed", "READ", "Group:LITERAL:bkdms-validator-ab12"),
    line("Denied", "WRITE", "Topic:LITERAL:kpi.chain.v1"),
    line("Allowed", "WRITE", "Topic:LITERAL:kpi.rejected.v1", Principal(Role.VALIDATOR, "v2")),
    "something else",
]


def test_what_nobody_used_is_named() -> None:
    """A refusal is no use, nor is another's use; a group with the prefix is."""
    left = {
        (one.name, one.operation.name)  # type: ignore[union-attr]  # as made
        for one in unused(bindings_of(VALIDATOR, Topics()), used_in(LINES))
    }
    assert left == {
        ("kpi.sites.v1", "READ"),
        ("kpi.chain.v1", "WRITE"),
        ("kpi.rejected.v1", "WRITE"),
        *(("bkdms-validator", word) for word in ("READ", "WRITE", "CREATE")),
    }


def test_a_denial_is_no_unused_right() -> None:
    assert unused(denial(Principal(Role.CLIENT, "c")), frozenset()) == []


def test_the_log_is_switched_on_for_a_while_and_off_again(tmp_path: Path) -> None:
    settings, decisions = tmp_path / LOG_SETTINGS, tmp_path / f"kafka-{DECISIONS}"
    settings.write_bytes(b"before\n")
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 1:
            assert "kafka.authorizer.logger" in settings.read_text()
            decisions.write_text("\n".join(LINES))

    used = watch([BrokerPlace(tmp_path, tmp_path, 1, 2)], 30, sleep)
    assert (VALIDATOR.kafka, "READ", "TOPIC", "kpi.packets.v1") in used
    assert waited == [SETTINGS_SECONDS + 30, SETTINGS_SECONDS]
    assert settings.read_bytes() == b"before\n"
    assert not decisions.exists()


def test_several_brokers_are_watched_at_once(tmp_path: Path) -> None:
    """What one of them allowed is used."""
    places = [BrokerPlace(tmp_path / f"{node}", tmp_path, 1, 2, node) for node in (1, 2, 3)]
    for place in places:
        place.folder.mkdir()
        (place.folder / LOG_SETTINGS).write_bytes(b"before\n")

    def sleep(_seconds: float) -> None:
        (tmp_path / f"kafka-3-{DECISIONS}").write_text("\n".join(LINES))

    used = watch(places, 30, sleep)
    assert (VALIDATOR.kafka, "READ", "TOPIC", "kpi.packets.v1") in used
    assert [(place.folder / LOG_SETTINGS).read_bytes() for place in places] == 3 * [b"before\n"]


def test_the_log_is_switched_off_when_watching_is_broken_off(tmp_path: Path) -> None:
    settings = tmp_path / LOG_SETTINGS
    settings.write_bytes(b"before\n")
    calls = iter([KeyboardInterrupt, None])

    def sleep(_seconds: float) -> None:
        if (error := next(calls)) is not None:
            raise error

    with pytest.raises(KeyboardInterrupt):
        watch([BrokerPlace(tmp_path, tmp_path, 1, 2)], 30, sleep)
    assert settings.read_bytes() == b"before\n"


def test_people_are_shown_the_whole_table() -> None:
    rows = table_rows()
    assert set(rows) == {role.value for role in Role}
    for role, row in ACCESS.items():
        shown = rows[role.value]
        assert shown["topics"] == {
            name: [Operation(word).value for word in words] for name, words in row.topics.items()
        }
        assert set(shown["tables"]) == set(row.tables)
        assert len(shown["scopes"]) == len(row.scopes)
