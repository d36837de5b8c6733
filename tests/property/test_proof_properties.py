"""Portable proofs survive any bytes: no crash, one form only, and two checkers that never disagree."""

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.evidence import Evidence, parse_evidence
from pipeline.core.merkle import HASH_BYTES
from pipeline.core.proof import Proof, verify_proof
from pipeline.core.tlog_policy import TlogPolicy, parse_policy
from pipeline.core.tlog_proof import MAX_PATH, TlogProof, parse_tlog_proof
from tests.unit.test_proof_vectors import CHECK, stored
from tests.vectors.proof_bodies import text64

BASE: dict[str, str] = stored("proof_edits.json")["base"]
TWO_KEYS = next(case for case in stored("proof_accept.json") if case["name"].startswith("two keys"))
PIECES = ("", "\n", "\n\n", " ", "\u2014 ", "\u00a0", "0", "-1", "true", "A", "=", "extra ", "group x any ")


@st.composite
def edited(draw: st.DrawFn, text: str) -> str:
    """Return a text with one stretch of it cut out or replaced, often by another stretch of the same text."""
    at = draw(st.integers(0, len(text)))
    cut = draw(st.sampled_from([0, 1, 1, 2, 3, 40]))
    start = draw(st.integers(0, len(text)))
    put = draw(st.sampled_from(PIECES) | st.characters(codec="utf-8") | st.just(text[start : start + 50]))
    return text[:at] + put + text[at + cut :]


def ours(policy: bytes, proof: bytes) -> bool:
    parsed = parse_policy(policy)
    return isinstance(parsed, TlogPolicy) and isinstance(verify_proof(parsed, proof), Proof)


def theirs(policy: bytes, proof: bytes) -> bool:
    try:
        CHECK(policy, proof)
    except Exception:
        return False
    return True


def agree(policy: str, proof: str) -> bool:
    found = ours(policy.encode(), proof.encode())
    assert theirs(policy.encode(), proof.encode()) is found
    return found


@given(edited(BASE["proof"]))
def test_both_checkers_agree_on_edited_proofs(proof: str) -> None:
    agree(BASE["policy"], proof)


@given(edited(BASE["evidence"]))
def test_no_edited_evidence_is_accepted(evidence: str) -> None:
    proof = BASE["proof"].replace(text64(BASE["evidence"].encode()), text64(evidence.encode()))
    assert agree(BASE["policy"], proof) is (evidence == BASE["evidence"])


@example(TWO_KEYS["policy"][:-1])
@example(TWO_KEYS["policy"].replace("others 1", "others 01"))
@example(TWO_KEYS["policy"].replace("others 1", "others any"))
@example(TWO_KEYS["policy"].replace("\n", "\r\n"))
@given(edited(TWO_KEYS["policy"]))
def test_both_checkers_agree_under_edited_policies(policy: str) -> None:
    agree(policy, TWO_KEYS["proof"])


@given(st.binary(max_size=2000))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert not ours(BASE["policy"].encode(), data)
    assert not isinstance(parse_evidence(data), Evidence)


HASHES = st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES)


@given(
    st.integers(0, 2**63 - 2),
    st.lists(HASHES, max_size=MAX_PATH).map(tuple),
    st.binary(min_size=1),
    st.none() | st.binary(min_size=1),
)
def test_what_is_written_is_read_back(
    index: int, path: tuple[bytes, ...], note: bytes, extra: bytes | None
) -> None:
    proof = TlogProof(index, path, note, extra)
    assert parse_tlog_proof(proof.encode()) == proof


@given(edited(BASE["proof"]))
def test_what_is_read_is_written_as_it_was(text: str) -> None:
    proof = parse_tlog_proof(text.encode())
    if isinstance(proof, TlogProof):
        assert proof.encode() == text.encode()
