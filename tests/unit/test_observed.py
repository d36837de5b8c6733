"""What every program shows of itself: release, disks, certificates."""

import os
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from ops.tls.authority import BRANCH_LIFETIME, Authority
from ops.tls.principal import Principal, Role
from pipeline.apps.observed import PROGRAMS, begin, certificate_expiry, free_bytes, observe, size_bytes
from pipeline.config import Settings
from pipeline.config.load import load_settings
from pipeline.core.errors import ConfigError
from tests.support.clean_env import clean_env

__all__ = ["clean_env"]

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def settings(clean_env: Path) -> Settings:
    """Settings of a program with a certificate of ten days, and a store that is asked with the same."""
    tmp_path = clean_env
    files = Authority.create(tmp_path / "ca", now=NOW).issue(
        Principal(Role.PLATFORM, "p"), tmp_path / "p", now=NOW, lifetime=timedelta(days=10)
    )
    file = tmp_path / "bkdms.toml"
    file.write_text(
        f'data_dir = "{tmp_path}/not-made-yet"\n'
        f'[kafka]\nca = "{files.ca}"\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
        f'[store]\nurl = "postgresql+psycopg://a@h/d?sslmode=verify-full&sslcert={files.certificate}"\n'
        f'[export]\nfolder = "{tmp_path}"\n'
    )
    return load_settings(file)


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_a_program_says_what_it_is(settings: Settings) -> None:
    observe("platform", settings)
    labels = {"program": "platform", "version": version("bkdms"), "rules_version": "1"}
    assert sample("bkdms_build_info", **labels) == 1
    assert "platform" in PROGRAMS


@pytest.mark.parametrize("use", ["kafka", "store"])
def test_the_end_of_a_certificate_is_shown(settings: Settings, use: str) -> None:
    observe("platform", settings)
    end = (NOW + timedelta(days=10)).timestamp()
    assert sample("bkdms_certificate_expiry_timestamp_seconds", use=use) == end


def test_the_authoritys_own_end_is_shown(settings: Settings) -> None:
    """When that runs out, nobody's certificate counts any more."""
    observe("platform", settings)
    end = (NOW + BRANCH_LIFETIME).timestamp()
    assert sample("bkdms_certificate_expiry_timestamp_seconds", use="kafka_ca") == end


def test_of_several_certificates_in_a_file_the_first_end_counts(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca", now=NOW)
    both = tmp_path / "both.pem"
    days = (30, 5)
    for day in days:
        made = authority.issue(
            Principal(Role.SITE, f"s{day}"), tmp_path / f"{day}", now=NOW, lifetime=timedelta(days=day)
        )
        with both.open("ab") as out:
            out.write(made.certificate.read_bytes())
    assert certificate_expiry(both) == NOW + timedelta(days=5)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_a_certificate_has_no_end(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "c.pem").write_bytes(content)
    assert certificate_expiry(tmp_path / "c.pem") is None


def test_room_on_the_disk_is_asked_for_when_it_is_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not made yet is on the file system of its parent."""
    observe("export", settings)
    real = os.statvfs(settings.data_dir.parent)
    assert sample("bkdms_disk_size_bytes", folder="data") == real.f_blocks * real.f_frsize
    full = os.statvfs_result((4096, 4096, 100, 9, 7, 1, 1, 1, 1, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert sample("bkdms_disk_free_bytes", folder="data") == 7 * 4096
    assert sample("bkdms_disk_free_bytes", folder="export") == 7 * 4096


def test_a_file_system_that_is_away_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Path) -> os.statvfs_result:
        raise OSError("stale handle")

    monkeypatch.setattr(os, "statvfs", away)
    assert free_bytes(Path("/data")) != free_bytes(Path("/data"))
    assert size_bytes(Path("/data")) != size_bytes(Path("/data"))


def test_a_log_level_that_is_none_is_the_users_mistake(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="LOUD"):
        begin("node", settings, "LOUD")
