"""A new chain: its folder, its genesis file, and the policy that auditors get."""

import hashlib
from pathlib import Path

import pytest

from pipeline.adapters.keystore import load_signer
from pipeline.apps.authority import (
    ChainFiles,
    ChainPlan,
    create_chain,
    load_genesis,
    node_names,
    usual_quorum,
)
from pipeline.core.contract import Contract
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import largest_block
from pipeline.core.keys import Use
from pipeline.core.note import MLDSA44, VerifierKey, parse_verifier_key

PLAN = ChainPlan("https://kpi.example.org/city1", "t.", contract=Contract(period_ms=1000))


@pytest.fixture
def files(tmp_path: Path) -> ChainFiles:
    """A chain in a folder."""
    return create_chain(tmp_path / "chain", PLAN)


def test_the_genesis_file_says_what_was_planned(files: ChainFiles) -> None:
    genesis = files.genesis()
    assert (genesis.url, genesis.topic, genesis.partition) == (PLAN.url, "t.kpi.chain.v1", 0)
    assert (genesis.root_threshold, len(genesis.root_keys)) == (2, 3)
    assert (genesis.policy.node_names, genesis.policy.quorum) == (node_names(4), 3)
    assert genesis.contract == PLAN.contract


def test_every_key_is_in_its_file_with_its_use(files: ChainFiles) -> None:
    genesis = files.genesis()
    assert load_signer(files.registrar_key, Use.REGISTRAR).public == genesis.registrars[0]
    assert load_signer(files.log_key, Use.LOG).public == genesis.log_key
    roots = tuple(load_signer(files.root_key(number), Use.ROOT).public for number in (1, 2, 3))
    assert roots == genesis.root_keys
    for node in genesis.policy.nodes:
        second = node.algorithm == MLDSA44
        file = files.node_mldsa44_key(node.name) if second else files.node_key(node.name)
        assert load_signer(file, Use.NODE).public.raw == node.public_key


def test_the_chain_is_the_hash_of_the_file(files: ChainFiles) -> None:
    assert files.genesis().chain == hashlib.sha256(files.genesis_file.read_bytes()).digest()


def test_the_policy_names_log_witnesses_and_quorum(files: ChainFiles) -> None:
    genesis = files.genesis()
    lines = [line.split() for line in files.policy_file.read_text().splitlines() if line[0] != "#"]
    assert [line[0] for line in lines] == ["log", *["witness", "witness", "group"] * 4, "group", "quorum"]
    log = parse_verifier_key(lines[0][1])
    assert isinstance(log, VerifierKey)
    assert (log.name, log.public_key) == (genesis.origin, genesis.log_key.raw)
    witnesses = [parse_verifier_key(line[2]) for line in lines if line[0] == "witness"]
    assert witnesses == [node.verifier for node in genesis.policy.nodes]
    assert [line[1:3] for line in lines if line[0] == "group"][:4] == [
        [name, "any"] for name in node_names(4)
    ]
    assert lines[-2][2:] == ["3", *node_names(4)]
    assert lines[-1][1] == lines[-2][1]


def test_a_node_named_like_the_group_does_not_clash(tmp_path: Path) -> None:
    plan = ChainPlan(PLAN.url, nodes=("accounting-nodes",), quorum=1)
    lines = create_chain(tmp_path / "c", plan).policy_file.read_text().splitlines()
    assert lines[-1] == "quorum accounting-nodes-group"


def test_the_verifier_files_hold_the_same_keys(files: ChainFiles) -> None:
    policy = files.policy_file.read_text()
    keys = files.log_verifier_file.read_text() + files.node_verifiers_file.read_text()
    assert len(keys.splitlines()) == 9
    assert all(key in policy for key in keys.splitlines())


def test_a_chain_without_post_quantum_keys_names_each_node_as_a_witness(tmp_path: Path) -> None:
    plan = ChainPlan(PLAN.url, mldsa44=False)
    files = create_chain(tmp_path / "c", plan)
    assert not files.node_mldsa44_key("node-1").exists()
    assert "\ngroup accounting-nodes 3 node-1 node-2 node-3 node-4\n" in files.policy_file.read_text()
    assert files.genesis().contract.max_block == plan.contract.max_block


def test_many_nodes_take_room_from_the_blocks(tmp_path: Path) -> None:
    plan = ChainPlan(PLAN.url, nodes=node_names(16), quorum=11)
    genesis = create_chain(tmp_path / "c", plan).genesis()
    assert genesis.contract.max_block == largest_block(genesis.policy) < plan.contract.max_block


def test_a_chain_is_never_overwritten(files: ChainFiles) -> None:
    before = files.genesis_file.read_bytes()
    with pytest.raises(ConfigError, match="not empty"):
        create_chain(files.folder, PLAN)
    assert files.genesis_file.read_bytes() == before


def test_a_bad_plan_leaves_nothing_behind(tmp_path: Path) -> None:
    for plan in (ChainPlan("http://plain"), ChainPlan(PLAN.url, quorum=2), ChainPlan(PLAN.url, roots=1)):
        with pytest.raises(ConfigError):
            create_chain(tmp_path / "chain", plan)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["registrar", "root-1", "log", "none", "../x", "A", ""])
def test_a_node_name_must_fit_files_and_policies(name: str) -> None:
    with pytest.raises(ConfigError, match="node name"):
        ChainPlan(PLAN.url, nodes=(name,), quorum=1)


def test_the_usual_quorum_leaves_room_for_a_third() -> None:
    assert [usual_quorum(n) for n in (1, 2, 3, 4, 5, 7, 10)] == [1, 2, 3, 3, 4, 5, 7]


def test_a_missing_genesis_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bkdms genesis"):
        load_genesis(tmp_path / "genesis.json")
