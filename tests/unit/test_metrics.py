"""The metrics of all programs keep to Prometheus' conventions, and none can grow without bound."""

import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest

from ops.prometheus.server import find_program
from pipeline.telemetry.metrics import show_zeros

TELEMETRY: Final = Path(__file__).parents[2] / "pipeline" / "telemetry"
# Every label there is, and what keeps the number of its values small.
LABELS: Final = {
    "change": "words of a list",
    "code": "codes of errors, in the code",
    "folder": "words of a list",
    "node": "nodes of the policy",
    "outcome": "words of enumerations",
    "partition": "partitions of our topics",
    "program": "words of a list",
    "reason": "words of enumerations",
    "setting": "words of a list",
    "route": "templates of the API's paths",
    "rules_version": "one per process",
    "site": "sites whose agents run in this process",
    "stage": "words of a list",
    "status": "HTTP status, or words of an enumeration",
    "suite": "words of enumerations",
    "topic": "our topics",
    "use": "words of a list",
    "verdict": "words of a list",
    "version": "one per process",
    "witness": "witnesses of the policy file",
    "format": "words of a list",
}
UNITS: Final = ("_seconds", "_bytes", "_records", "_packets", "_blocks", "_leaves", "_nodes", "_info")
# Counts of things that the name itself says, and states.
NAMED: Final = {
    "bkdms_api_access_requests",
    "bkdms_api_view_halted",
    "bkdms_api_view_height",
    "bkdms_assess_height",
    "bkdms_assess_pending_cells",
    "bkdms_export_tree_size",
    "bkdms_insecure_settings",
    "bkdms_node_height",
    "bkdms_node_publishing_lease",
    "bkdms_platform_stored_height",
    "bkdms_site_platform_key_epoch",
    "bkdms_site_sealing_held",
    "bkdms_unexpected_sockets",
    "bkdms_validator_known_sites",
    "bkdms_worker_ready",
}


def ours() -> list[Any]:
    """Return every metric of ours that any program can show."""
    for file in [TELEMETRY / "metrics.py", *TELEMETRY.glob("*_metrics.py")]:
        import_module(f"pipeline.telemetry.{file.stem}")
    found = {id(one): one for one in REGISTRY._names_to_collectors.values()}
    return [one for one in found.values() if getattr(one, "_name", "").startswith("bkdms_")]


@pytest.mark.parametrize("metric", ours(), ids=lambda metric: metric._name)
def test_labels_are_of_the_list_of_bounded_ones(metric: Any) -> None:
    assert set(metric._labelnames) <= LABELS.keys()


@pytest.mark.parametrize("metric", ours(), ids=lambda metric: metric._name)
def test_only_a_site_agent_names_its_sites(metric: Any) -> None:
    assert "site" not in metric._labelnames or metric._name.startswith("bkdms_site_")


@pytest.mark.parametrize("metric", ours(), ids=lambda metric: metric._name)
def test_names_end_in_their_unit(metric: Any) -> None:
    is_counter = metric._type == "counter"
    assert is_counter or metric._name.endswith(UNITS) or metric._name in NAMED
    assert not is_counter or not metric._name.endswith("_total"), "the client adds it"


@pytest.mark.parametrize("metric", ours(), ids=lambda metric: metric._name)
def test_each_has_a_help_text(metric: Any) -> None:
    assert len(metric._documentation) > 10


def test_promtool_has_nothing_to_say_against_them() -> None:
    """Prometheus' own check of names, types and help texts, over everything that can be shown."""
    every = CollectorRegistry()
    for metric in ours():
        every.register(metric)
        if metric._labelnames:
            metric.labels(*("1" for _ in metric._labelnames))
    try:
        checked = subprocess.run(
            [find_program("promtool"), "check", "metrics"],
            input=generate_latest(every),
            capture_output=True,
            timeout=30,
            check=False,
        )
    finally:
        for metric in ours():
            if metric._labelnames:
                metric.remove(*("1" for _ in metric._labelnames))
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_zeros_are_shown_before_anything_is_counted() -> None:
    """Else Prometheus would not see the first increase."""
    own = CollectorRegistry()
    counter = Counter("some_events", "Things that happen.", ["outcome"], registry=own)
    show_zeros(counter, [("bad",)])
    assert own.get_sample_value("some_events_total", {"outcome": "bad"}) == 0
    counter.labels("bad").inc()
    show_zeros(counter, [("bad",)])
    assert own.get_sample_value("some_events_total", {"outcome": "bad"}) == 1
