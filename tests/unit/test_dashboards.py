"""The dashboards' files are made from their source, and ask only for what is there."""

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics_core import Metric

from ops.grafana import macros
from ops.grafana.board import FOLDER, Board, text_of
from ops.grafana.boards import BOARDS
from ops.grafana.city import CITY
from ops.prometheus.server import find_program
from pipeline.telemetry import (
    api_metrics,
    assess_metrics,
    export_metrics,
    metrics,
    node_metrics,
    platform_metrics,
    site_metrics,
    validator_metrics,
)
from tests.support.panels import Question, panels, questions

MODULES = (
    api_metrics,
    assess_metrics,
    export_metrics,
    metrics,
    node_metrics,
    platform_metrics,
    site_metrics,
    validator_metrics,
)
PROVISIONING = FOLDER.parent / "provisioning"
VIEWS = {"v_observations", "v_kpi_records", "v_blocks", "v_sites", "v_assessments"}
OF_THE_SCRAPE = {"job", "instance", "chain"}
# Of Prometheus itself, and of the process collector, which exists on Linux alone.
OTHERS = {
    "up",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_start_time_seconds",
}
METRIC = re.compile(r"\b(?:bkdms_\w+|process_\w+|up)\b(?=\{)")
SHOWN = macros.Shown(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), 60)


def choices(board: Board) -> dict[str, list[str]]:
    names = [choice.name for choice in board.choices] + (["chain"] if board.is_by_chain else [])
    return {name: ["it's"] for name in names}


def shown(board: Board) -> macros.Shown:
    return macros.Shown(SHOWN.start, SHOWN.end, SHOWN.interval_s, choices(board))


def registered() -> dict[str, set[str]]:
    """Return every sample's name of ours with its labels."""
    found: dict[str, set[str]] = {}
    for module in MODULES:
        for metric in vars(module).values():
            if hasattr(metric, "_labelnames"):
                found |= samples(metric.describe()[0], set(metric._labelnames))
    return found


def samples(metric: Metric, labels: set[str]) -> dict[str, set[str]]:
    if metric.type == "counter":
        return {f"{metric.name}_total": labels}
    if metric.type == "histogram":
        return {
            f"{metric.name}_bucket": labels | {"le"},
            f"{metric.name}_sum": labels,
            f"{metric.name}_count": labels,
        }
    return {metric.name: labels}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_committed_file_is_what_the_source_makes(board: Board) -> None:
    assert board.file.read_text("utf-8") == text_of(board), "run: python -m ops.grafana"


def test_no_other_dashboard_lies_in_the_folder() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {board.file.name for board in BOARDS}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_panel_has_a_title_of_its_own_and_says_what_it_means(board: Board) -> None:
    found = [panel for panel in panels(board) if panel["type"] != "row"]
    titles = [panel["title"] for panel in found]
    assert len(set(titles)) == len(titles)
    assert all(len(panel["description"]) > 15 and panel["fieldConfig"]["defaults"]["unit"] for panel in found)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_no_panel_lies_on_another_and_none_leaves_the_grid(board: Board) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(board):
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_have_numbers_of_their_own(board: Board) -> None:
    numbers = [panel["id"] for panel in panels(board)]
    assert len(set(numbers)) == len(numbers)


def test_data_sources_are_those_that_are_provisioned() -> None:
    document = yaml.safe_load((PROVISIONING / "datasources" / "bkdms.yml").read_text("utf-8"))
    there = {(source["type"], source["uid"]) for source in document["datasources"]}
    named = {
        (source["type"], source["uid"])
        for board in BOARDS
        for panel in panels(board)
        for source in [
            panel.get("datasource"),
            *(target["datasource"] for target in panel.get("targets", [])),
        ]
        if source
    }
    assert named == there


def test_the_store_is_read_with_a_certificate_by_a_role_that_only_reads() -> None:
    document = yaml.safe_load((PROVISIONING / "datasources" / "bkdms.yml").read_text("utf-8"))
    store = next(source for source in document["datasources"] if source["uid"] == "bkdms-store")
    assert (store["user"], store["jsonData"]["sslmode"]) == ("bkdms_reader", "verify-full")
    assert "secureJsonData" not in store


