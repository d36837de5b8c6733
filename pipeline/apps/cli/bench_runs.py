"""What the benchmarks' commands have in common: options, the folder of a run, and what becomes of its figures."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pipeline.apps.bench.report import Figure, Result, append_result, bar_chart, table
from pipeline.apps.cli.context import emit_json, say
from pipeline.core.errors import ConfigError

WORK: Final = Path(".cache/bench")
Work = Annotated[Path, typer.Option("--data", help="Folder for what is made on the way; removed afterwards.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a run as data.")]
Plot = Annotated[Path | None, typer.Option(help="SVG file to draw into.")]
Results = Annotated[Path | None, typer.Option(help="File to append the run to, as one JSON line.")]
Values = Annotated[int, typer.Option("--values-per-packet", min=1, max=300, help="Values in each packet.")]
SuiteName = Annotated[str, typer.Option("--suite", help="Cipher suite: xwing, light or p256.")]


def work_folder(data: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a folder of a run, removed on leaving.

    Raises:
        ConfigError: it can't be made.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=data, prefix="run-")
    except OSError as error:
        raise ConfigError(f"--data {data} can't be written: {error.strerror}") from None


def tell(result: Result, results: Path | None, *, json: bool) -> None:
    """Append a run to the results file, if there is one, and print it as a table or as JSON."""
    if results is not None:
        append_result(results, result)
    if json:
        emit_json(result.as_json())
        return
    rows = [(figure.name.replace("_", " "), figure) for figure in result.figures]
    print(table(("figure", "value"), rows))
    tell_machine(result.machine)


def tell_machine(here: Mapping[str, Any]) -> None:
    """Say on what machine a run was."""
    say(f"on {here['cores']} cores of {here['cpu']}, load {here['load_before']}, Python {here['python']}")


def draw(plot: Path | None, title: str, figures: Sequence[Figure]) -> None:
    """Draw figures as bars where a file is wanted."""
    if plot is not None:
        bar_chart(plot, title, figures)
