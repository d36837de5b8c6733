"""Ports, lock and the search for Java and Kafka, without starting either."""

import socket
from pathlib import Path

import pytest

from ops import ports
from ops.kafka import distribution
from ops.lock import FolderLock, holder
from ops.stack import EmbeddedStack
from pipeline.core.errors import ConfigError


def test_ports_are_chosen_once(tmp_path: Path) -> None:
    """The same names get the same ports again, and new names other ones."""
    file = tmp_path / "ports.json"
    first = ports.reserve(file, ["a", "b"])
    second = ports.reserve(file, ["a", "b", "c"])
    assert {name: second[name] for name in first} == first
    assert len(set(second.values())) == 3


def test_a_damaged_port_file_is_named(tmp_path: Path) -> None:
    """The remedy is in the message."""
    file = tmp_path / "ports.json"
    file.write_text("{")
    with pytest.raises(ConfigError, match=r"ports\.json is damaged: remove it"):
        ports.reserve(file, ["a"])


def test_a_port_in_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program on our port is reported with the file that holds the choice."""
    monkeypatch.setattr(ports, "PATIENCE_S", 0.0)
    with socket.socket() as other:
        other.bind((ports.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is in use by another program"):
            ports.demand_free(port, tmp_path / "ports.json")


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    """The second is told who has it; after release there is none."""
    lock = FolderLock(tmp_path)
    with pytest.raises(ConfigError, match="bkdms down"):
        FolderLock(tmp_path)
    lock.release()
    assert holder(tmp_path) is None
    FolderLock(tmp_path).release()


def test_a_lock_file_left_behind_holds_nothing(tmp_path: Path) -> None:
    """The number of a process that is gone, or of a stranger, stops nobody."""
    (tmp_path / "lock").write_text("1")
    assert holder(tmp_path) is None
    FolderLock(tmp_path).release()


@pytest.mark.parametrize("name", ["a,b", "a:b", 'a"b', "a\\b", "ä", "a\nb"])
def test_a_folder_that_kafkas_settings_cannot_name_is_refused(tmp_path: Path, name: str) -> None:
    """Kafka would read another path than ours."""
    with pytest.raises(ConfigError, match="name another data folder"):
        EmbeddedStack(tmp_path / name)


def test_missing_java_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message holds the command that installs it."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="apt-get install openjdk-17-jre-headless"):
        distribution.find_java()


def test_an_old_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java 11 does not run Kafka 4."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o700)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="too old for Kafka"):
        distribution.find_java()


@pytest.mark.parametrize(
    ("jars", "message"), [((), "no Kafka jars"), (("kafka_2.13-3.9.1.jar",), "use Kafka 4.1 or later")]
)
def test_a_kafka_folder_without_a_usable_kafka_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jars: tuple[str, ...], message: str
) -> None:
    """An empty folder and one of an older Kafka are refused."""
    (tmp_path / "libs").mkdir()
    for jar in jars:
        (tmp_path / "libs" / jar).touch()
    monkeypatch.setenv(distribution.KAFKA_HOME_VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match=message):
        distribution.find()


def test_without_maven_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache and no Maven: both ways out are in the message."""
    monkeypatch.setenv(distribution.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.delenv(distribution.KAFKA_HOME_VARIABLE, raising=False)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/java" if name == "java" else None)
    with pytest.raises(ConfigError, match=r"apt-get install maven, or set BKDMS_KAFKA_HOME"):
        distribution.ensure()
