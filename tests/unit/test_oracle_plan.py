"""The oracle's plan of the bundled data, and what the oracle may know."""

import ast
import json
import sys
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import ops.oracle
import ops.oracle.make_plan as command
from connectors.samples import sample_folder, sample_sites
from connectors.sources.base import START
from ops.oracle import InputError, Plan, load_plan, sample_plan, write_plan
from ops.oracle.hashes import tracing_code
from ops.oracle.plan import Amount, PlannedSite, Point, planned_records
from pipeline.core.names import site_id_text
from pipeline.core.tracing import TracingCode
from tests.vectors import generate_samples


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of all bundled data."""
    return sample_plan(sample_folder())


def values(plan: Plan, site: PlannedSite) -> list[tuple[Point, Amount]]:
    return [value for record in planned_records(plan, site) for value in record]


def test_the_bundled_plan_reads_what_the_golden_vectors_say(plan: Plan) -> None:
    golden = json.loads(Path(generate_samples.__file__).with_name("samples.json").read_text("utf-8"))
    found = {
        site.name: generate_samples.digest([(p.time_ms, a.value) for p, a in values(plan, site)])
        for site in plan.sites
    }
    assert found == {name: vector["sha256"] for name, vector in golden.items()}


def test_the_bundled_plan_and_the_connectors_agree_on_every_value(plan: Plan) -> None:
    stated = Counter(value for site in plan.sites for value in values(plan, site))
    normalised = Counter(
        (
            (
                (sample.site.country, sample.site.city, site_id_text(sample.site.site_id)),
                record.time_ms,
                value.indicator,
                value.data_point,
            ),
            (value.exact, value.unit),
        )
        for sample in sample_sites()
        for record in sample.source().read(START, 10_000).records
        for value in record.values
    )
    assert stated == normalised
    assert stated.total() == 16_705


@pytest.mark.parametrize(
    ("bound", "rows"),
    [
        ("rows_per_file", {"seattle-wind": 20, "iowa-electricity-fossil": 17, "iowa-electricity-nuclear": 3}),
        (
            "rows_per_site",
            {"seattle-wind": 20, "iowa-electricity-fossil": 17, "iowa-electricity-nuclear": 17},
        ),
    ],
)
def test_a_plan_can_be_bounded_by_rows_of_the_file_or_of_the_site(bound: str, rows: dict[str, int]) -> None:
    bounded = sample_plan(sample_folder(), **{bound: 20})
    found = {site.name: len(planned_records(bounded, site)) for site in bounded.sites}
    assert {name: found[name] for name in rows} == rows


def test_a_written_plan_reads_back_the_same(plan: Plan, tmp_path: Path) -> None:
    write_plan(plan, tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan


def one_site(folder: Path, text: str, **changes: object) -> tuple[Plan, PlannedSite]:
    (folder / "data.csv").write_text(text, encoding="utf-8")
    site = replace(sample_plan(sample_folder()).sites[0], file="data.csv", sha256="", **changes)  # type: ignore[arg-type]
    return Plan(folder, (site,)), site


def test_values_are_multiplied_exactly_and_empty_cells_are_no_values(tmp_path: Path) -> None:
    text = "timestamp,value\n2015-07-10 14:24:00,0.1\n2015-07-10 14:38:00,\n"
    plan, site = one_site(tmp_path, text)
    site = replace(site, values=(replace(site.values[0], times="3"),))
    (((point, amount),),) = planned_records(plan, site)
    assert (point.time_ms, amount.value) == (1_436_556_240_000, Decimal("0.3"))


def test_a_file_that_changed_since_the_plan_was_written_is_an_input_error(tmp_path: Path) -> None:
    plan, site = one_site(tmp_path, "timestamp,value\n")
    with pytest.raises(InputError, match="has changed"):
        planned_records(plan, replace(site, sha256="00"))


@pytest.mark.parametrize(
    "text",
    [
        "timestamp\n2015-07-10 14:24:00\n",
        "timestamp,value\nnoon,1\n",
        "timestamp,value\n2015-07-10 14:24:00,NaN\n",
    ],
)
def test_a_file_that_does_not_fit_its_plan_is_an_input_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="does not fit the plan"):
        planned_records(*one_site(tmp_path, text))


@pytest.mark.parametrize("text", ["", "{}", '{"format": "other"}', '{"format": "bkdms-oracle-plan/1"}'])
def test_a_file_that_is_no_plan_is_an_input_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="no plan"):
        load_plan(tmp_path / "plan.json")


def test_the_command_writes_a_plan_and_shows_what_it_expects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "plan.json")
    assert command.main(["write", "--samples", str(sample_folder()), "--rows-per-site", "2", "-o", file]) == 0
    assert command.main(["expected", "--plan", file]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 24
    assert lines[0] == [
        "US",
        "unlocode:USMES",
        "fd62:6b64:6d73:1::387",
        1_436_556_240_000,
        "LOCAL:TRAVEL_TIME",
        "",
        "564",
        "SEC",
    ]
    assert command.main(["write", "--samples", str(tmp_path), "-o", file]) == 2


@pytest.mark.parametrize(("height", "entry"), [(1, 0), (31, 32), (32, 1023), (10**9, 4095)])
def test_tracing_codes_are_those_of_the_ledger(height: int, entry: int) -> None:
    chain = bytes(range(32))
    assert tracing_code(chain, height, entry) == str(TracingCode(chain[:5], height, entry))


def imported(path: Path) -> set[str]:
    """Top-level names that a module imports; of this project, the first two parts."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {".".join(name.split(".")[:2]) if name.startswith("ops") else name.split(".")[0] for name in found}


def test_the_oracle_imports_the_standard_library_and_fastavro_only_and_kafka_in_one_module() -> None:
    modules = {path.name: path for path in Path(ops.oracle.__file__).parent.glob("*.py")}
    others = {name: imported(path) - sys.stdlib_module_names for name, path in modules.items()}
    assert others.pop("kafka_values.py") == {"confluent_kafka", "ops.oracle"}
    assert set().union(*others.values()) == {"fastavro", "ops.oracle"}
