"""What is not protected is refused, unless a setting says insecure; and then every start says so."""

from pathlib import Path

import pytest
import structlog
from prometheus_client import REGISTRY

from pipeline.apps.observed import observe
from pipeline.config import Settings, load_settings
from pipeline.config.transport import (
    TransportSettings,
    demand_own_machine,
    demand_protected,
    demand_tls,
    insecure_settings,
)
from pipeline.core.errors import ConfigError
from tests.support.clean_env import clean_env
from tests.support.command_line import run

__all__ = ["clean_env"]

STORE = "postgresql+psycopg://r@db:5432/bkdms"
HERE = "postgresql+psycopg:///bkdms?host=/run/postgresql"
FULL = "sslmode=verify-full&sslrootcert=ca.pem"
UNSAFE = [
    ("insecure_store", {"store_url": STORE}),
    ("insecure_store", {"store_url": f"{STORE}?sslmode=require"}),
    ("insecure_store", {"store_url": f"{STORE}?sslmode=verify-ca&sslrootcert=ca.pem"}),
    ("insecure_store", {"store_url": f"{STORE}?{FULL}&sslmode=disable"}),
    ("insecure_store", {"store_url": f"{STORE}?{FULL}&ssl_min_protocol_version=TLSv1.2"}),
    ("insecure_store", {"store_url": f"{STORE}?{FULL}&ssl_max_protocol_version=TLSv1.2"}),
    ("insecure_store", {"store_url": f"{HERE}&host=db.example"}),
    ("insecure_store", {"store_url": f"{HERE}&hostaddr=10.0.0.1"}),
    ("insecure_api", {"api_url": "http://127.0.0.1:8480"}),
    ("insecure_api", {"api_url": "http://api.example"}),
]
ALLOWED: list[dict[str, str]] = [
    {},
    {"store_url": f"{STORE}?{FULL}"},
    {"store_url": f"{STORE}?{FULL}&ssl_min_protocol_version=TLSv1.3"},
    {"store_url": HERE},
    {"api_url": "https://api.example"},
]


def switched(*switches: str) -> TransportSettings:
    """The settings with these switches on."""
    return TransportSettings.model_validate(dict.fromkeys(switches, True))


def judge(given: dict[str, str], *switches: str) -> None:
    """Judge settings with these switches on."""
    demand_protected(
        switched(*switches),
        store_url=given.get("store_url", "sqlite:////s.sqlite"),
        api_url=given.get("api_url"),
    )


@pytest.mark.parametrize(("setting", "given"), UNSAFE)
def test_an_unprotected_peer_is_refused_and_the_setting_that_accepts_it_is_named(
    setting: str, given: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match=rf"`{setting}` under \[transport\] = true") as caught:
        judge(given)
    assert caught.value.code == "config.insecure"


@pytest.mark.parametrize(("setting", "given"), UNSAFE)
def test_that_setting_accepts_it_and_no_other_does(setting: str, given: dict[str, str]) -> None:
    judge(given, setting)
    others = {name for name in TransportSettings.model_fields if name.startswith("insecure_")} - {setting}
    with pytest.raises(ConfigError):
        judge(given, *others)


@pytest.mark.parametrize("given", ALLOWED)
def test_what_is_protected_needs_no_setting(given: dict[str, str]) -> None:
    judge(given)


@pytest.mark.parametrize(
    "url", ["http://witness.example", "http://10.0.0.1/x", "ftp://witness.example", "witness"]
)
def test_plain_http_to_another_machine_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="insecure_witnesses"):
        demand_tls(url, False, "transport.insecure_witnesses", "witness w")
    demand_tls(url, True, "transport.insecure_witnesses", "witness w")


@pytest.mark.parametrize(
    "url", ["https://witness.example", "http://127.0.0.1:80/x", "http://[::1]/", "http://localhost"]
)
def test_tls_and_this_machine_are_asked(url: str) -> None:
    demand_tls(url, False, "transport.insecure_witnesses", "witness w")


def test_a_program_does_not_start_with_an_unprotected_peer(
    clean_env: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BKDMS_STORE__URL", STORE)
    with pytest.raises(ConfigError, match=r"BKDMS_TRANSPORT__INSECURE_STORE=true"):
        load_settings()
    monkeypatch.setenv("BKDMS_TRANSPORT__INSECURE_STORE", "true")
    assert "transport.insecure_store" in insecure_settings(load_settings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "metrics.example"])
def test_a_sites_page_stays_on_its_machine_unless_a_setting_accepts_more(host: str) -> None:
    with pytest.raises(ConfigError, match="insecure_metrics"):
        demand_own_machine(switched(), host)
    demand_own_machine(switched("insecure_metrics"), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_sites_page_is_served_on_its_machine(host: str) -> None:
    demand_own_machine(switched(), host)


def test_a_site_with_a_page_for_others_does_not_start(
    clean_env: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BKDMS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("BKDMS_WORKER__METRICS_HOST", "0.0.0.0")
    monkeypatch.setenv("BKDMS_WORKER__METRICS_PORT", "9100")
    assert run("site", "run") == 2
    assert "insecure_metrics" in capsys.readouterr().err


def test_every_start_warns_of_every_insecure_setting(
    clean_env: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"transport.insecure_api", "transport.insecure_tiles"}
    for name in wanted:
        monkeypatch.setenv("BKDMS_" + name.replace(".", "__").upper(), "true")
    with structlog.testing.capture_logs() as events:
        observe("api", load_settings())
    warned = {event["setting"] for event in events if event["event"] == "insecure_setting"}
    assert wanted <= warned
    assert all(event["log_level"] == "warning" for event in events if event["event"] == "insecure_setting")
    for name in wanted:
        assert REGISTRY.get_sample_value("bkdms_insecure_settings", {"setting": name}) == 1


def test_nothing_insecure_is_on_by_itself(clean_env: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BKDMS_KEYS__INSECURE_PLAIN_FILES", raising=False)
    assert insecure_settings(Settings.model_validate({})) == []


def test_traces_leave_this_machine_over_tls_only(clean_env: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BKDMS_TRACES__ENDPOINT", "http://collector.example:4318/v1/traces")
    with pytest.raises(ConfigError, match="insecure_traces"):
        observe("node", load_settings())
