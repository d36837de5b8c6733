"""The node policy and who counts in a certificate."""

import pytest

from pipeline.core.checkpoint import Checkpoint, assemble_certificate, cosign, sign_as_log
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Use
from pipeline.core.note import COSIGNATURE_V1, ED25519, NoteSignature, format_note
from pipeline.core.quorum import (
    CertificateProblem,
    CertificateReason,
    Certified,
    NodeKey,
    Policy,
    PolicyProblem,
    check_certificate,
    cosigner_of,
    tolerated_faults,
)
from pipeline.core.signing import Ed25519Signer

ORIGIN = "bkdms.local/city1"
CHECKPOINT = Checkpoint(ORIGIN, 3, b"r" * 32)
SIGNERS = {f"node{i}": Ed25519Signer(bytes([i]) * 32, Use.NODE) for i in range(1, 9)}
KEYS = {name: NodeKey(name, signer.public.raw) for name, signer in SIGNERS.items()}
POLICY = Policy(tuple(KEYS[f"node{i}"] for i in (1, 2, 3, 4)), 3)


def _certificate(*names: str, checkpoint: Checkpoint = CHECKPOINT) -> bytes:
    return assemble_certificate(
        checkpoint, [cosign(checkpoint, name, SIGNERS[name], 1000 + i) for i, name in enumerate(names)]
    )


def _reason(certificate: bytes, policy: Policy = POLICY) -> tuple[CertificateReason, str]:
    problem = check_certificate(certificate, ORIGIN, policy)
    assert isinstance(problem, CertificateProblem)
    return problem.reason, problem.detail


def test_three_of_four_nodes_certify() -> None:
    assert check_certificate(_certificate("node3", "node1", "node4"), ORIGIN, POLICY) == Certified(
        CHECKPOINT, ("node1", "node3", "node4"), (1001, 1000, 1002)
    )


def test_two_of_four_nodes_do_not_certify() -> None:
    assert _reason(_certificate("node1", "node2")) == (
        CertificateReason.TOO_FEW_NODES,
        "2 of the 3 nodes needed",
    )


def test_unknown_nodes_do_not_count() -> None:
    assert _reason(_certificate("node1", "node2", "node5", "node6"))[0] is CertificateReason.TOO_FEW_NODES


def test_unknown_nodes_do_no_harm() -> None:
    certified = check_certificate(_certificate("node1", "node2", "node3", "node5"), ORIGIN, POLICY)
    assert isinstance(certified, Certified)
    assert certified.signers == ("node1", "node2", "node3")


def test_a_node_that_signs_thrice_counts_once() -> None:
    """Assembled by hand, since ``assemble_certificate`` would keep one of a key."""
    lines = [cosign(CHECKPOINT, "node1", SIGNERS["node1"], time).as_note_signature() for time in (7, 5, 6)]
    lines.append(cosign(CHECKPOINT, "node2", SIGNERS["node2"], 5).as_note_signature())
    assert _reason(format_note(CHECKPOINT.body(), lines))[0] is CertificateReason.TOO_FEW_NODES
    lines.append(cosign(CHECKPOINT, "node3", SIGNERS["node3"], 9).as_note_signature())
    certified = check_certificate(format_note(CHECKPOINT.body(), lines), ORIGIN, POLICY)
    assert isinstance(certified, Certified)
    assert certified.timestamps == (5, 5, 9)


def test_a_node_with_two_keys_has_one_voice() -> None:
    twin = NodeKey("node8", SIGNERS["node8"].public.raw, node="node1")
    policy = Policy((*POLICY.nodes, twin), 3)
    assert policy.node_names == ("node1", "node2", "node3", "node4")
    assert _reason(_certificate("node1", "node8", "node2"), policy)[0] is CertificateReason.TOO_FEW_NODES
    certified = check_certificate(_certificate("node8", "node2", "node3"), ORIGIN, policy)
    assert isinstance(certified, Certified)
    assert certified.signers == ("node1", "node2", "node3")


def test_one_bad_signature_of_a_known_node_refuses_the_certificate() -> None:
    lines = [
        cosign(CHECKPOINT, name, SIGNERS[name], 5).as_note_signature() for name in ("node1", "node2", "node3")
    ]
    lines.append(NoteSignature("node4", KEYS["node4"].key_id, bytes(72)))
    assert _reason(format_note(CHECKPOINT.body(), lines)) == (CertificateReason.BAD_NOTE, "bad_signature")


def test_cosignatures_of_another_checkpoint_refuse_the_certificate() -> None:
    other = Checkpoint(ORIGIN, 4, b"r" * 32)
    lines = [
        cosign(other, name, SIGNERS[name], 5).as_note_signature() for name in ("node1", "node2", "node3")
    ]
    assert _reason(format_note(CHECKPOINT.body(), lines)) == (CertificateReason.BAD_NOTE, "bad_signature")


def test_a_certificate_of_another_chain_is_refused() -> None:
    certificate = _certificate(
        "node1", "node2", "node3", checkpoint=Checkpoint("bkdms.local/city2", 3, b"r" * 32)
    )
    assert _reason(certificate)[0] is CertificateReason.WRONG_ORIGIN


