"""How full a packet gets: exactly by size, by count, by age."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.avro import bytes_size
from pipeline.core.batching import Batching, Terms, due_in_ms, fitting, largest_record, packet_size
from pipeline.core.delivery import Backlog, SpooledRecord
from pipeline.core.packet import MAX_PACKET_BYTES, PacketDraft, seal_packet
from pipeline.core.sealing import Suite
from tests.support.site_ledger import terms_of
from tests.support.world import NOW_MS, World

WORLD = World()
SITES = {suite: WORLD.site(1, suite) for suite in Suite}


def records_of(sizes: list[int], time_ms: int = NOW_MS) -> list[SpooledRecord]:
    return [SpooledRecord(i, time_ms, NOW_MS, bytes(size)) for i, size in enumerate(sizes, 1)]


def sealed_size(suite: Suite, sequence: int, sizes: list[int], readers: int = 1) -> int:
    site = SITES[suite]
    draft = PacketDraft(
        site.chain, site.name, "module-1", sequence, bytes(32), NOW_MS, NOW_MS + 5, site.suite
    )
    keys = [WORLD.site(i, suite).platform_key.public for i in range(1, readers + 1)]
    records = [bytes(size) for size in sizes]
    return len(
        seal_packet(draft, records, keys, site.signer, seed=os.urandom(32), content_key=os.urandom(32))
    )


@pytest.mark.parametrize("suite", list(Suite))
@pytest.mark.parametrize("readers", [1, 2])
def test_the_predicted_size_is_the_size_of_the_sealed_packet(suite: Suite, readers: int) -> None:
    site = SITES[suite]
    keys = tuple(WORLD.site(i, suite).platform_key.public for i in range(1, readers + 1))
    terms = Terms(site.chain, site.name, "module-1", suite, keys)
    for sequence, sizes in ((1, [10]), (64, [100] * 70), (10**12, [63, 64, 8191, 8192]), (8192, [1] * 4096)):
        predicted = packet_size(
            terms, sequence, (NOW_MS, NOW_MS + 5), len(sizes), sum(map(bytes_size, sizes))
        )
        assert predicted == sealed_size(suite, sequence, sizes, readers)


@given(st.lists(st.integers(0, 9000), min_size=1, max_size=30), st.integers(1024, MAX_PACKET_BYTES))
def test_a_packet_takes_as_many_records_as_fit_and_no_more(sizes: list[int], target: int) -> None:
    terms, batching = terms_of(SITES[Suite.LIGHT]), Batching(target_bytes=target)
    count = fitting(terms, batching, 1, records_of(sizes))

    def size(n: int) -> int:
        return packet_size(terms, 1, (NOW_MS, NOW_MS), n, sum(map(bytes_size, sizes[:n])))

    assert count == 1 or size(count) <= target
    assert count == len(sizes) or size(count + 1) > target


def test_no_packet_takes_more_records_than_its_limit() -> None:
    batching = Batching(max_records=3)
    assert fitting(terms_of(SITES[Suite.LIGHT]), batching, 1, records_of([5] * 9)) == 3


@pytest.mark.parametrize("suite", list(Suite))
def test_the_largest_record_fits_under_any_suite_of_its_key_with_a_reader_more_and_hardly_a_larger_one(
    suite: Suite,
) -> None:
    largest = largest_record(terms_of(SITES[suite]))
    widest = Suite.P256 if suite is Suite.P256 else Suite.XWING
    assert sealed_size(widest, 2**62, [largest], readers=2) <= MAX_PACKET_BYTES
    with pytest.raises(ValueError, match="fewer records"):
        sealed_size(widest, 2**62, [largest + 256], readers=2)


@pytest.mark.parametrize(
    ("backlog", "drain", "due"),
    [
        (Backlog(0, 0, 0), False, None),
        (Backlog(0, 0, 0), True, None),
        (Backlog(1, 10, NOW_MS), False, 5000),
        (Backlog(1, 10, NOW_MS), True, 0),
        (Backlog(1, 10, NOW_MS - 4999), False, 1),
        (Backlog(1, 10, NOW_MS - 5000), False, 0),
        (Backlog(500, 10, NOW_MS), False, 0),
        (Backlog(3, 50 * 1024, NOW_MS), False, 0),
        (Backlog(1, 10, NOW_MS + 1), False, 0),
    ],
)
def test_a_packet_is_due_when_full_old_or_draining(backlog: Backlog, drain: bool, due: int | None) -> None:
    assert due_in_ms(backlog, Batching(), NOW_MS, drain=drain) == due


def test_a_reader_of_another_suite_is_refused() -> None:
    site, other = SITES[Suite.LIGHT], SITES[Suite.XWING]
    with pytest.raises(ValueError, match="suite light"):
        Terms(site.chain, site.name, "module-1", Suite.LIGHT, (other.platform_key.public,))
