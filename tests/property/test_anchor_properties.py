"""Anchors of any shape, against chains of any shape: the first leaf that differs is among those that are named."""

import json
from collections.abc import Container, Sequence
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.anchor import Anchor, AnchorKind, AnchorProblem, Link, Piece, parse_anchor
from pipeline.core.anchor_check import AnchorCheck, AnchorReport
from pipeline.core.merkle import path_ranges, root_of
from tests.support.histories import rewritten

TRUE, _ = rewritten(blocks=4, height=3)
KEPT = [TRUE.checkpoint(3), TRUE.log_checkpoint(2), TRUE.proof(3, 1, 4), TRUE.receipt(3, 1, 4)]


def leaves_of(count: int, others: Container[int] = ()) -> list[bytes]:
    """Return leaf hashes that are other ones at some indexes."""
    return [sha256(b"%d/%d" % (i, i in others)).digest() for i in range(count)]


def block_hash(leaves: Sequence[bytes], size: int) -> bytes:
    """Return a made-up hash of the block that ends a tree; it commits all leaves before, as real ones do."""
    return sha256(b"block" + root_of(leaves[:size])).digest()


def anchor_of(leaves: Sequence[bytes], size: int, indexes: Sequence[int], ends: Sequence[int]) -> Anchor:
    """Return an anchor with the finest pieces that paths of these leaves give, and links at block ends."""
    ranges = {(0, size)}
    for index in indexes:
        ranges |= {(index, index + 1), *path_ranges(index, size)}
    finest = [
        (low, high)
        for low, high in ranges
        if not any((a, b) != (low, high) and low <= a and b <= high for a, b in ranges)
    ]
    pieces = tuple(Piece(low, high, root_of(leaves[low:high])) for low, high in sorted(finest))
    links = tuple(Link(end, block_hash(leaves, end)) for end in ends if end <= size)
    return Anchor(f"of {size}", AnchorKind.PROOF, size, root_of(leaves[:size]), pieces, links)


def held(
    leaves: Sequence[bytes], ends: Sequence[int], anchors: Sequence[Anchor], stop: int = 0
) -> AnchorReport:
    """Hold a chain of blocks that end at these sizes against anchors, taken up anew after ``stop`` blocks."""
    check, start = AnchorCheck(anchors), 0
    for height, end in enumerate(ends, 1):
        check.grow(height, block_hash(leaves, end), leaves[start:end])
        start = end
        if height == stop:
            saved = json.loads(json.dumps(check.progress()))
            check = AnchorCheck(anchors)
            assert check.go_on_from(saved)
    return check.report()


@given(st.data())
def test_the_first_leaf_that_differs_is_named_whatever_the_anchors_know(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 70))
    others = data.draw(st.sets(st.integers(0, count - 1), max_size=4))
    parts_at = min(others, default=count)
    true, false = leaves_of(count), leaves_of(count, others)
    cuts = data.draw(st.sets(st.integers(1, count)))
    ends = sorted(cuts | {data.draw(st.integers(1, count))})
    anchors = []
    for _ in range(data.draw(st.integers(1, 3))):
        size = data.draw(st.integers(1, count))
        indexes = data.draw(st.lists(st.integers(0, size - 1), max_size=3))
        anchors.append(anchor_of(true, size, indexes, data.draw(st.lists(st.sampled_from(ends), max_size=2))))
    report = held(false, ends, anchors)
    assert held(false, ends, anchors, data.draw(st.integers(1, len(ends)))) == report
    reach = ends[-1]
    agreed = [anchor for anchor in anchors if anchor.size <= min(parts_at, reach)]
    assert report.agreed <= parts_at
    assert report.agreed >= max((anchor.size for anchor in agreed), default=0)
    for verdict in report.verdicts:
        if verdict.anchor.size <= reach:
            assert verdict.agrees is (verdict.anchor.size <= parts_at)
        else:
            assert verdict.agrees is not True
    if any(parts_at < anchor.size <= reach for anchor in anchors):
        assert report.divergence is not None
    if report.divergence is not None:
        assert report.divergence.first.index <= parts_at <= report.divergence.last.index


@given(st.sampled_from(KEPT), st.data())
def test_a_changed_byte_makes_an_anchor_say_the_same_or_nothing(kept: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(kept) - 1))
    changed = kept[:at] + data.draw(st.binary(max_size=2)) + kept[at + data.draw(st.integers(0, 2)) :]
    before, after = (parse_anchor(TRUE.world.genesis, item, "x") for item in (kept, changed))
    assert isinstance(before, Anchor)
    if isinstance(after, Anchor):
        assert (after.size, after.root) == (before.size, before.root)
        assert set(after.pieces) <= set(before.pieces) | {Piece(0, before.size, before.root)}
    else:
        assert after.detail


@given(st.binary(max_size=2000))
def test_reading_an_anchor_never_raises(data: bytes) -> None:
    for start in (b"", b"{", b"c2sp.org/tlog-proof@v1\n"):
        assert isinstance(parse_anchor(TRUE.world.genesis, start + data, "x"), AnchorProblem)
