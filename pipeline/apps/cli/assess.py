"""``bkdms assess``: assessments of the store, computed here and now."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipeline.adapters.sql.assess_store import SqlAssessStore
from pipeline.adapters.sql.engine import open_existing, transaction
from pipeline.adapters.sql.schema import require_current
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.config.assess_plan import load_plan
from pipeline.core.assess.document import document, parse_time, time_text
from pipeline.core.assess.model import Assessment
from pipeline.core.assess.query import Wanted
from pipeline.core.errors import ConfigError
from pipeline.core.names import parse_site_id, site_id_text
from pipeline.services.assess.once import assess_once

_COLUMNS = (
    *(
        "window",
        "from",
        "city",
        "site",
        "indicator",
        "what",
        "value",
        "unit",
        "of",
        "look at",
        "tracing codes",
    ),
)


def assess(
    ctx: typer.Context,
    *,
    country: Annotated[str | None, typer.Option(help="Only this country.")] = None,
    city: Annotated[str | None, typer.Option(help="Only this city, such as unlocode:USSEA.")] = None,
    site: Annotated[str | None, typer.Option(help="Only this site; '' for cities' own figures.")] = None,
    indicator: Annotated[str | None, typer.Option(help="Only this indicator.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only completeness, validity, value, score, ...")] = None,
    window: Annotated[str | None, typer.Option(help="Only hours, days, months or years: hour, ...")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="Only windows from this time on.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Only windows that begin before this time.")] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Assessment plan, instead of setting assess.plan.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Assess the platform's store once, and print what is found; nothing is written or sent.

    Reads all values of the windows asked for from the store (store.url). For cities that run no assessment worker,
    and to try a plan. Times are ISO 8601; without a zone they are GMT.

    Example: bkdms assess --city unlocode:USMES --window year --plan assessment.toml
    """
    settings = settings_of(ctx)
    wanted = Wanted(
        country, city, _site(site), indicator, kind, window, _time("--from", begin), _time("--to", end)
    )
    chosen = load_plan(plan or settings.assess.plan)
    engine = open_existing(settings.store.url)
    store = SqlAssessStore(lambda: engine)
    try:
        with transaction(engine) as connection:
            require_current(connection)
        found = assess_once(store, chosen, load_genesis(settings.genesis).url, wanted)
        if as_json:
            emit_json({"assessments": [document(item) for item in found]})
        else:
            _print(found)
    finally:
        store.close()


def _print(found: Iterable[Assessment]) -> None:
    table = Table(*_COLUMNS)
    for item in found:
        table.add_row(*_cells(item))
    if table.row_count:
        # Names are of sites and cities: brackets in them are no markup of ours.
        Console(width=None if Console().is_terminal else 240, markup=False).print(table)
    else:
        say("nothing found: the store has no such values")


def _cells(item: Assessment) -> list[str]:
    shown: dict[str, Any] = {
        "window": item.window.period.value,
        "from": time_text(item.window.start),
        "city": f"{item.country}/{item.city}",
        "site": item.site_id,
        "indicator": " ".join(filter(None, (item.indicator, item.data_point))),
        "what": f"{item.kind.value}: {item.formula}",
        "value": item.exact,
        "unit": item.unit,
        "of": f"{item.achieved}/{item.possible}",
        "look at": item.finding.value.replace("_", " "),
        "tracing codes": str(item.traces.count),
    }
    return [shown[name] for name in _COLUMNS]


def _site(text: str | None) -> str | None:
    if not text:
        return text
    try:
        return site_id_text(parse_site_id(text))
    except ValueError:
        raise ConfigError(f"--site {text}: write an IPv4 or IPv6 address") from None


def _time(option: str, text: str | None) -> int | None:
    found = None if text is None else parse_time(text)
    if text is not None and found is None:
        raise ConfigError(f"{option} {text}: write a time as 2026-11-20T00:00:00Z")
    return found
