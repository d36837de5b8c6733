"""``bkdms chaos``: faults on a real stack under load, judged by an independent oracle after each round."""

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ops.kafka.cluster import SIZES
from ops.signals import interruptible
from pipeline.apps.chaos.campaign import open_stand, play
from pipeline.apps.chaos.faults import FAULTS, Fault
from pipeline.apps.chaos.judging import Judge
from pipeline.apps.chaos.report import rows
from pipeline.apps.chaos.rounds import Result, append, chosen_faults, planned, remaining, results
from pipeline.apps.cli.chaos_soak import soak_command
from pipeline.apps.cli.context import emit_json, say
from pipeline.core.avro import require_compiled_reader
from pipeline.core.errors import ConfigError

RESULTS = Path(".cache/chaos.jsonl")
Json = Annotated[bool, typer.Option("--json", help="Print JSON as data.")]
chaos = typer.Typer(
    no_args_is_help=True,
    help="Break parts of a real stack of its own while sites send, and see that nothing is lost, doubled or altered.",
)


@chaos.command()
def run(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the campaign.")] = 20,
    seed: Annotated[
        int, typer.Option(help="Chooses faults, victims and moments; another seed, another campaign.")
    ] = 1,
    faults: Annotated[
        str,
        typer.Option(help="Faults to choose from, with commas; kill.* is all that begin so. (default: all)"),
    ] = "",
    results_file: Annotated[
        Path,
        typer.Option("--results", help="A line is appended for each round; the campaign goes on from there."),
    ] = RESULTS,
    brokers: Annotated[
        int, typer.Option(help="Kafka brokers: 1, or 3, of which a fault of Kafka's takes one.")
    ] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the data folder with all logs.")] = False,
    json: Json = False,
) -> None:
    """Play rounds on a stack of its own: load, one fault or two, recovery, judgement.

    After each round everything that the sites were told must be in ledger and store once and unaltered, says an oracle
    that shares no code with the programs; bkdms verify must pass (every tenth time on all of chain and store); no
    certified block may have changed. Exit 0 only if all of it holds in all rounds of the campaign.

    Stopped at any time, the same command goes on with the next round.

    Example: bkdms chaos run --rounds 200 --seed 7 --results chaos.jsonl
    """
    require_compiled_reader()
    chosen = _possible(chosen_faults(faults))
    if brokers not in SIZES:
        raise ConfigError(f"--brokers {brokers}: choose {' or '.join(map(str, SIZES))}")
    todo = remaining(results_file, seed, rounds, brokers)
    if todo:
        _campaign(todo, seed, chosen, results_file, brokers=brokers, keep=keep)
    played = [
        result
        for result in results(results_file)
        if (result.seed, result.brokers) == (seed, brokers) and result.round < rounds
    ]
    _show(played, json=json)


chaos.command("soak")(soak_command)


@chaos.command("list")
def list_faults(*, json: Json = False) -> None:
    """Show every fault, what it does, and whether this machine can do it."""
    if json:
        emit_json([{"name": f.name, "summary": f.summary, "missing": f.missing} for f in FAULTS.values()])
        return
    table = Table("fault", "what happens", "needs")
    for fault in FAULTS.values():
        lacks = f"{fault.needs} (not on this machine)" if fault.missing else fault.needs
        table.add_row(fault.name, fault.summary, lacks)
    Console().print(table)


@chaos.command()
def show(
    file: Annotated[Path, typer.Argument(help="File of results that `bkdms chaos run` wrote.")],
    *,
    json: Json = False,
) -> None:
    """Show results by fault: rounds, recovery, lost, doubled, altered. Exit 1 where a round was bad."""
    if not file.exists():
        raise ConfigError(f"{file}: there is no such file; `bkdms chaos run --results {file}` writes it")
    _show(list(results(file)), json=json)


def _campaign(todo: range, seed: int, chosen: list[Fault], file: Path, *, brokers: int, keep: bool) -> None:
    # A short path: without a system Redis, its Unix socket lies in the data folder.
    folder = Path(tempfile.mkdtemp(prefix="bkdms-"))
    bad = False
    try:
        with interruptible(), open_stand(folder, say, brokers) as stand:
            judge = Judge(stand)
            for number in todo:
                is_last = number == todo[-1]
                result = play(stand, judge, planned(seed, number, chosen), seed, is_last=is_last)
                append(file, result)
                bad |= not result.is_good
                say(_line(result))
    except Exception:
        bad = True
        raise
    finally:
        if keep or bad:
            say(f"the data folder with all logs is kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _possible(chosen: list[Fault]) -> list[Fault]:
    for fault in chosen:
        if fault.missing:
            say(f"left out: {fault.name}, since this machine has no {fault.missing}")
    found = [fault for fault in chosen if not fault.missing]
    if not found:
        raise ConfigError("none of these faults is possible on this machine; see `bkdms chaos list`")
    return found


def _line(result: Result) -> str:
    recovery = f"recovered in {result.recovery_s:.1f} s" if result.recovery_s is not None else "not recovered"
    counts = f"lost {result.lost}, doubled {result.doubled}, altered {result.altered} of {result.values}"
    problems = "".join(f"; {problem}" for problem in result.problems)
    struck = f"{' + '.join(result.faults)} ({'; '.join(result.details)})"
    return f"round {result.round}: {struck}: {recovery}, {counts}{problems}"


def _show(played: list[Result], *, json: bool) -> None:
    found = rows(played)
    if json:
        emit_json([asdict(row) for row in found])
    else:
        table = Table(
            "fault", "rounds", "combined", "recovery p50 s", "max s", "lost", "doubled", "altered", "bad"
        )
        for row in found:
            table.add_row(*("" if cell is None else str(cell) for cell in asdict(row).values()))
        Console().print(table)
    if any(not result.is_good for result in played):
        raise typer.Exit(1)
