"""A damaged certificate never certifies anything that the nodes did not sign."""

import json

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.checkpoint import Checkpoint, CheckpointProblem, parse_checkpoint
from pipeline.core.note import Note, NoteProblem, VerifierKey, format_note, parse_note, parse_verifier_key
from pipeline.core.quorum import Certified, NodeKey, Policy, check_certificate
from tests.vectors.generate_certificate import FOLDER

GOLDEN = json.loads((FOLDER / "certificate.json").read_text())
CERTIFICATE: bytes = GOLDEN["certificate"].encode()
CHECKPOINT = Checkpoint(GOLDEN["origin"], 3, bytes.fromhex(GOLDEN["root"]))


def _policy() -> Policy:
    keys = (parse_verifier_key(text) for text in GOLDEN["node_keys"])
    return Policy(tuple(NodeKey(k.name, k.public_key) for k in keys if isinstance(k, VerifierKey)), 3)


POLICY = _policy()
PIECES = st.one_of(st.binary(max_size=3), st.sampled_from([b"\n", b" ", b"+", b"=", b"\xe2\x80\x94 ", b"A"]))


@given(st.integers(0, len(CERTIFICATE)), st.integers(0, 3), PIECES)
def test_a_changed_certificate_certifies_the_same_checkpoint_or_none(at: int, gone: int, new: bytes) -> None:
    result = check_certificate(CERTIFICATE[:at] + new + CERTIFICATE[at + gone :], GOLDEN["origin"], POLICY)
    if isinstance(result, Certified):
        assert result.checkpoint == CHECKPOINT
        assert len(result.signers) >= 3


@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    assert not isinstance(check_certificate(data, GOLDEN["origin"], POLICY), Certified)
    assert parse_verifier_key(data.decode(errors="surrogateescape")) in set(NoteProblem)


@given(st.integers(0, len(CERTIFICATE)), st.integers(0, 3), PIECES)
def test_a_note_has_one_form(at: int, gone: int, new: bytes) -> None:
    data = CERTIFICATE[:at] + new + CERTIFICATE[at + gone :]
    note = parse_note(data)
    if isinstance(note, Note):
        assert format_note(note.text, note.signatures) == data


@given(st.integers(0, len(CHECKPOINT.body())), st.integers(0, 3), PIECES)
def test_a_checkpoint_has_one_form(at: int, gone: int, new: bytes) -> None:
    body = CHECKPOINT.body()
    data = body[:at] + new + body[at + gone :]
    checkpoint = parse_checkpoint(data)
    if not isinstance(checkpoint, CheckpointProblem):
        assert checkpoint.body() == data