def test_the_logs_own_signature_is_no_voice() -> None:
    log = Ed25519Signer(bytes([7]) * 32, Use.LOG)
    cosignatures = [cosign(CHECKPOINT, name, SIGNERS[name], 5) for name in ("node1", "node2")]
    certificate = assemble_certificate(CHECKPOINT, cosignatures, sign_as_log(CHECKPOINT, log))
    assert _reason(certificate)[0] is CertificateReason.TOO_FEW_NODES


def test_cosigned_text_that_is_no_checkpoint_is_refused() -> None:
    text = CHECKPOINT.body() + b"extension\n"
    lines = []
    for name in ("node1", "node2", "node3"):
        signature = SIGNERS[name].sign(b"cosignature/v1\ntime 5\n" + text)
        lines.append(NoteSignature(name, KEYS[name].key_id, (5).to_bytes(8, "big") + signature))
    assert _reason(format_note(text, lines)) == (CertificateReason.BAD_CHECKPOINT, "not_three_lines")


def test_a_certificate_of_strangers_is_refused() -> None:
    assert _reason(_certificate("node5"))[1] == "no_known_signature"


def test_a_cosignature_is_attributed_to_its_node() -> None:
    cosignature = cosign(CHECKPOINT, "node2", SIGNERS["node2"], 5)
    assert cosigner_of(CHECKPOINT, cosignature, POLICY) == "node2"


def test_a_cosignature_of_nobody_here_is_attributed_to_nobody() -> None:
    stranger = cosign(CHECKPOINT, "node5", SIGNERS["node5"], 5)
    pretender = cosign(CHECKPOINT, "node2", SIGNERS["node5"], 5)
    elsewhere = cosign(Checkpoint(ORIGIN, 4, b"r" * 32), "node2", SIGNERS["node2"], 5)
    for cosignature in (stranger, pretender, elsewhere):
        assert cosigner_of(CHECKPOINT, cosignature, POLICY) is None


@pytest.mark.parametrize(
    ("nodes", "quorum", "faults"), [(1, 1, 0), (3, 2, 0), (4, 3, 1), (5, 4, 2), (7, 5, 2)]
)
def test_tolerated_faults_follow_2k_greater_n_plus_f(nodes: int, quorum: int, faults: int) -> None:
    assert tolerated_faults(nodes, quorum) == faults
    assert 2 * quorum > nodes + faults
    assert not 2 * quorum > nodes + faults + 1


@pytest.mark.parametrize(
    ("keys", "quorum", "problem"),
    [
        ((), 1, PolicyProblem.QUORUM_OUT_OF_RANGE),
        (POLICY.nodes, 0, PolicyProblem.QUORUM_OUT_OF_RANGE),
        (POLICY.nodes, 5, PolicyProblem.QUORUM_OUT_OF_RANGE),
        (POLICY.nodes, 2, PolicyProblem.QUORUM_NOT_A_MAJORITY),
        ((KEYS["node1"], KEYS["node1"]), 1, PolicyProblem.SHARED_KEY),
        ((KEYS["node1"], NodeKey("node2", KEYS["node1"].public_key)), 2, PolicyProblem.SHARED_KEY),
        ((KEYS["node1"], NodeKey("node1", KEYS["node2"].public_key)), 1, PolicyProblem.SHARED_NAME),
        ((KEYS["node1"], NodeKey("node1", KEYS["node2"].public_key, "other")), 2, PolicyProblem.SHARED_NAME),
    ],
)
def test_a_policy_is_valid_once_made(keys: tuple[NodeKey, ...], quorum: int, problem: PolicyProblem) -> None:
    with pytest.raises(ConfigError) as refusal:
        Policy(keys, quorum)
    assert refusal.value.code == problem


def test_a_policy_has_at_most_32_keys() -> None:
    keys = tuple(
        NodeKey(f"n{i}", Ed25519Signer(i.to_bytes(32, "big"), Use.NODE).public.raw) for i in range(1, 34)
    )
    assert Policy(keys[:32], 32).quorum == 32
    with pytest.raises(ConfigError) as refusal:
        Policy(keys, 33)
    assert refusal.value.code == PolicyProblem.TOO_MANY_KEYS


@pytest.mark.parametrize(
    ("name", "key", "node", "algorithm"),
    [
        ("a b", KEYS["node1"].public_key, "", COSIGNATURE_V1),
        ("a", KEYS["node1"].public_key, "a b", COSIGNATURE_V1),
        ("a", KEYS["node1"].public_key[:31], "", COSIGNATURE_V1),
        ("a", (1).to_bytes(32, "little"), "", COSIGNATURE_V1),
        ("a", b"\xff" * 32, "", COSIGNATURE_V1),
        ("a", KEYS["node1"].public_key, "", ED25519),
        ("a", KEYS["node1"].public_key, "", 6),
    ],
)
def test_a_node_key_is_valid_once_made(name: str, key: bytes, node: str, algorithm: int) -> None:
    with pytest.raises(ConfigError) as refusal:
        NodeKey(name, key, node, algorithm)
    assert refusal.value.code == "node_key"
