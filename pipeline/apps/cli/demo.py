"""``bkdms demo``: the main job, end to end, on the bundled real data."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ops.signals import interruptible
from pipeline.apps.cli.context import emit_json, say
from pipeline.apps.demo.report import Proof, failures, prove, report
from pipeline.apps.demo.run import Show, make_show, perform
from pipeline.core.errors import BkdmsError, ConfigError


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with every figure.")] = False,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="Leave blocks, tiles, a proof, genesis, policy and verifier keys here."),
    ] = None,
) -> None:
    """Run the whole pipeline on bundled real measurements, break parts of it, and prove the result.

    Twelve real sampling sites send through a real Kafka to validators and four accounting nodes; blocks are
    committed in a real Redis and stored by the platform. Hostile clients attack, a node is killed, another lies.
    At the end an audit and an independent oracle compare what was sent with what ledger and store hold, and some
    assessments are held against the bundled files.
    Nothing keeps running. Exit 0 only if everything holds.

    Example: bkdms demo --json --keep ./demo-ledger
    """
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise ConfigError(f"--keep {keep}: the folder is not empty; name a new one")
    # A short path: without a system Redis, its Unix socket lies in the data folder.
    folder = Path(tempfile.mkdtemp(prefix="bkdms-"))
    with interruptible():
        try:
            show = make_show(folder, say)
            result = _run(show, keep or folder / "export")
        except BkdmsError:
            say(f"the logs of all programs are kept in {folder / 'logs'}")
            raise
        except KeyboardInterrupt:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
    broken = failures(result, show)
    if as_json:
        emit_json(result)
    else:
        _print(result)
    for name in broken:
        say(f"does not hold: {name}")
    if broken:
        raise typer.Exit(1)
    say("everything holds; to look around yourself: bkdms up --postgres --prometheus")


def _run(show: Show, export: Path) -> dict[str, Any]:
    try:
        show.tell("starting Kafka, Redis, nodes, validators, platform, assessment, API")
        show.deployment.start()
        proof, letters = asyncio.run(_perform(show, export))
    finally:
        show.deployment.stop()
    result = report(show, proof, letters, export)
    # What was not to be kept goes with the data folder.
    return result | {"export_dir": None if show.deployment.data_dir in export.parents else str(export)}


async def _perform(show: Show, export: Path) -> tuple[Proof, list[dict[str, Any]]]:
    await perform(show)
    proof = await prove(show, export)
    letters = await show.hostile.dead_letters() if show.hostile is not None else []
    return proof, letters


_TRACE_SHOWN = (
    *("code", "site", "city", "time", "indicator", "value", "height"),
    *("data_recorder", "block_recorder", "check_code", "bytes_match"),
)


def _print(result: dict[str, Any]) -> None:
    console = Console()
    figures = {key: value for key, value in result.items() if not isinstance(value, dict)}
    trace = {key: result["trace"].get(key) for key in _TRACE_SHOWN}
    assessed = result["assessments"]
    compared = {
        name: f"{item['value']}, from the file {item['from_file']:.9f}, on {item.get('tracing_count', 0)} packets"
        for name, item in assessed["figures"].items()
    }
    parts = {
        "figures": figures,
        "assessments": {key: value for key, value in assessed.items() if key != "figures"},
        "some assessments, and the same from the CSV files": compared,
        "hostile clients, and how they were refused": result["hostile"],
        "refused packets by reason": result["packets_refused"],
        "one value traced back": trace,
        "the same value, proved for outsiders": result["proof"],
        "CPU seconds by process": result["cpu_seconds"],
    }
    for title, rows in parts.items():
        table = Table(title=title, show_header=False, title_justify="left")
        for name, value in rows.items():
            table.add_row(name.replace("_", " "), str(value))
        console.print(table)
