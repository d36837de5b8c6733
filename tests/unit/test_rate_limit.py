"""Token buckets of sites."""

import pytest

from pipeline.core.names import SiteName
from pipeline.services.rate_limit import Rate, RateLimit
from tests.support.world import site_name


def test_a_burst_goes_through_at_once_and_then_the_rate_counts() -> None:
    limit = RateLimit[SiteName](Rate(per_s=10, burst=3))
    assert [limit.take(site_name(1), 0.0) for _ in range(3)] == [0.0] * 3
    assert limit.take(site_name(1), 0.0) == pytest.approx(0.3)
    assert limit.take(site_name(1), 0.1) == 0.0
    assert limit.take(site_name(1), 0.1) > 0


def test_sites_do_not_share_a_bucket() -> None:
    limit = RateLimit[SiteName](Rate(per_s=1, burst=1))
    assert limit.take(site_name(1), 0.0) == 0.0
    assert limit.take(site_name(2), 0.0) == 0.0


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    limit = RateLimit[SiteName](Rate(per_s=100, burst=2))
    limit.take(site_name(1), 0.0)
    assert [limit.take(site_name(1), 1000.0) > 0 for _ in range(3)] == [False, False, True]


def test_buckets_of_sites_at_rest_are_forgotten() -> None:
    limit = RateLimit[SiteName](Rate(per_s=1000, burst=1))
    for number in range(20_000):
        limit.take(site_name(number), float(number))
    assert len(limit) <= 4097


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1)])
def test_a_rate_must_let_something_through(per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match="rate limit"):
        Rate(per_s, burst)


def test_what_costs_more_is_let_through_and_paid_for_afterwards() -> None:
    limit = RateLimit[str](Rate(per_s=1, burst=2))
    assert limit.take("a", 0.0, cost=5) == 0.0
    assert limit.take("a", 3.5) > 0
    assert limit.take("a", 4.0) == 0.0
