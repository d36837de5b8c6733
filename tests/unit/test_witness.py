"""What an answer to add-checkpoint means, and what a request looks like."""

from base64 import b64encode

import pytest

from pipeline.core.checkpoint import Checkpoint, cosign
from pipeline.core.keys import Use
from pipeline.core.merkle import MAX_TREE_SIZE
from pipeline.core.note import ED25519, MLDSA44, VerifierKey
from pipeline.core.signing import MlDsa44Signer
from pipeline.core.witness import (
    MAX_PROOF_HASHES,
    WitnessAnswer,
    WitnessOutcome,
    encode_request,
    read_answer,
)
from tests.support.witness import TIME_S, HonestWitness
from tests.support.world import secret
from tests.vectors import generate_merkle as naive

LOG = VerifierKey("log.example/one", ED25519, bytes(31) + b"\x05")
CHECKPOINT = Checkpoint(LOG.name, 8, bytes(range(32)))
WITNESS = HonestWitness(LOG)
OTHER = HonestWitness(LOG, "w2.example/witness")
KEYS = [WITNESS.key]


def read(status: int, body: bytes = b"", old: int = 5) -> WitnessAnswer:
    return read_answer(status, body, CHECKPOINT, old, KEYS)


def outcome(status: int, body: bytes = b"", old: int = 5) -> str:
    return read(status, body, old).outcome.value


def test_a_request_is_old_size_proof_and_checkpoint() -> None:
    path = naive.consistency(5, naive.leaves(8))
    lines = [b"old 5", *map(b64encode, path), b"", b"the note"]
    assert encode_request(5, path, b"the note") == b"\n".join(lines)
    assert encode_request(0, [], b"the note") == b"old 0\n\nthe note"


@pytest.mark.parametrize(("old", "hashes"), [(0, 1), (5, MAX_PROOF_HASHES + 1)])
def test_a_proof_that_no_witness_may_be_sent_is_not_encoded(old: int, hashes: int) -> None:
    with pytest.raises(ValueError, match="63 hashes"):
        encode_request(old, [bytes(32)] * hashes, b"the note")


def test_a_cosignature_that_verifies_is_taken() -> None:
    line = WITNESS.cosigned(CHECKPOINT)
    answer = read(200, line)
    assert answer.outcome is WitnessOutcome.COSIGNED
    assert [found.line.encode() for found in answer.cosignatures] == [line]


def test_cosignatures_of_others_are_left_out_and_repeats_too() -> None:
    line = WITNESS.cosigned(CHECKPOINT)
    answer = read(200, OTHER.cosigned(CHECKPOINT) + line + line)
    assert [found.line.encode() for found in answer.cosignatures] == [line]


OLDER = Checkpoint(LOG.name, 7, bytes(range(32)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"cosigned\n",
        WITNESS.cosigned(CHECKPOINT)[:-1],
        WITNESS.cosigned(OLDER),
        OTHER.cosigned(CHECKPOINT),
        WITNESS.cosigned(CHECKPOINT) + WITNESS.cosigned(OLDER),
        b"\n" + WITNESS.cosigned(CHECKPOINT),
        WITNESS.cosigned(CHECKPOINT) + b"\n" + WITNESS.cosigned(CHECKPOINT),
        OLDER.body() + b"\n" + WITNESS.cosigned(OLDER),
        b"\xff\xfe",
        WITNESS.cosigned(CHECKPOINT) * 65,
    ],
)
def test_anything_else_with_status_200_is_a_bad_answer(body: bytes) -> None:
    assert read(200, body) == WitnessAnswer(WitnessOutcome.BAD_ANSWER)


def test_a_post_quantum_cosignature_under_another_text_is_a_bad_answer() -> None:
    signer = MlDsa44Signer(secret("w3"), Use.NODE)
    key = VerifierKey("w3.example/witness", MLDSA44, signer.public.raw)
    line = cosign(CHECKPOINT, key.name, signer, TIME_S).as_note_signature().line.encode()
    assert read_answer(200, line, CHECKPOINT, 5, [key]).outcome is WitnessOutcome.COSIGNED
    # This signature covers the first three lines of a text only.
    assert read_answer(200, b"\n" + line, CHECKPOINT, 5, [key]).outcome is WitnessOutcome.BAD_ANSWER


def test_another_size_is_taken_from_a_conflict() -> None:
    assert read(409, b"3\n") == WitnessAnswer(WitnessOutcome.STALE, size=3)
    assert read(409, b"3") == WitnessAnswer(WitnessOutcome.STALE, size=3)
    assert read(409, b"0\n") == WitnessAnswer(WitnessOutcome.STALE, size=0)
    assert read(409, b"8\n") == WitnessAnswer(WitnessOutcome.STALE, size=8)
    assert read(409, b"9\n") == WitnessAnswer(WitnessOutcome.AHEAD, size=9)


@pytest.mark.parametrize(
    "body", [b"", b"-1\n", b"03\n", b"3 \n", b"3\n\n", b"\xd9\xa3\n", b"5\n", b"%d\n" % (MAX_TREE_SIZE + 1)]
)
def test_a_conflict_that_tells_no_other_size_is_a_bad_answer(body: bytes) -> None:
    assert outcome(409, body) == "bad_answer"


@pytest.mark.parametrize("body", [b"", b"8\n", b"roots do not match\n"])
def test_a_conflict_at_the_same_size_is_a_fork(body: bytes) -> None:
    assert outcome(409, body, old=8) == "fork"


def test_an_inconsistency_is_a_fork_where_there_was_a_proof() -> None:
    assert outcome(422) == "fork"
    assert outcome(422, old=8) == "fork"
    assert outcome(422, old=0) == "bad_answer"


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (400, "request_refused"),
        (403, "signature_refused"),
        (404, "unknown_log"),
        (429, "away"),
        (500, "away"),
        (503, "away"),
        (302, "away"),
        (201, "away"),
    ],
)
def test_other_answers_are_refusals_or_absence(status: int, found: str) -> None:
    assert outcome(status, WITNESS.cosigned(CHECKPOINT)) == found
