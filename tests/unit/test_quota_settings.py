"""Quotas by settings: what is given, for whom, and what a validator takes from them."""

import pytest
from pydantic import ValidationError

from ops.access_table import ACCESS, Quota
from ops.tls.principal import Role
from pipeline.apps.provision.plan import DeploymentPlan
from pipeline.config import load_settings
from pipeline.config.quotas import QuotaSettings
from tests.support.clean_env import clean_env

__all__ = ["clean_env"]

PLAN = {
    "chain": {"url": "https://kpi.example.org/c"},
    "kafka": {"address": "k:1"},
    "redis": {"address": "r:1"},
    "quotas": {"site_send_bytes_per_s": 5_000},
}


def test_without_settings_the_table_counts(clean_env: object) -> None:
    own = load_settings().quotas
    assert own.given() == {}
    assert (own.site_packets_per_s, own.site_packets_burst) == (200, 1_000)


def test_one_figure_is_completed_by_the_table(clean_env: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BKDMS_QUOTAS__SITE_SEND_BYTES_PER_S", "500000")
    usual = ACCESS[Role.SITE].quota
    assert usual is not None
    given = load_settings().quotas.given()
    assert given == {Role.SITE: Quota(500_000, usual.consume_bytes_per_s, usual.request_percent)}


def test_readers_share_one_setting() -> None:
    given = QuotaSettings.model_validate({"reader_request_percent": 7}).given()
    assert {role: quota.request_percent for role, quota in given.items()} == {
        Role.ANALYST: 7,
        Role.AUDITOR: 7,
        Role.CLIENT: 7,
    }


@pytest.mark.parametrize(
    "setting",
    ["site_send_bytes_per_s", "reader_read_bytes_per_s", "site_request_percent", "site_packets_burst"],
)
def test_nobody_is_shut_out_by_a_quota(setting: str) -> None:
    with pytest.raises(ValidationError):
        QuotaSettings.model_validate({setting: 0})


def test_a_plan_for_own_servers_says_them_too() -> None:
    given = DeploymentPlan.model_validate(PLAN).quotas.given()
    assert given[Role.SITE].produce_bytes_per_s == 5_000
