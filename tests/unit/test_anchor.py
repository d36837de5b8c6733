"""An anchor tells whether a chain is still the one that it was kept of, and where it parts as narrowly as it can."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pipeline.core.anchor import Anchor, AnchorKind, AnchorProblem, AnchorReason, parse_anchor
from pipeline.core.anchor_check import AnchorCheck, AnchorReport
from pipeline.core.evidence import Evidence, parse_evidence
from pipeline.core.merkle import path_ranges
from pipeline.core.note import format_note, parse_note
from pipeline.core.tlog_proof import TlogProof, parse_tlog_proof
from tests.support.histories import History, rewritten
from tests.support.world import World

TRUE, FALSE = rewritten()
GENESIS = TRUE.world.genesis
PARTS_AT = 21
LEAVES = 38


def anchor(data: bytes, name: str = "kept.txt") -> Anchor:
    found = parse_anchor(GENESIS, data, name)
    assert isinstance(found, Anchor), found
    return found


def held(history: History, *data: bytes, blocks: int = 12) -> AnchorReport:
    """Hold the first blocks of a history against anchors."""
    check = AnchorCheck([anchor(item, f"kept-{number}") for number, item in enumerate(data)])
    for derived in history.chain.blocks[:blocks]:
        check.grow(derived.block.header.height, derived.block.hash, derived.block.leaf_hashes)
    return check.report()


def between(report: AnchorReport) -> tuple[int, int]:
    assert report.divergence is not None
    return report.divergence.first.index, report.divergence.last.index


def every_anchor(history: History) -> Iterator[bytes]:
    for height in range(2, 13):
        yield history.checkpoint(height)
        yield history.log_checkpoint(height)
        for entry in (0, 1):
            yield history.proof(height, entry, 12)
            yield history.proof(height, entry, height, evidence=False)
            yield history.receipt(height, entry, 12)
            yield history.receipt(height, entry, height, packet=False)


def test_every_anchor_agrees_with_its_own_history_and_says_up_to_where() -> None:
    for data in every_anchor(TRUE):
        report = held(TRUE, data)
        assert [verdict.agrees for verdict in report.verdicts] == [True]
        assert report.divergence is None
        assert report.agreed == anchor(data).size
        edges = [(piece.low, piece.high) for piece in anchor(data).pieces]
        assert [low for low, _ in edges] == [0, *(high for _, high in edges[:-1])]
        assert edges[-1][1] == anchor(data).size


def test_every_anchor_beyond_the_change_finds_it_and_names_leaves_that_hold_it() -> None:
    for data in every_anchor(TRUE):
        report = held(FALSE, data)
        if anchor(data).size <= PARTS_AT:
            assert report.divergence is None
        else:
            first, last = between(report)
            assert first <= PARTS_AT <= last < anchor(data).size


def test_a_checkpoint_names_the_whole_tree_and_a_second_one_narrows_it() -> None:
    assert between(held(FALSE, TRUE.checkpoint(9))) == (0, 28)
    report = held(FALSE, TRUE.checkpoint(9), TRUE.checkpoint(6))
    assert between(report) == (20, 28)
    assert str(report.divergence) == (
        "the first leaf that differs from kept-0 is one of 20 to 28 (block 7, entry 0 to block 9, its header)"
    )
    assert [verdict.agrees for verdict in report.verdicts] == [False, True]


def test_the_proof_and_the_receipt_of_the_changed_packet_name_it_alone() -> None:
    for data in (TRUE.proof(7, 1, 12), TRUE.receipt(7, 1, 9)):
        report = held(FALSE, data)
        assert between(report) == (PARTS_AT, PARTS_AT)
        assert "leaf 21 (block 7, entry 1) is the first that differs" in str(report.divergence)


@pytest.mark.parametrize("kind", ["proof", "receipt", "receipt without packet"])
def test_no_narrower_range_follows_from_the_hashes_of_an_anchor(kind: str) -> None:
    """Brute force over every range that the anchor has a hash of, by the leaves themselves."""
    same = [a == b for a, b in zip(TRUE.leaves, FALSE.leaves, strict=True)]
    for height in range(2, 13):
        for entry in (0, 1):
            index, header = TRUE.index(height, entry), TRUE.chain.blocks[height - 1].block.header
            leaves = [header.tree_size - 1]
            if kind != "receipt without packet":
                leaves.append(index)
            if kind == "proof":
                leaves += [0, 1]
                data = TRUE.proof(height, entry, 12)
            else:
                data = TRUE.receipt(height, entry, 12, packet=kind == "receipt")
            ranges = [
                (0, header.first_index),
                (header.first_index, header.tree_size - 1),
            ]  # of the header itself
            for leaf in leaves:
                ranges += [(leaf, leaf + 1), *path_ranges(leaf, LEAVES)]
            low, moved = 0, True
            while moved:
                after = max((b for a, b in ranges if a <= low and all(same[a:b])), default=0)
                low, moved = max(low, after), after > low
            high = min(b for a, b in ranges if not all(same[a:b]))
            assert between(held(FALSE, data)) == (low, high - 1), (height, entry)


def test_a_chain_cut_before_the_anchor_is_no_agreement() -> None:
    report = held(TRUE, TRUE.checkpoint(9), TRUE.checkpoint(3), blocks=5)
    assert [verdict.agrees for verdict in report.verdicts] == [None, True]
    assert [found.name for found in report.beyond] == ["kept-0"]
    assert report.agreed == 11


def test_a_proof_tells_of_a_change_although_the_chain_is_cut_before_its_end() -> None:
    report = held(FALSE, TRUE.proof(7, 1, 12), blocks=8)
    assert between(report) == (PARTS_AT, PARTS_AT)


def test_anchors_of_two_histories_contradict_each_other() -> None:
    report = held(FALSE, FALSE.checkpoint(12), TRUE.checkpoint(9))
    assert report.divergence is not None
    assert report.divergence.is_contradiction
    assert "no history agrees with all anchors" in str(report.divergence)


def test_a_chain_without_any_block_agrees_with_nothing() -> None:
    report = held(TRUE, TRUE.checkpoint(2), blocks=0)
    assert (report.agreed, [verdict.agrees for verdict in report.verdicts]) == (0, [None])


def test_progress_with_other_anchors_is_not_taken_up() -> None:
    check = AnchorCheck([anchor(TRUE.checkpoint(9))])
    assert check.go_on_from(AnchorCheck([anchor(TRUE.checkpoint(9), "renamed")]).progress())
    assert not check.go_on_from(AnchorCheck([anchor(TRUE.checkpoint(8))]).progress())
    assert not check.go_on_from(AnchorCheck([]).progress())


def test_the_report_is_json() -> None:
    value = json.loads(json.dumps(held(FALSE, TRUE.checkpoint(9)).as_json()))
    assert value["anchors"] == [{"name": "kept-0", "kind": "checkpoint", "tree_size": 29, "agrees": False}]
    assert value["divergence"]["first"] == {"leaf": 0, "height": 1, "entry": 0}


def test_the_kind_is_told_from_the_bytes() -> None:
    kinds = [anchor(data).kind for data in (TRUE.checkpoint(2), TRUE.proof(2, 0, 3), TRUE.receipt(2, 0, 3))]
    assert kinds == [AnchorKind.CHECKPOINT, AnchorKind.PROOF, AnchorKind.RECEIPT]


def flipped(data: bytes) -> bytes:
    """Return a note with a bit of its first signature changed."""
    note = parse_note(data)
    assert not isinstance(note, str)
    first, *others = note.signatures
    bad = replace(first, signature=first.signature[:-1] + bytes((first.signature[-1] ^ 1,)))
    return format_note(note.text, [bad, *others])


def head(**changes: Any) -> bytes:
    return json.dumps(TRUE.site_head(7, 1, 9).as_json() | changes).encode()


def without_nodes() -> bytes:
    note = parse_note(TRUE.checkpoint(9))
    assert not isinstance(note, str)
    return format_note(note.text, note.signatures[:2])


def other_path() -> bytes:
    proof = parse_tlog_proof(TRUE.proof(7, 1, 12))
    assert isinstance(proof, TlogProof)
    return replace(proof, index=proof.index + 1).encode()


def other_evidence(**changes: Any) -> bytes:
    """Return a proof whose evidence has other parts."""
    proof = parse_tlog_proof(TRUE.proof(7, 1, 12))
    assert isinstance(proof, TlogProof)
    evidence = parse_evidence(proof.extra or b"")
    assert isinstance(evidence, Evidence)
    return replace(proof, extra=replace(evidence, **changes).encode()).encode()


def other_origin() -> bytes:
    checkpoint = replace(TRUE.chain.blocks[8].checkpoint, origin="bkdms.local/other")
    return TRUE.world.certificate(checkpoint)


INVALID = {
    "nothing": (b"", AnchorReason.NOT_SIGNED),
    "junk": (b"\xff\x00 junk", AnchorReason.NOT_SIGNED),
    "too large": (b"x" * (5 << 20), AnchorReason.MALFORMED),
    "no quorum": (without_nodes(), AnchorReason.NOT_SIGNED),
    "a node's bad signature": (flipped(TRUE.checkpoint(9)), AnchorReason.NOT_SIGNED),
    "the log's bad signature": (flipped(TRUE.log_checkpoint(9)), AnchorReason.NOT_SIGNED),
    "another tree under the signatures": (
        TRUE.checkpoint(9).replace(b"\n29\n", b"\n28\n"),
        AnchorReason.NOT_SIGNED,
    ),
    "no JSON": (b"{", AnchorReason.MALFORMED),
    "other JSON": (b'{"format": "x"}', AnchorReason.MALFORMED),
    "head of another chain": (head(chain="00" * 32), AnchorReason.WRONG_CHAIN),
    "head of another tree size": (head(tree_size=28), AnchorReason.NOT_PROVEN),
    "head at another place": (head(leaf_index=20), AnchorReason.NOT_PROVEN),
    "head with another header": (head(header=head().decode()[-40:-38]), AnchorReason.MALFORMED),
    "head without quorum": (head(certificate=without_nodes().decode()), AnchorReason.NOT_PROVEN),
    "proof of another index": (other_path(), AnchorReason.NOT_PROVEN),
    "head of another tree size without packet": (head(payload=None, tree_size=28), AnchorReason.NOT_PROVEN),
    "checkpoint of another origin by our nodes": (other_origin(), AnchorReason.WRONG_CHAIN),
    "proof with another genesis file": (other_evidence(genesis=b"{}"), AnchorReason.WRONG_CHAIN),
    "proof with an enrolment from elsewhere": (
        other_evidence(enrolment=TRUE.proven(1, 0, 11)),
        AnchorReason.NOT_PROVEN,
    ),
    "proof with junk as evidence": (
        TlogProof(21, (), TRUE.checkpoint(9), b"junk").encode(),
        AnchorReason.MALFORMED,
    ),
    "proof with a bad hash": (
        TRUE.proof(7, 1, 12).replace(b"\nindex 21\n", b"\nindex 21\nAAAA\n"),
        AnchorReason.MALFORMED,
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_what_is_no_anchor_is_refused_with_the_reason(name: str) -> None:
    data, expected = INVALID[name]
    found = parse_anchor(GENESIS, data, name)
    assert isinstance(found, AnchorProblem)
    assert found.reason is expected, found.detail
    assert found.detail


def test_the_anchors_of_another_chain_are_refused() -> None:
    foreign = World(nodes=5, quorum=4).genesis
    for data in (TRUE.checkpoint(9), TRUE.proof(7, 1, 12), TRUE.receipt(7, 1, 9)):
        assert isinstance(parse_anchor(foreign, data, "x"), AnchorProblem)
