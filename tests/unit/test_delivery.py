"""What a verified head means for a spool."""

from hashlib import sha256

from pipeline.core.delivery import (
    Behind,
    Confirms,
    Contradiction,
    Made,
    Patience,
    StoredReceipt,
    Unchanged,
    VerifiedHead,
    after_head,
)
from pipeline.core.packet import FIRST_PREVIOUS


def identifier(name: str) -> bytes:
    return sha256(name.encode()).digest()


def made(
    sequence: int, previous: str, *, name: str = "", records: tuple[int, int], live: bool = True
) -> Made:
    link = identifier(previous) if previous else FIRST_PREVIOUS
    own = identifier(name or f"p{sequence}")
    return Made(sequence, own, link, *records, oldest_ms=0, live=live)


CHAIN = [made(5, "p4", records=(1, 2)), made(6, "p5", records=(3, 3)), made(7, "p6", records=(4, 9))]


def head(sequence: int, size: int, name: str = "", root: str = "") -> VerifiedHead:
    packet = identifier(name or f"p{sequence}") if sequence else FIRST_PREVIOUS
    return VerifiedHead(sequence, packet, 1, size, identifier(root or f"root{size}"))


def receipt(sequence: int = 4, size: int = 100) -> StoredReceipt:
    return StoredReceipt(head(sequence, size), 0, 0, b"", b"")


def test_a_head_confirms_everything_up_to_it_and_keeps_what_follows() -> None:
    verdict = after_head(receipt(), CHAIN, head(6, 110))
    assert isinstance(verdict, Confirms)
    assert verdict.committed == tuple(CHAIN[:2])
    assert verdict.dropped == (identifier("p5"), identifier("p6"))
    assert not verdict.relinks


def test_the_known_head_changes_nothing_in_a_larger_tree() -> None:
    assert after_head(receipt(), CHAIN, head(4, 170)) == Unchanged()


def test_no_head_before_the_first_packet_changes_nothing() -> None:
    assert after_head(None, CHAIN, head(0, 3)) == Unchanged()


def test_an_older_tree_means_that_the_answerer_lags() -> None:
    assert after_head(receipt(), CHAIN, head(3, 90)) == Behind()
    assert after_head(receipt(), CHAIN, head(0, 9)) == Behind()


def code(verdict: object) -> str:
    assert isinstance(verdict, Contradiction)
    return verdict.code


def test_a_packet_that_was_never_made_is_a_contradiction() -> None:
    assert code(after_head(receipt(), CHAIN, head(6, 110, "foreign"))) == "unknown_packet"
    assert code(after_head(receipt(), CHAIN, head(9, 110))) == "unknown_packet"
    assert code(after_head(None, [], head(1, 10))) == "unknown_packet"


def test_a_larger_tree_with_an_earlier_head_is_a_rollback() -> None:
    assert code(after_head(receipt(), CHAIN, head(3, 110))) == "rolled_back"
    assert code(after_head(receipt(), CHAIN, head(0, 110))) == "rolled_back"


def test_another_packet_under_a_verified_sequence_is_a_rollback() -> None:
    assert code(after_head(receipt(), CHAIN, head(4, 110, "other"))) == "rolled_back"


def test_two_roots_of_one_size_are_a_fork() -> None:
    assert code(after_head(receipt(), CHAIN, head(6, 100, root="other"))) == "forked_tree"


def test_a_superseded_packet_that_was_admitted_after_all_wins_over_its_resealing() -> None:
    superseded = [
        made(5, "p4", records=(1, 2), live=False),
        made(6, "p5", records=(3, 3), live=False),
        made(7, "p4", records=(1, 3)),
    ]
    verdict = after_head(receipt(), superseded, head(5, 110))
    assert isinstance(verdict, Confirms)
    assert verdict.last.last_record == 2
    assert verdict.dropped == (identifier("p5"), identifier("p7"))
    assert verdict.relinks


def test_a_resealed_packet_that_was_admitted_ends_what_it_superseded() -> None:
    both = [made(5, "p4", records=(1, 2), live=False), made(6, "p4", records=(1, 2))]
    verdict = after_head(receipt(), both, head(6, 110))
    assert isinstance(verdict, Confirms)
    assert set(verdict.dropped) == {identifier("p5"), identifier("p6")}
    assert not verdict.relinks


def test_patience_doubles_up_to_its_longest() -> None:
    patience = Patience(1000, 5000)
    assert [patience.wait_ms(n) for n in range(5)] == [1000, 2000, 4000, 5000, 5000]
