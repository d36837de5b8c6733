"""The alert rules: each fires and keeps quiet where it should, by Prometheus' own judgement; each has its runbook."""

import json
import re
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import REGISTRY

from ops.prometheus.configuration import RULES_FILE, Target, configuration
from ops.prometheus.server import find_program
from ops.tls.authority import CertificateFiles
from tests.support.alert_case import Case
from tests.support.alert_cases import CASES

ROOT: Final = Path(__file__).parents[2]
RULES: Final[list[dict[str, Any]]] = [
    rule for group in yaml.safe_load(RULES_FILE.read_text("utf-8"))["groups"] for rule in group["rules"]
]
NAMES: Final = [rule["alert"] for rule in RULES]
# Prometheus' own, and those of its client library.
OTHERS: Final = {
    "up",
    "process_start_time_seconds",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
}
METRIC: Final = re.compile(r"\b(?:bkdms|process|python)_\w+|\bup\b")
SUFFIX: Final = re.compile(r"_(total|bucket|sum|count)$")


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find_program("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def as_test(case: Case) -> dict[str, Any]:
    """Return a case as promtool has it."""
    rule = next(rule for rule in RULES if rule["alert"] == case.alert)
    looks: list[dict[str, Any]] = [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": []}]
    if case.fires:
        looks[0]["exp_alerts"] = [_expected(case, rule)]
        if "for" in rule:
            # It holds by then, and not for long enough.
            looks.append({"eval_time": case.early, "alertname": case.alert, "exp_alerts": []})
    return {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": looks,
    }


def _expected(case: Case, rule: dict[str, Any]) -> dict[str, Any]:
    return {
        "exp_labels": {"severity": rule["labels"]["severity"], **(case.labels or {})},
        "exp_annotations": {"summary": case.summary, "runbook_url": rule["annotations"]["runbook_url"]},
    }


@pytest.mark.parametrize("name", NAMES)
def test_fires_and_keeps_quiet_where_it_should(name: str, tmp_path: Path) -> None:
    """promtool evaluates the rules over made-up series and compares labels and text."""
    cases = [case for case in CASES if case.alert == name]
    assert {case.fires for case in cases} == {True, False}, "one case of each is needed"
    # The rule alone: promtool evaluates all that it is given.
    rule = next(rule for rule in RULES if rule["alert"] == name)
    (tmp_path / "rule.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": [rule]}]}))
    file = tmp_path / "test.yml"
    document = {
        "rule_files": ["rule.yml"],
        "evaluation_interval": "15s",
        "tests": [as_test(case) for case in cases],
    }
    file.write_text(json.dumps(document))
    tested = promtool("test", "rules", str(file))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_promtool_accepts_the_rules() -> None:
    checked = promtool("check", "rules", "--lint-fatal", str(RULES_FILE))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    files = CertificateFiles(*(tmp_path / name for name in ("ca.pem", "certificate.pem", "key.pem")))
    for file in (files.ca, files.certificate, files.key):
        file.touch()
    targets = [
        Target("node", "node-1", "127.0.0.1:1"),
        Target("node", "node-2", "127.0.0.1:2"),
        Target("api", "api", "127.0.0.1:3", files),
    ]
    settings = tmp_path / "prometheus.yml"
    settings.write_text(configuration(targets, "c", alertmanagers=["127.0.0.1:9093"]))
    checked = promtool("check", "config", str(settings))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_names_are_used_once() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_every_case_is_about_an_alert() -> None:
    assert {case.alert for case in CASES} == set(NAMES)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_metric_that_a_rule_names_exists(rule: dict[str, Any]) -> None:
    for file in (ROOT / "pipeline" / "telemetry").glob("*metrics.py"):
        import_module(f"pipeline.telemetry.{file.stem}")
    known = {SUFFIX.sub("", name) for name in REGISTRY._names_to_collectors} | OTHERS
    named = {SUFFIX.sub("", name) for name in METRIC.findall(rule["expr"])}
    assert named
    assert named <= known


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_alert_is_labelled_and_leads_to_its_runbook(rule: dict[str, Any]) -> None:
    assert set(rule["labels"]) == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    text = (ROOT / "docs" / "runbooks.md").read_text("utf-8")
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == NAMES
    for name, body in sections.items():
        for part in ("**Means.**", "**Look.**", "**Do.**", "**Good again.**"):
            assert part in body, f"{name} has no {part}"
