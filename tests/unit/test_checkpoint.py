"""Checkpoints, cosignatures and certificates against the golden vector, and strict reading."""

import json
from dataclasses import replace
from typing import Any

import pytest

from pipeline.core.checkpoint import (
    COSIGNATURE_TYPES,
    Checkpoint,
    CheckpointProblem,
    Cosignature,
    assemble_certificate,
    cosign,
    parse_checkpoint,
    sign_as_log,
    verify_cosignature,
)
from pipeline.core.keys import Use
from pipeline.core.merkle import EMPTY_ROOT, leaf_hash, root_of
from pipeline.core.note import OpenedNote, VerifierKey, open_note, parse_verifier_key
from pipeline.core.signing import Ed25519Signer, MlDsa44Signer, P256Signer, Signer
from tests.vectors import generate_certificate

GOLDEN: Any = json.loads((generate_certificate.FOLDER / "certificate.json").read_text())
CHECKPOINT = Checkpoint("bkdms.local/city1", 3, bytes.fromhex(GOLDEN["root"]))
LOG = Ed25519Signer(bytes([7]) * 32, Use.LOG)
NODE = Ed25519Signer(bytes([1]) * 32, Use.NODE)
SECOND = MlDsa44Signer(bytes([1]) * 32, Use.NODE)
OTHER_NODE = Ed25519Signer(bytes([2]) * 32, Use.NODE)
ROOT_LINE = b"nVCWC0KTJndnQtpo9r+1fO1vmtOzLHAoIPOWb5yEUzk=\n"


def _node_cosignatures() -> list[Cosignature]:
    return [
        cosign(CHECKPOINT, name, Ed25519Signer(bytes.fromhex(seed), Use.NODE), GOLDEN["times"][name])
        for name, seed in GOLDEN["node_seeds"].items()
    ]


def test_the_vector_file_is_what_its_generator_writes() -> None:
    assert (generate_certificate.FOLDER / "certificate.json").read_text() == generate_certificate.files()[
        "certificate.json"
    ]


def test_root_and_verifier_key_are_those_that_upstream_programs_accepted() -> None:
    """The figures of the vector that the upstream fsck accepts, typed in here, not computed."""
    root = root_of([leaf_hash(entry) for entry in (b"kpi-0", b"kpi-1", b"kpi-2")])
    assert Checkpoint("bkdms.local/city1", 3, root).body() == b"bkdms.local/city1\n3\n" + ROOT_LINE
    assert str(VerifierKey("bkdms.local/city1", 1, LOG.public.raw)) == (
        "bkdms.local/city1+6c288c3a+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs"
    )
    assert GOLDEN["log_key"] == "bkdms.local/city1+6c288c3a+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs"


def test_the_golden_certificate_is_made_byte_for_byte() -> None:
    certificate = assemble_certificate(CHECKPOINT, _node_cosignatures(), sign_as_log(CHECKPOINT, LOG))
    assert certificate.decode() == GOLDEN["certificate"]


def test_the_golden_certificate_opens_with_every_golden_key() -> None:
    keys = [parse_verifier_key(text) for text in (GOLDEN["log_key"], *GOLDEN["node_keys"])]
    verifiers = [key for key in keys if isinstance(key, VerifierKey)]
    opened = open_note(GOLDEN["certificate"].encode(), verifiers)
    assert isinstance(opened, OpenedNote)
    assert [found.key for found in opened.verified] == verifiers
    assert [found.timestamp for found in opened.verified] == [0, *GOLDEN["times"].values()]
    assert parse_checkpoint(opened.text) == CHECKPOINT


