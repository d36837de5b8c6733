"""``bkdms chaos soak``: an even load for long with rolling restarts; nothing may grow, and nothing may be lost."""

import json as jsons
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ops.signals import interruptible
from pipeline.apps.chaos.campaign import open_stand
from pipeline.apps.chaos.deployment import PERIOD_MS
from pipeline.apps.chaos.load import PACKET_RECORDS
from pipeline.apps.chaos.series import Bounds, Flatness, Sample, judge
from pipeline.apps.chaos.soak import Ending, Restart, Seen, SoakPlan, burst_rate, end, soak
from pipeline.apps.chaos.stand import Stand
from pipeline.apps.cli.context import emit_json, say
from pipeline.core.avro import require_compiled_reader

_RESULTS = Path(".cache/chaos-soak.jsonl")
_INTERRUPTED = 130
_FILE_CHARS = 120


@dataclass(slots=True)
class _Run:
    """What was seen so far, each line of it in a file, too, under the moment at which the run began."""

    file: Path
    name: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    plan: SoakPlan | None = None
    samples: list[Sample] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    ending: Ending | None = None
    is_interrupted: bool = False

    def take(self, seen: Seen) -> None:
        if isinstance(seen, Sample):
            self.samples.append(seen)
        else:
            self.restarts.append(seen)
        self.write(type(seen).__name__.lower(), asdict(seen))

    def write(self, kind: str, fields: dict[str, Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as out:
            out.write(jsons.dumps({"run": self.name, "kind": kind, **fields}) + "\n")

    def series(self) -> list[Flatness]:
        rate = self.plan.rate if self.plan is not None else 0.0
        values = rate * PERIOD_MS / 1000
        return judge(self.samples, Bounds(values / PACKET_RECORDS, values))

    def problems(self) -> list[str]:
        found = [
            f"{item.part} {item.series}: {item.bound} does not hold"
            for item in self.series()
            if not item.is_flat
        ]
        found += [f"restart of {item.part}: {item.problem}" for item in self.restarts if item.problem]
        return [*found, *(self.ending.problems if self.ending is not None else ())]


def soak_command(
    *,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long the load goes on.")] = 30.0,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1, help="Values a second, all sites together. (default: half of what a burst shows)"
        ),
    ] = None,
    pause: Annotated[float, typer.Option(min=0, help="Seconds between two restarts.")] = 15.0,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks at every program.")] = 5.0,
    results: Annotated[
        Path, typer.Option(help="A line is appended for each look and each restart.")
    ] = _RESULTS,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the data folder with all logs.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON as data.")] = False,
) -> None:
    """Load a stack of its own evenly while every program of ours is ended and started again in turn, all the time.

    At the end an oracle and bkdms verify judge everything, and no memory, descriptors, threads, lag or keys may have
    grown over the second half. Exit 0 only if all of it holds. Ctrl-C ends it with the table so far.

    Example: bkdms chaos soak --minutes 30 --results soak.jsonl
    """
    require_compiled_reader()
    run = _Run(results)
    # A short path: without a system Redis, its Unix socket lies in the data folder.
    folder = Path(tempfile.mkdtemp(prefix="bkdms-"))
    is_over = False
    try:
        with interruptible(), open_stand(folder, say) as stand:
            run.plan = SoakPlan(minutes * 60, rate or _half_of_burst(stand), pause, every)
            run.write("plan", asdict(run.plan))
            with _bar(run, run.plan) as hear:
                soak(stand, run.plan, hear)
            say("the load is over; waiting until all is stored and verified, then judging")
            run.ending = end(stand)
            run.write("ending", asdict(run.ending))
        is_over = True
    except KeyboardInterrupt:
        run.is_interrupted = True
        say("interrupted: this is the table so far, and nothing was judged by the oracle")
    finally:
        if keep or not is_over or run.problems():
            say(f"the data folder with all logs is kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    _show(run, json=json)


def _half_of_burst(stand: Stand) -> float:
    shown = burst_rate(stand)
    say(f"a burst was stored at {shown:.1f} values a second; the load is half of that")
    return round(shown / 2, 1)


@contextmanager
def _bar(run: _Run, plan: SoakPlan) -> Iterator[Callable[[Seen], None]]:
    """Give what hears samples and restarts, and shows time and restarts on standard error if that is a terminal."""
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=plan.seconds, said="")

        def hear(seen: Seen) -> None:
            run.take(seen)
            said = f"{len(run.restarts)} restarts"
            if isinstance(seen, Restart):
                said += f"; {seen.part} was ready again in {seen.seconds:.1f} s"
            bar.update(task, completed=seen.at_s, said=said)

        yield hear


def _show(run: _Run, *, json: bool) -> None:
    """Print the table and what was wrong; exit 1 if anything was, 130 if it was interrupted."""
    series, problems = run.series(), run.problems()
    if json:
        restarts = [asdict(item) for item in run.restarts]
        ending = None if run.ending is None else asdict(run.ending)
        shown = [asdict(item) for item in series]
        emit_json({"series": shown, "restarts": restarts, "ending": ending, "problems": problems})
    else:
        console = Console()
        if not console.is_terminal:
            console.width = _FILE_CHARS
        console.print(_series_table(series), _restart_table(run.restarts))
        if run.ending is not None:
            say(_ending_line(run.ending))
        for problem in problems:
            say(problem)
    if run.is_interrupted:
        raise typer.Exit(_INTERRUPTED)
    if problems:
        raise typer.Exit(1)


def _series_table(series: list[Flatness]) -> Table:
    table = Table("part", "series", "first half", "second half", "grown", "lowest at end", "wanted", "flat")
    for item in series:
        cells = (item.first, item.second, item.growth, item.lowest)
        verdict = ("yes" if item.is_flat else "NO") if item.bound else ""
        shown = ("" if cell is None else f"{cell:g}" for cell in cells)
        table.add_row(item.part, item.series, *shown, item.bound, verdict)
    return table


def _restart_table(restarts: list[Restart]) -> Table:
    table = Table("part", "restarts", "ready again p50 s", "max s", "not ready")
    for part in dict.fromkeys(item.part for item in restarts):
        mine = [item for item in restarts if item.part == part]
        seconds = [item.seconds for item in mine]
        failed = sum(bool(item.problem) for item in mine)
        table.add_row(part, str(len(mine)), f"{median(seconds):.1f}", f"{max(seconds):.1f}", str(failed))
    return table


def _ending_line(ending: Ending) -> str:
    took = "never" if ending.recovery_s is None else f"{ending.recovery_s:.1f} s after the load"
    verdict = (
        "; ".join(ending.problems) or "nothing lost, doubled or altered; verify passed on chain and store"
    )
    return f"all stored and verified {took}; {ending.values} values, height {ending.height}: {verdict}"
