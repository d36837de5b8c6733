"""The forecast of a disk: pace from the blocks, room that retention still takes, and one honest line about it."""

from pathlib import Path

import pytest

from pipeline.adapters.sql.growth import read_growth
from pipeline.apps.cli.stack import tell_disk
from pipeline.apps.local.disk import folder_bytes
from pipeline.core.block import parse_certified
from pipeline.core.disk_forecast import DAY_MS, SMALL_LEDGER_BYTES, USUAL_RATIO, Growth, Passing, forecast
from pipeline.core.errors import ConfigError
from tests.support.stored_chain import StoredChain

MB = 1_000_000
HOUR_MS = 3_600_000


def growth(added: int, total: int = 100 * MB, hours: int = 48, sites: int = 5) -> Growth:
    return Growth(0, hours * HOUR_MS, added, total, sites)


def test_what_lasts_grows_with_the_blocks() -> None:
    found = forecast(1_000 * MB, 300 * MB, [], growth(added=20 * MB))
    assert found is not None
    assert (found.ledger_per_day, found.disk_per_day, found.per_site_and_day) == (10 * MB, 30 * MB, 6 * MB)
    assert found.full_in_days == pytest.approx(1_000 / 30)


def test_retention_still_takes_its_room_first() -> None:
    """Two days of seven are there, so five more come before the oldest goes."""
    found = forecast(1_000 * MB, 100 * MB, [Passing(40 * MB, 7 * DAY_MS)], growth(added=20 * MB))
    assert found is not None
    assert found.full_in_days == pytest.approx((1_000 - 100) / 10)


def test_a_topic_that_is_as_old_as_its_retention_takes_no_more() -> None:
    found = forecast(100 * MB, 100 * MB, [Passing(40 * MB, DAY_MS)], growth(added=20 * MB))
    assert found is not None
    assert found.full_in_days == pytest.approx(10)


def test_a_small_ledger_is_judged_by_what_was_measured() -> None:
    """Else the empty databases' own size would count as its growth."""
    found = forecast(100 * MB, 900 * MB, [], growth(added=2 * MB, total=SMALL_LEDGER_BYTES - 1))
    assert found is not None
    assert found.disk_per_day == pytest.approx(MB * USUAL_RATIO)


def test_a_young_chain_has_no_forecast() -> None:
    assert forecast(MB, MB, [], Growth(0, HOUR_MS - 1, MB, MB, 1)) is None


def test_nothing_added_fills_nothing() -> None:
    found = forecast(MB, MB, [], growth(added=0, sites=0))
    assert found is not None
    assert (found.full_in_days, "nothing is being added" in tell_disk(found)) == (None, True)


@pytest.mark.parametrize(
    ("free", "says"),
    [
        (
            200 * MB,
            "WARNING: 200 MB free; blocks grow 10 MB a day, everything 10 MB (2 MB a site); full in 20 days",
        ),
        (2_000 * MB, "2 GB free; blocks grow 10 MB a day, everything 10 MB (2 MB a site); full in 200 days"),
        (40_000 * MB, "full in 11 years, by the last 48 h"),
    ],
)
def test_a_person_reads_one_line_and_is_warned_in_time(free: int, says: str) -> None:
    found = forecast(free, 100 * MB, [], growth(added=20 * MB))
    assert says in tell_disk(found)


async def test_growth_is_read_from_the_store(tmp_path: Path) -> None:
    chain = StoredChain(tmp_path)
    url = f"sqlite:///{await chain.fill('store.sqlite', 6)}"
    held = [parsed[0] for parsed in map(parse_certified, chain.blocks) if parsed is not None]
    end = held[-1].header.period_end
    found = read_growth(url, end)
    lengths = sum(len(block.encoded) for block in held)
    assert (found.start_ms, found.added, found.total) == (held[0].header.period_start, lengths, lengths)
    assert found.sites == 2
    later = read_growth(url, end + 8 * DAY_MS)
    assert (later.end_ms - later.start_ms, later.added, later.total) == (7 * DAY_MS, 0, lengths)


def test_a_missing_store_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_growth(f"sqlite:///{tmp_path / 'store.sqlite'}", 0)
    assert list(tmp_path.iterdir()) == []


def test_sizes_are_those_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(100_000))
    assert 100_000 <= folder_bytes(tmp_path) < 200_000
