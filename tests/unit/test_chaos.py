"""Chaos plans the same rounds for the same seed, strikes where an order says, and counts what it found."""

import errno
import inspect
import json
import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from ops.oracle.plan import load_plan, planned_records
from pipeline.apps.chaos.deployment import ChaosDeployment
from pipeline.apps.chaos.faults import FAULTS
from pipeline.apps.chaos.harness import Watch
from pipeline.apps.chaos.load import make_load, write_plan
from pipeline.apps.chaos.orders import Order, Orders
from pipeline.apps.chaos.report import rows
from pipeline.apps.chaos.rounds import Result, append, chosen_faults, planned, remaining, results
from pipeline.apps.chaos.steps import STEPS, How, Moment, Part, Step
from pipeline.apps.cli.chaos import chaos
from pipeline.core.errors import ConfigError, TransientError
from tests.chaos.mutants import MUTANTS, ROOT, Mutant

GOOD = Result(1, 0, ("kill.node",), ("node-1",), 2.0, 9.0, 40, 7, 0, 0, 0, 0, ())
STEP = Step("store", Part.PLATFORM, "", "", "", is_disk=True)


class Sent(NamedTuple):
    topic: str


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_step_is_a_call_that_there_is(step: Step) -> None:
    call = getattr(getattr(import_module(step.module), step.owner), step.method)
    assert inspect.isfunction(call)
    if step.topic:
        assert list(inspect.signature(call).parameters)[1:] == ["batch"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutation_fits_the_code_and_names_tests(mutant: Mutant) -> None:
    assert mutant.text(ROOT) != (ROOT / mutant.file).read_text("utf-8")
    assert all((ROOT / name).exists() for name in mutant.tests if name.startswith("tests/"))


def test_the_same_seed_gives_the_same_rounds() -> None:
    faults = list(FAULTS.values())
    one, other = (planned(7, 3, faults) for _ in range(2))
    assert one.faults == other.faults
    assert one.dice.random() == other.dice.random()


def test_every_fault_comes_once_before_one_comes_again() -> None:
    faults = list(FAULTS.values())
    met = {fault.name for number in range(len(faults)) for fault in planned(1, number, faults).faults}
    assert met == set(FAULTS)


def test_a_step_is_waited_for_before_another_fault_can_keep_programs_from_it() -> None:
    faults = list(FAULTS.values())
    pairs = [planned(1, number, faults).faults for number in range(300)]
    mixed = [
        pair for pair in pairs if len(pair) > 1 and any(fault.name.startswith("step.") for fault in pair)
    ]
    assert mixed
    assert all(pair[0].name.startswith("step.") for pair in mixed)


def test_two_faults_of_a_round_take_different_programs() -> None:
    faults = list(FAULTS.values())
    pairs = [planned(1, number, faults).faults for number in range(300)]
    assert any(len(pair) > 1 for pair in pairs)
    assert not any(pair[0].touches & pair[1].touches for pair in pairs if len(pair) > 1)


def test_faults_are_chosen_by_name_and_by_beginning() -> None:
    assert [fault.name for fault in chosen_faults("redis.wiped,kill.node")] == ["redis.wiped", "kill.node"]
    assert {fault.name for fault in chosen_faults("step.*")} == {f"step.{step.name}" for step in STEPS}


def test_an_unknown_fault_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="nobody"):
        chosen_faults("kill.nobody")