def test_a_body_is_read_back_as_it_was_written() -> None:
    empty = Checkpoint("a", 0, EMPTY_ROOT)
    largest = Checkpoint("o" * 255, 2**63 - 1, b"\xff" * 32)
    for checkpoint in (CHECKPOINT, empty, largest):
        assert parse_checkpoint(checkpoint.body()) == checkpoint


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", CheckpointProblem.NOT_THREE_LINES),
        (b"a\n3\n" + ROOT_LINE[:-1], CheckpointProblem.NOT_THREE_LINES),
        (b"a\n3\n" + ROOT_LINE + b"extension\n", CheckpointProblem.NOT_THREE_LINES),
        (b"a\n3\n" + ROOT_LINE + b"\n", CheckpointProblem.NOT_THREE_LINES),
        (b"\n3\n" + ROOT_LINE, CheckpointProblem.BAD_ORIGIN),
        (b"a b\n3\n" + ROOT_LINE, CheckpointProblem.BAD_ORIGIN),
        (b"a+b\n3\n" + ROOT_LINE, CheckpointProblem.BAD_ORIGIN),
        (b"a\r\n3\n" + ROOT_LINE, CheckpointProblem.BAD_ORIGIN),
        (b"a\n\n" + ROOT_LINE, CheckpointProblem.BAD_SIZE),
        (b"a\n03\n" + ROOT_LINE, CheckpointProblem.BAD_SIZE),
        (b"a\n+3\n" + ROOT_LINE, CheckpointProblem.BAD_SIZE),
        (b"a\n-3\n" + ROOT_LINE, CheckpointProblem.BAD_SIZE),
        (b"a\n3 \n" + ROOT_LINE, CheckpointProblem.BAD_SIZE),
        (b"a\n1_0\n" + ROOT_LINE, CheckpointProblem.BAD_SIZE),
        ("a\n\u0663\n".encode() + ROOT_LINE, CheckpointProblem.BAD_SIZE),
        (b"a\n9223372036854775808\n" + ROOT_LINE, CheckpointProblem.BAD_SIZE),
        (b"a\n" + b"9" * 400 + b"\n" + ROOT_LINE, CheckpointProblem.BAD_SIZE),
        (b"a\n0\n" + ROOT_LINE, CheckpointProblem.BAD_ROOT),
        (b"a\n3\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", CheckpointProblem.BAD_ROOT),
        (b"a\n3\n\n", CheckpointProblem.BAD_ROOT),
        (b"a\n3\n" + ROOT_LINE.replace(b"k=", b"l="), CheckpointProblem.BAD_ROOT),
        (b"a\n3\n" + ROOT_LINE.replace(b"=", b""), CheckpointProblem.BAD_ROOT),
        (b"a\n3\nAAAA" + ROOT_LINE, CheckpointProblem.BAD_ROOT),
        (b"\xff\n3\n" + ROOT_LINE, CheckpointProblem.NOT_UTF8),
        (b"a" * 512 + b"\n3\n" + ROOT_LINE, CheckpointProblem.TOO_LARGE),
    ],
)
def test_bytes_that_are_no_checkpoint_are_refused_by_name(data: bytes, problem: CheckpointProblem) -> None:
    assert parse_checkpoint(data) is problem


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [
        ("a b", 1, b"x" * 32),
        ("a", -1, b"x" * 32),
        ("a", 2**63, b"x" * 32),
        ("a", 1, b"x" * 31),
        ("a", 0, b"x" * 32),
    ],
)
def test_a_checkpoint_is_valid_once_made(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(ValueError, match="not a checkpoint"):
        Checkpoint(origin, size, root)


@pytest.fixture(params=[NODE, SECOND], ids=["ed25519", "mldsa44"])
def signer(request: pytest.FixtureRequest) -> Signer:
    """A node's key of each algorithm."""
    key: Signer = request.param
    return key


def _verifier(signer: Signer, name: str = "node1") -> VerifierKey:
    return VerifierKey(name, COSIGNATURE_TYPES[signer.public.algorithm], signer.public.raw)


def test_a_cosignature_verifies_under_its_key_and_checkpoint(signer: Signer) -> None:
    assert verify_cosignature(CHECKPOINT, cosign(CHECKPOINT, "node1", signer, 1000), _verifier(signer))


@pytest.mark.parametrize(
    "changed",
    [
        {"timestamp": 1001},
        {"name": "node2"},
        {"key_id": b"else"},
        {"signature": bytes(64)},
        {"signature": bytes(2420)},
    ],
)
def test_no_part_of_a_cosignature_can_be_changed(signer: Signer, changed: dict[str, Any]) -> None:
    cosignature = replace(cosign(CHECKPOINT, "node1", signer, 1000), **changed)
    assert not verify_cosignature(CHECKPOINT, cosignature, _verifier(signer))


@pytest.mark.parametrize("changed", [{"origin": "bkdms.local/city2"}, {"size": 4}, {"root": b"x" * 32}])
def test_a_cosignature_is_of_one_checkpoint(signer: Signer, changed: dict[str, Any]) -> None:
    cosignature = cosign(CHECKPOINT, "node1", signer, 1000)
    assert not verify_cosignature(replace(CHECKPOINT, **changed), cosignature, _verifier(signer))


@pytest.mark.parametrize("other", [OTHER_NODE, MlDsa44Signer(b"o" * 32, Use.NODE)])
def test_a_cosignature_is_of_one_key(signer: Signer, other: Signer) -> None:
    key = _verifier(other)
    cosignature = replace(cosign(CHECKPOINT, "node1", signer, 1000), key_id=key.key_id)
    assert not verify_cosignature(CHECKPOINT, cosignature, key)


def test_only_a_mldsa44_cosignature_is_bound_to_its_cosigners_name() -> None:
    """C2SP tlog-cosignature: the Ed25519 message does not name the cosigner, the ML-DSA-44 one does."""
    for signer, is_bound in ((NODE, False), (SECOND, True)):
        key = _verifier(signer, "node2")
        renamed = replace(cosign(CHECKPOINT, "node1", signer, 1000), name="node2", key_id=key.key_id)
        assert verify_cosignature(CHECKPOINT, renamed, key) is not is_bound


def test_a_key_that_signs_otherwise_does_not_cosign() -> None:
    with pytest.raises(ValueError, match="cosigner"):
        cosign(CHECKPOINT, "node1", P256Signer(b"p" * 32, Use.NODE), 1000)


def test_a_cosignature_has_a_time_and_a_whole_signature(signer: Signer) -> None:
    good = cosign(CHECKPOINT, "node1", signer, 1000)
    changes: tuple[dict[str, Any], ...] = ({"timestamp": -1}, {"timestamp": 2**63}, {"signature": bytes(63)})
    for changed in changes:
        with pytest.raises(ValueError, match="cosignature"):
            replace(good, **changed)


def test_a_certificate_does_not_depend_on_the_order_of_arrival() -> None:
    cosignatures = _node_cosignatures()
    assert assemble_certificate(CHECKPOINT, cosignatures) == assemble_certificate(
        CHECKPOINT, reversed([*cosignatures, *cosignatures])
    )


def test_a_certificate_keeps_one_cosignature_of_a_key() -> None:
    early, late = (cosign(CHECKPOINT, "node1", NODE, time) for time in (1000, 2000))
    assert assemble_certificate(CHECKPOINT, [late, early]) == assemble_certificate(CHECKPOINT, [early])


def test_a_certificate_has_a_signature() -> None:
    with pytest.raises(ValueError, match="signed note"):
        assemble_certificate(CHECKPOINT, [])
