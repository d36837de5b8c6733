"""Benchmarks count processor time of whole process trees, keep their runs, and draw them."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from pipeline.apps.bench.report import (
    Cpu,
    Figure,
    Result,
    Series,
    append_result,
    bar_chart,
    line_chart,
    read_results,
    table,
)
from pipeline.core.errors import ConfigError

_BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
_PARENT = (
    "import subprocess, sys\n"
    f"subprocess.run([sys.executable, '-c', {_BURN!r}])\n"
    f"child = subprocess.Popen([sys.executable, '-c', {_BURN!r} + 'input()'], stdin=subprocess.PIPE)\n"
    "print('running', flush=True)\n"
    "input()\n"
)


def _result(seed: int = 1) -> Result:
    return Result("floor", {"stage": "node"}, (Figure("a", 1.5, "µs"),), seed, {"cores": 2})


def test_the_meter_counts_children_that_run_and_that_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        meter = Cpu([parent.pid])
        assert parent.stdout
        assert parent.stdin
        parent.stdout.readline()
        [child] = psutil.Process(parent.pid).children()
        while sum(child.cpu_times()[:2]) < 0.2:
            assert child.is_running()
        assert meter.spent_s() >= 0.4
        meter.reset()
        child.kill()
        parent.stdin.write(b"\n")
        parent.stdin.close()
        parent.wait()


def test_a_process_that_ended_counts_with_what_it_was_last_seen_to_have_used() -> None:
    with subprocess.Popen([sys.executable, "-c", _BURN + "input()"], stdin=subprocess.PIPE) as process:
        meter = Cpu([process.pid])
        while (seen := meter.spent_s()) < 0.2:
            assert process.poll() is None
        process.kill()
        process.wait()
        assert meter.spent_s() >= seen


def test_runs_are_appended_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "results.jsonl"
    append_result(path, _result(1))
    append_result(path, _result(2))
    assert read_results(path) == [_result(1), _result(2)]


def test_a_line_that_was_cut_off_is_left_out_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_result(path, _result(1))
    path.write_bytes(path.read_bytes() + b'{"bench": "flo')
    assert read_results(path) == [_result(1)]
    append_result(path, _result(2))
    assert read_results(path) == [_result(1), _result(2)]


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("{}\n")
    with pytest.raises(ConfigError, match=r"results.jsonl: line 1"):
        read_results(path)
    assert read_results(tmp_path / "none.jsonl") == []


def test_a_figure_is_a_finite_number() -> None:
    with pytest.raises(ValueError, match="cpu is not a finite number"):
        Figure("cpu", float("nan"))


@pytest.mark.parametrize(("value", "shown"), [(0.012345, "0.01235"), (3, "3"), (12345.6, "12,346")])
def test_a_figure_shows_four_digits(value: float, shown: str) -> None:
    assert Figure("x", value).shown() == shown


def test_a_table_sets_numbers_to_the_right() -> None:
    text = table(("what", "µs"), [("a", 3.25), ("long", Figure("", 1234, "µs"))])
    assert text.splitlines() == ["what        µs", "a         3.25", "long  1,234 µs"]


def test_charts_are_whole_drawings_with_every_name_and_number(tmp_path: Path) -> None:
    bars, lines = tmp_path / "bars.svg", tmp_path / "lines.svg"
    bar_chart(bars, "Floor <µs>", [Figure("a & b", 2, "µs"), Figure("c", 0, "µs")])
    line_chart(lines, "Growth", [Series("node", ((10, 1), (1000, 2)))], ("entries", "µs"), log_x=True)
    texts = ["".join(ElementTree.parse(path).getroot().itertext()) for path in (bars, lines)]
    assert all(word in texts[0] for word in ("Floor <µs>", "a & b", "2 µs"))
    assert all(word in texts[1] for word in ("Growth", "node", "entries", "1,000"))


def test_bars_of_different_units_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one unit"):
        bar_chart(tmp_path / "bars.svg", "x", [Figure("a", 1, "µs"), Figure("b", 1, "bytes")])