def test_a_campaign_goes_on_after_its_last_round(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    assert remaining(file, 1, 3) == range(3)
    append(file, GOOD)
    assert (remaining(file, 1, 3), remaining(file, 2, 3)) == (range(1, 3), range(3))
    assert remaining(file, 1, 3, brokers=3) == range(3), "a campaign on a cluster is one of its own"
    assert list(results(file)) == [GOOD]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_text('{"seed": 1}\n')
    with pytest.raises(ConfigError, match="line 1"):
        list(results(file))


def test_results_are_counted_by_fault_and_together() -> None:
    both = Result(1, 1, ("burst", "kill.node"), ("", ""), 4.0, 9.0, 80, 9, 1, 2, 3, 0, ())
    found = {row.fault: row for row in rows([GOOD, both])}
    assert list(found) == ["burst", "kill.node", "all rounds"]
    node = found["kill.node"]
    assert (node.rounds, node.combined, node.recovery_p50_s, node.recovery_max_s) == (2, 1, 3.0, 4.0)
    assert (node.lost, node.doubled, node.altered, node.bad) == (1, 2, 3, 1)


def test_showing_a_bad_round_ends_with_1(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    append(file, GOOD)
    assert CliRunner().invoke(chaos, ["show", str(file)]).exit_code == 0
    append(file, Result(1, 1, ("burst",), ("",), None, 9.0, 40, 7, 0, 0, 0, 0, ("not recovered",)))
    shown = CliRunner().invoke(chaos, ["show", str(file), "--json"])
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)[-1]["bad"] == 1


@pytest.mark.parametrize("is_disk", [True, False])
def test_a_failing_step_looks_like_a_disk_or_a_server(orders: Orders, is_disk: bool) -> None:
    step = Step("store", Part.PLATFORM, "", "", "", is_disk=is_disk)
    done: list[int] = []
    watched = Watch(orders, Part.PLATFORM, "platform").over(step, done.append)
    orders.give(Part.PLATFORM, Order("store", Moment.AFTER, How.FAIL))
    with pytest.raises(OSError if is_disk else TransientError) as caught:
        watched(1)
    assert not isinstance(caught.value, OSError) or caught.value.errno == errno.EIO
    watched(2)
    assert (done, orders.taken_by()) == ([1, 2], "platform")


def test_a_step_is_not_done_when_the_fault_comes_before_it(orders: Orders) -> None:
    done: list[int] = []
    watched = Watch(orders, Part.PLATFORM, "platform").over(STEP, done.append)
    orders.give(Part.PLATFORM, Order("store", Moment.BEFORE, How.FAIL))
    with pytest.raises(OSError):
        watched(1)
    assert done == []


@pytest.mark.parametrize(("how", "number"), [(How.KILL, signal.SIGKILL), (How.STOP, signal.SIGSTOP)])
def test_a_step_kills_or_stops_its_own_process(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, how: How, number: signal.Signals
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr("os.kill", lambda pid, sig: sent.append((pid, sig)))
    watched = Watch(orders, Part.PLATFORM, "platform").over(STEP, lambda: None)
    orders.give(Part.PLATFORM, Order("store", Moment.BEFORE, how))
    watched()
    assert sent == [(os.getpid(), number)]


async def test_an_order_for_a_topic_waits_for_what_goes_there(orders: Orders) -> None:
    sent: list[Any] = []

    async def send(_producer: object, batch: list[Sent]) -> None:
        sent.extend(batch)

    step = Step("cosign", Part.NODE, "", "", "", topic="cosignatures")
    watched = Watch(orders, Part.NODE, "node-1").over(step, send)
    orders.give(Part.NODE, Order("cosign", Moment.BEFORE, How.FAIL))
    await watched(None, [Sent("kpi.chain.v1")])
    with pytest.raises(TransientError):
        await watched(None, [Sent("kpi.chain.v1"), Sent("kpi.cosignatures.v1")])
    assert sent == [Sent("kpi.chain.v1")]


def test_an_order_is_taken_by_one_program_of_its_kind(orders: Orders) -> None:
    orders.give(Part.NODE, Order("sign", Moment.BEFORE, How.KILL))
    assert orders.waiting(Part.SITE) is None
    assert [orders.take(Part.NODE, name) for name in ("node-2", "node-1")] == [True, False]
    assert (orders.taken_by(), orders.waiting(Part.NODE)) == ("node-2", None)


def test_workers_and_sites_run_under_the_harness_and_commands_do_not(tmp_path: Path) -> None:
    deployment = ChaosDeployment(tmp_path)
    cli = "pipeline.apps.cli"
    node = deployment.python(cli, "--config", "/d/settings/node-1.toml", "worker", "account")
    site = deployment.python(cli, "--config", "/d/sites/site-1/bkdms.toml", "site", "run")
    api = deployment.python(cli, "--config", "/d/settings/api.toml", "serve")
    assert node[2:6] == ("pipeline.apps.chaos.harness", str(deployment.orders.folder), "node", "node-1")
    assert site[4:6] == ("site", "site-1")
    assert api[2] == cli


def test_the_oracle_reads_what_sites_were_told_from_the_files(tmp_path: Path) -> None:
    load = make_load(tmp_path / "load")
    load.sites[0].tell(3)
    load.sites[0].tell(2)
    plan = load_plan(write_plan(load, tmp_path / "plan.json"))
    found = [planned_records(plan, site) for site in plan.sites]
    assert [len(records) for records in found] == [5, 0]
    points = [point for records in found[0] for point, _ in records]
    assert len(set(points)) == 5


def test_faults_take_programs_that_there_are() -> None:
    kinds = {*(part.value for part in Part), "api", "kafka", "redis"}
    assert all(fault.touches <= kinds for fault in FAULTS.values())


def test_a_fault_without_its_program_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    needing = [fault for fault in FAULTS.values() if fault.needs]
    assert needing
    assert all(fault.missing == fault.needs for fault in needing)
