"""Prometheus on this machine: which program, whom it asks, where it listens."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ops.prometheus import server
from ops.prometheus.configuration import RULES_FILE, Target, configuration
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Role
from pipeline.core.errors import ConfigError

NODES = [Target("node", "node-1", "127.0.0.1:1"), Target("node", "node-2", "127.0.0.1:2")]


def parsed(*targets: Target, **settings: Any) -> Any:
    return json.loads(configuration(targets, "c.example/1", **settings))


def test_every_series_says_which_program_of_which_chain_it_is_from() -> None:
    (job,) = parsed(*NODES)["scrape_configs"]
    assert job["job_name"] == "node"
    assert [one["labels"] for one in job["static_configs"]] == [
        {"instance": "node-1", "chain": "c.example/1"},
        {"instance": "node-2", "chain": "c.example/1"},
    ]
    assert [one["targets"] for one in job["static_configs"]] == [["127.0.0.1:1"], ["127.0.0.1:2"]]


def test_only_a_program_with_tls_is_asked_over_it(tmp_path: Path) -> None:
    """Its own certificate is checked, and ours is shown."""
    files = CertificateFiles(tmp_path / "ca.pem", tmp_path / "certificate.pem", tmp_path / "key.pem")
    node, api = parsed(NODES[0], Target("api", "api", "127.0.0.1:3", files))["scrape_configs"]
    assert "scheme" not in node
    assert api["scheme"] == "https"
    assert api["tls_config"]["ca_file"] == str(files.ca)
    assert (api["tls_config"]["cert_file"], api["tls_config"]["key_file"]) == (
        str(files.certificate),
        str(files.key),
    )
    assert "insecure_skip_verify" not in api["tls_config"]


def test_a_worker_is_asked_for_by_the_name_of_its_page_wherever_it_runs(tmp_path: Path) -> None:
    files = CertificateFiles.of(tmp_path)
    host = Role.NODE.page_host
    node, api = parsed(
        Target("node", "node-1", "127.0.0.1:1", files, host), Target("api", "api", "127.0.0.1:3", files)
    )["scrape_configs"]
    assert node["tls_config"]["server_name"] == "node.metrics.bkdms.internal"
    assert "server_name" not in api["tls_config"]


def test_the_rules_are_ours_unless_others_are_named(tmp_path: Path) -> None:
    assert parsed(*NODES)["rule_files"] == [str(RULES_FILE)]
    assert parsed(*NODES, rules=tmp_path / "own.yml")["rule_files"] == [str(tmp_path / "own.yml")]


def test_alerts_are_passed_on_only_to_an_alertmanager_that_is_named() -> None:
    assert "alerting" not in parsed(*NODES)
    alerting = parsed(*NODES, alertmanagers=["127.0.0.1:9093"])["alerting"]
    assert alerting == {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]}


def test_it_listens_on_loopback_alone_and_keeps_no_more_than_it_may(tmp_path: Path) -> None:
    place = server.PrometheusPlace(Path("/usr/bin/prometheus"), tmp_path, 29_090)
    arguments = server.command(place)
    assert "--web.listen-address=127.0.0.1:29090" in arguments
    assert "--storage.tsdb.retention.size=1024MB" in arguments
    assert not any("enable-admin-api" in one or "enable-lifecycle" in one for one in arguments)


def test_its_settings_are_for_us_alone(tmp_path: Path) -> None:
    place = server.PrometheusPlace(Path("/usr/bin/prometheus"), tmp_path / "p", 29_090)
    server.prepare(place, NODES, "c")
    assert place.settings.stat().st_mode & 0o777 == 0o600
    assert place.folder.stat().st_mode & 0o777 == 0o700


def test_the_program_that_set_up_unpacked_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has none."""
    program = tmp_path / "prometheus" / "usr" / "bin" / "promtool"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.setenv("BKDMS_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert server.find_program("promtool") == program


def test_without_a_program_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BKDMS_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="apt-get install prometheus"):
        server.find_program()


def test_nobody_answering_is_not_ready(tmp_path: Path) -> None:
    assert not server.is_ready(server.PrometheusPlace(Path(os.devnull), tmp_path, 1))
