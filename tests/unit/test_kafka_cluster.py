"""Several brokers in one data folder: names, numbers, identity, settings. One broker stays what it was."""

import json
from pathlib import Path

import pytest

from ops import ports
from ops.kafka.broker import BrokerPlace, Listening, Trust, properties
from ops.kafka.cluster import Cluster, broker_name, chosen_size, identity, in_sync_replicas, size_in
from ops.kafka.parts import bootstrap_of, broker_places, port_names
from ops.kafka.topic_table import topic_table
from ops.stack import EmbeddedStack
from pipeline.core.errors import ConfigError
from pipeline.core.topics import Topics

CONTROLLERS = (4, 5, 6)
PLACE = Path("/d")


def settings(cluster: Cluster | None, node: int = 1) -> dict[str, str]:
    trust = Trust(PLACE / "clients", PLACE / "parts")
    listening = Listening("127.0.0.1:1", 4)
    text = properties(listening, key_store=PLACE, trust=trust, data=PLACE, node=node, cluster=cluster)
    return dict(line.split("=", 1) for line in text.splitlines())


def test_a_broker_alone_keeps_its_name_and_its_settings() -> None:
    """Nothing of a cluster is in them."""
    found = settings(None)
    assert broker_name(1) == "kafka"
    assert found["controller.quorum.bootstrap.servers"] == "127.0.0.1:4"
    assert found["super.users"] == "User:admin:local;User:broker:1"
    assert (found["node.id"], found["default.replication.factor"], found["min.insync.replicas"]) == (
        "1",
        "1",
        "1",
    )
    assert "replica.lag.time.max.ms" not in found
    assert all("min.insync.replicas" not in spec.settings for spec in topic_table(Topics()))


def test_brokers_of_a_cluster_trust_one_another_and_keep_three_copies_of_which_two_count(
    tmp_path: Path,
) -> None:
    """Kafka's own topics included."""
    found = settings(Cluster(CONTROLLERS, identity(tmp_path / "c", 3)), node=2)
    assert found["node.id"] == "2"
    assert found["controller.quorum.bootstrap.servers"] == "127.0.0.1:4,127.0.0.1:5,127.0.0.1:6"
    assert found["super.users"] == "User:admin:local;User:broker:1;User:broker:2;User:broker:3"
    copies = {name: value for name, value in found.items() if name.endswith("replication.factor")}
    assert len(copies) == 4
    assert set(copies.values()) == {"3"}
    counting = {value for name, value in found.items() if name.endswith((".min.isr", "min.insync.replicas"))}
    assert counting == {"2"}
    topics = topic_table(Topics(), brokers=3)
    assert {spec.settings["min.insync.replicas"] for spec in topics} == {"2"}


def test_a_clusters_identity_is_made_once(tmp_path: Path) -> None:
    """A broker whose disk was lost is formatted as the one that it was."""
    file = tmp_path / "cluster.json"
    first = identity(file, 3)
    assert identity(file, 3) == first
    assert len({first.cluster, *first.directories}) == 4
    arguments = Cluster(CONTROLLERS, first).format_arguments
    assert arguments[1].split(",")[2] == f"3@127.0.0.1:6:{first.directories[2]}"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"cluster": "a"}', json.dumps({"cluster": "a", "directories": ["b"]})]
)
def test_an_identity_that_is_damaged_or_of_another_size_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cluster.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"cluster\.json is (damaged|of 1 brokers)"):
        identity(file, 3)


def test_a_data_folder_keeps_its_number_of_brokers(tmp_path: Path) -> None:
    """What was there before several could be is one."""
    file = tmp_path / "ports.json"
    assert (chosen_size({}, None), chosen_size({}, 3)) == (1, 3)
    three = ports.reserve(file, [*port_names(3), "redis"])
    assert (size_in(three), chosen_size(three, None), chosen_size(three, 3)) == (3, 3, 3)
    assert chosen_size({"kafka": 1, "kafka_controller": 2, "redis": 3}, None) == 1
    with pytest.raises(ConfigError, match=r"has 3 broker\(s\), not 1: name a new data folder"):
        chosen_size(three, 1)


@pytest.mark.parametrize("wanted", [0, 2, 4])
def test_other_numbers_are_refused(wanted: int) -> None:
    """Two brokers could lose none of them."""
    with pytest.raises(ConfigError, match="choose 1 or 3"):
        chosen_size({}, wanted)


def test_a_stack_says_so_before_anything_runs(tmp_path: Path) -> None:
    """And lets the folder go again."""
    ports.reserve(tmp_path / "ports.json", [*port_names(1), "redis"])
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"has 1 broker\(s\), not 3"):
            EmbeddedStack(tmp_path, brokers=3).start()


def test_clients_are_told_of_every_broker() -> None:
    chosen = dict(zip(port_names(3), range(1, 7), strict=True))
    places = broker_places(PLACE, chosen)
    assert bootstrap_of(places) == "127.0.0.1:1,127.0.0.1:3,127.0.0.1:5"
    assert [place.name for place in places] == ["kafka", "kafka-2", "kafka-3"]
    assert places[2] == BrokerPlace(PLACE / "kafka-3", PLACE / "logs", 5, 6, 3)


@pytest.mark.parametrize(("brokers", "wanted"), [(1, 1), (2, 1), (3, 2)])
def test_all_but_one_must_hold_a_record(brokers: int, wanted: int) -> None:
    assert in_sync_replicas(brokers) == wanted
