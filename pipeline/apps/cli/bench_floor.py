"""``bkdms bench floor``: what each stage can't do without, on this machine."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pipeline.apps.bench.figures import progress
from pipeline.apps.bench.floor import Case, Database, Floor, Stage, measure_case, own_servers, reference
from pipeline.apps.bench.floor.servers import POSTGRES
from pipeline.apps.bench.floor.timing import ROUNDS
from pipeline.apps.bench.report import Figure, Result, append_result, bar_chart, table
from pipeline.apps.cli.context import emit_json, say
from pipeline.apps.cli.values import suite_option
from pipeline.core.avro import require_compiled_reader

_USUAL_VALUES: Final = {Stage.SITE: 200, Stage.PLATFORM: 200}
"""Values a packet at which a stage is measured unless the user asks for others; elsewhere one."""
_SHOWN_PART: Final = 0.001
"""Bars of primitives below this part of a floor are left out of the drawing."""


def floor(
    stage: Annotated[list[Stage] | None, typer.Option(help="Stage; repeat. (default: all)")] = None,
    values_per_packet: Annotated[
        int | None,
        typer.Option(min=1, max=300, help="Values in each packet. (default: 200 at both ends, else 1)"),
    ] = None,
    suite: Annotated[str, typer.Option(help="Cipher suite: xwing, light or p256.")] = "xwing",
    *,
    nodes: Annotated[int, typer.Option(help="Accounting nodes of the chain: 1 or 4.")] = 1,
    database: Annotated[Database, typer.Option(help="Where the platform's store is.")] = Database.SQLITE,
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds of all primitives; the lowest median counts.")
    ] = ROUNDS,
    check: Annotated[
        bool, typer.Option("--check", help="Compare primitives with references; exit 1 for a slower one.")
    ] = False,
    results: Annotated[
        Path | None, typer.Option(help="File to append each run to, as one JSON line.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="SVG file to draw into.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")] = False,
) -> None:
    """Measure the primitives that each stage can't do without, and sum up what a packet needs of them.

    Signatures, ciphers, hashes and encodings run here; Kafka, Redis and database are real ones, started for this.
    Processor time alone counts, of this process and apart from it of the server. docs/performance.md has the lists.

    Example: bkdms bench floor --stage validator --check
    """
    require_compiled_reader()
    chosen = suite_option(suite)
    cases = [
        Case(each, values_per_packet or _USUAL_VALUES.get(each, 1), chosen, nodes, database)
        for each in stage or list(Stage)
    ]
    floors, compared = _measured(cases, rounds, results, check=check)
    if plot is not None:
        bar_chart(plot, f"Floors, {suite}: µs of the processor for a packet", _bars(floors))
    if json:
        emit_json(
            {"floors": [_as_json(found) for found in floors], "compared": list(map(_row_json, compared))}
        )
    else:
        _print(floors, compared)
    slower = [each.primitive for each in compared if each.verdict is reference.Verdict.SLOWER]
    if slower:
        say(f"slower than the references allow, so that floors are too high: {', '.join(slower)}")
        raise typer.Exit(1)


def _measured(
    cases: list[Case], rounds: int, results: Path | None, *, check: bool
) -> tuple[list[Floor], list[reference.Compared]]:
    """Measure one case after the other, each kept as soon as it is there."""
    wanted = frozenset[str]().union(*(case.servers for case in cases))
    floors, servers = [], None
    with ExitStack() as running:
        if wanted or check:
            say("starting servers")
            servers = running.enter_context(own_servers(has_postgres=POSTGRES in wanted))
        for case in cases:
            with progress(f"measuring {case.stage}", rounds * len(case.ways)) as step:
                floors.append(measure_case(case, servers, rounds, step))
            if results is not None:
                append_result(results, Result("floor", _arguments(case), floors[-1].figures()))
        if servers is None or not check:
            return floors, []
        with progress("comparing", rounds * len(reference.REFERENCES)) as step:
            return floors, reference.compare(servers, rounds, step)


def _arguments(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = {
        "stage": case.stage.value,
        "values_per_packet": case.values_per_packet,
        "suite": case.suite.name.lower(),
        "nodes": case.nodes,
    }
    return found | ({"database": case.database.value} if case.stage is Stage.PLATFORM else {})


def _as_json(found: Floor) -> dict[str, Any]:
    return {
        "stage": found.stage,
        "values_per_packet": found.values_per_packet,
        "suite": found.suite,
        "us_per_packet": found.us_per_packet,
        "server_us_per_packet": found.server_us_per_packet,
        "rows": [
            {"primitive": row.primitive, "count": row.count, "us": row.us, "server_us": row.server_us}
            for row in found.rows
        ],
    }


def _row_json(each: reference.Compared) -> dict[str, Any]:
    return {
        "primitive": each.primitive,
        "us": each.us,
        "reference_us": [each.least_us, each.most_us],
        "scale": each.scale,
        "beyond": each.beyond,
        "verdict": each.verdict.value,
    }


def _bars(floors: list[Floor]) -> list[Figure]:
    return [
        Figure(f"{found.stage}: {row.primitive}", row.us_per_packet, "µs")
        for found in floors
        for row in found.rows
        if row.us_per_packet >= _SHOWN_PART * found.us_per_packet
    ]


def _print(floors: list[Floor], compared: list[reference.Compared]) -> None:
    head = ("primitive", "times", "µs", "µs a packet", "µs of the server")
    for found in floors:
        print(f"{found.stage}, packets of {found.values_per_packet}, {found.suite}")
        rows: list[tuple[str | float, ...]] = [
            (row.primitive, row.count, row.us, row.us_per_packet, row.server_us_per_packet)
            for row in found.rows
        ]
        print(
            table(
                head,
                [*rows, ("floor", 1, found.us_per_packet, found.us_per_packet, found.server_us_per_packet)],
            )
        )
        print()
    if compared:
        print(f"compared with references, scaled by {compared[0].scale:.3f}")
        told = [
            (
                each.primitive,
                each.us,
                each.least_us * each.scale,
                each.most_us * each.scale,
                f"{each.beyond:+.0%}",
                each.verdict.value,
            )
            for each in compared
        ]
        print(table(("primitive", "µs", "least", "most", "beyond", "verdict"), told))