def test_dashboards_are_provisioned_and_can_not_be_changed_in_grafana() -> None:
    document = yaml.safe_load((PROVISIONING / "dashboards" / "bkdms.yml").read_text("utf-8"))
    assert [provider["allowUiUpdates"] for provider in document["providers"]] == [False]
    assert not any(json.loads(text_of(board))["editable"] for board in BOARDS)


@pytest.mark.parametrize("question", [*questions(is_sql=False)], ids=str)
def test_questions_to_prometheus_name_metrics_and_labels_that_exist(question: Question) -> None:
    known = registered()
    found = set(METRIC.findall(question.text))
    names = set(re.findall(r"\bbkdms_\w+|\bprocess_\w+", re.sub(r'"[^"]*"', "", question.text)))
    assert names <= found | {"bkdms"}, "each selector has braces, so that the chain is put into them"
    assert found <= known.keys() | OTHERS
    allowed = OF_THE_SCRAPE.union(*(known.get(name, set()) for name in found), {"__name__"})
    labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", question.text))
    for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", question.text):
        labels |= {label.strip() for label in group.split(",") if label.strip()}
    assert labels <= allowed


@pytest.mark.parametrize("question", [*questions(is_sql=False)], ids=str)
def test_every_selector_of_prometheus_names_the_chain(question: Question) -> None:
    assert all(part.startswith('chain="$chain"') for part in re.findall(r"\{([^}]*)\}", question.text))


@pytest.mark.parametrize(
    "board", [board for board in BOARDS if not board.is_by_chain], ids=lambda board: board.uid
)
def test_a_dashboard_without_a_chain_to_choose_does_not_ask_prometheus(board: Board) -> None:
    assert not [question for question in questions(is_sql=False) if question.board is board]


def test_city_indicators_come_from_the_store_alone() -> None:
    assert not [question for question in questions(is_sql=False) if question.board is CITY]
    assert len([question for question in questions(is_sql=True) if question.board is CITY]) >= 10


def test_prometheus_accepts_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{place}", "expr": macros.expression(question.text, shown(question.board))}
        for place, question in enumerate(questions(is_sql=False))
    ]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    checked = subprocess.run(
        [find_program("promtool"), "check", "rules", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert checked.returncode == 0, checked.stderr + checked.stdout
    assert f"{len(rules)} rules found" in checked.stdout


@pytest.mark.parametrize("question", [*questions(is_sql=True)], ids=str)
def test_questions_to_the_store_read_views_alone_and_are_filled_wholly(question: Question) -> None:
    text = macros.statement(question.text, shown(question.board))
    # `extract(epoch FROM …)` names no table.
    tables = set(re.findall(r"(?<!epoch )\b(?:FROM|JOIN) (\w+)", text))
    assert tables
    assert tables <= VIEWS
    assert text.startswith("SELECT ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$__timeFilter(a.b)", "a.b BETWEEN '2026-01-01T00:00:00Z' AND '2026-01-02T00:00:00Z'"),
        ("$__timeGroupAlias(t, $__interval)", 'floor(extract(epoch from t)/60)*60 AS "time"'),
        (
            "x <= $__timeTo() AND y > $__timeFrom()",
            "x <= '2026-01-02T00:00:00Z' AND y > '2026-01-01T00:00:00Z'",
        ),
        ("IN (${city:sqlstring})", "IN ('it''s')"),
    ],
)
def test_what_grafana_puts_into_a_statement(text: str, expected: str) -> None:
    assert macros.statement(text, shown(CITY)) == expected


def test_what_grafana_puts_into_an_expression() -> None:
    given = macros.Shown(SHOWN.start, SHOWN.end, 15, {"chain": ["c"]})
    text = 'increase(x{chain="$chain"}[$__rate_interval]) / y[$__range]'
    assert macros.expression(text, given) == 'increase(x{chain="c"}[60s]) / y[86400s]'


@pytest.mark.parametrize("text", ["${nobody:sqlstring}", "$__unixEpochFilter(t)", "$nobody", "${city}"])
def test_a_statement_that_can_not_be_filled_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="nothing"):
        macros.statement(text, shown(CITY))


def test_the_registry_is_looked_up_with_its_labels() -> None:
    """The test of names above would pass anything if this found too much, and nothing if too little."""
    assert registered()["bkdms_node_votes_total"] == {"node", "outcome"}
