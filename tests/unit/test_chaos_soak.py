"""A soak judges every series over its second half, tells rows evenly, and ends by what it found."""

import json
from pathlib import Path

import pytest
import typer

from pipeline.apps.chaos.load import make_load
from pipeline.apps.chaos.series import SETTLED_S, Bounds, Flatness, Sample, judge, slope
from pipeline.apps.chaos.soak import Ending, Restart, SoakPlan, even_load
from pipeline.apps.chaos.stand import until
from pipeline.apps.cli.chaos_soak import _Run, _show

BOUNDS = Bounds(packets=4, values=20)
LAST = 200


def judged(name: str, values: list[float], *, part: str = "node-1", age_s: float = 100) -> Flatness:
    """Return the judgement of one series with a sample each second."""
    samples = [Sample(at_s, part, age_s, {name: value}) for at_s, value in enumerate(values)]
    (found,) = judge(samples, BOUNDS)
    return found


def growing(start: float, by: float) -> list[float]:
    """Return a line that grows ``by`` over its second half."""
    return [start + 2 * by * at / LAST for at in range(LAST + 1)]


@pytest.mark.parametrize(
    ("name", "start", "bound"),
    [
        ("memory_mib", 100, 10),
        ("used_mib", 3, 0.3),
        ("descriptors", 40, 8),
        ("threads", 9, 4),
        ("keys", 5, 4),
    ],
)
def test_what_grows_beyond_its_bound_is_not_flat(name: str, start: float, bound: float) -> None:
    assert judged(name, growing(start, 0)).is_flat
    assert judged(name, growing(start, 0.8 * bound)).is_flat
    assert judged(name, growing(start, -2 * bound)).is_flat
    assert not judged(name, growing(start, 1.5 * bound)).is_flat


@pytest.mark.parametrize(("name", "most"), [("lag", 4), ("spool_records", 200)])
def test_what_waits_comes_back_and_does_not_grow(name: str, most: float) -> None:
    swinging = [most / 2 if at % 10 else 9 * most for at in range(LAST + 1)]
    assert judged(name, swinging).is_flat
    assert not judged(name, [most + 1.0] * LAST).is_flat
    assert not judged(name, growing(0, 2 * most)).is_flat


def test_a_program_that_still_loads_is_not_judged() -> None:
    old = [Sample(at, "node-1", 100, {"memory_mib": 100}) for at in range(LAST)]
    young = [Sample(at, "node-1", SETTLED_S - 1, {"memory_mib": 10 * at}) for at in range(LAST)]
    (found,) = judge([*old, *young], BOUNDS)
    assert (found.first, found.second, found.is_flat) == (100, 100, True)


def test_a_series_without_samples_is_not_taken_for_flat() -> None:
    assert not judged("memory_mib", growing(100, 0), age_s=1).is_flat


def test_what_grows_by_design_is_shown_alone() -> None:
    for part, name in (
        ("stack", "store_mib"),
        ("kafka", "disk_mib"),
        ("kafka", "memory_mib"),
        ("node-1", "height"),
    ):
        found = judged(name, growing(1, 1000), part=part)
        assert (found.is_flat, found.bound) == (True, "")
        assert found.growth == pytest.approx(1000, rel=0.02)


def test_halves_are_told_apart() -> None:
    found = judged("height", [1.0] * 100 + [3.0] * 101)
    assert (found.first, found.second, found.lowest) == (1, 3, 3)


def test_single_peaks_do_not_move_a_slope() -> None:
    points = [(float(at), 2.0 * at) for at in range(50)]
    points[25] = (25.0, 100_000.0)
    assert slope(points) == pytest.approx(2.0)


def test_an_even_load_tells_every_site_the_same_and_leaves_whole_files(tmp_path: Path) -> None:
    load = make_load(tmp_path)
    load.first()
    with even_load(load, 400):
        until("rows are told", lambda: load.told > 20, 30)
    told = [site.told for site in load.sites]
    assert told[0] == told[1]
    lines = [site.file.read_text("utf-8").splitlines() for site in load.sites]
    assert [len(rows) - 1 for rows in lines] == told
    assert all(rows[-1].count(",") == 1 for rows in lines)


def run_of(file: Path, ending: Ending | None) -> _Run:
    run = _Run(file, plan=SoakPlan(LAST, 20, 5, 1), ending=ending)
    for at_s in range(LAST):
        run.take(Sample(at_s, "node-1", 100, {"memory_mib": 100, "lag": 1}))
    return run


GOOD = Ending(1.5, 400, 70, ())


def test_a_flat_and_clean_run_is_good_and_keeps_every_line(tmp_path: Path) -> None:
    run = run_of(tmp_path / "soak.jsonl", GOOD)
    run.take(Restart(3, "node-1", 2.5, ""))
    _show(run, json=True)
    lines = [json.loads(line) for line in run.file.read_text("utf-8").splitlines()]
    assert [line["kind"] for line in lines] == ["sample"] * LAST + ["restart"]


@pytest.mark.parametrize("wrong", ["judgement", "restart", "series"])
def test_whatever_is_wrong_ends_it_with_1(tmp_path: Path, wrong: str) -> None:
    ending = Ending(None, 400, 70, ("2 values lost",)) if wrong == "judgement" else GOOD
    run = run_of(tmp_path / "soak.jsonl", ending)
    if wrong == "restart":
        run.take(Restart(3, "node-1", 240, "node-1 was not ready within 60 s"))
    if wrong == "series":
        for at_s in range(LAST):
            run.take(Sample(at_s, "node-2", 100, {"memory_mib": 100 + at_s}))
    with pytest.raises(typer.Exit) as ended:
        _show(run, json=False)
    assert ended.value.exit_code == 1


def test_an_interrupted_run_shows_its_table_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path / "soak.jsonl", None)
    run.is_interrupted = True
    with pytest.raises(typer.Exit) as ended:
        _show(run, json=False)
    assert ended.value.exit_code == 130
    assert "memory_mib" in capsys.readouterr().out
