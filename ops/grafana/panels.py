"""The few kinds of panels and queries that our dashboards consist of; everything about their looks is here.

A panel's description says what a reader should make of it. Counters are shown per second over ``$__rate_interval``.
"""

from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
)
from grafana_foundation_sdk.builders import timeseries as lines
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

METRICS: Final = model.DataSourceRef("prometheus", "bkdms-prometheus")
STORE: Final = model.DataSourceRef("grafana-postgresql-datasource", "bkdms-store")
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
RATE: Final = "[$__rate_interval]"
CHAIN: Final = 'chain="$chain"'

Target = Builder[Dataquery]
Field = tuple[str, str, Any]
_Panel = TypeVar("_Panel", lines.Panel, stat.Panel, table.Panel, bargauge.Panel, statetimeline.Panel)


@dataclass(slots=True)
class SqlQuery(Dataquery):
    """A question to the store in the form of Grafana's PostgreSQL data source.

    ``is_series``: the rows are ``time``, ``metric`` and a value, one line per metric; else a table.
    """

    statement: str
    is_series: bool = False
    ref_id: str = "A"

    def to_json(self) -> dict[str, object]:
        """Return the query as Grafana keeps it in a dashboard."""
        return {
            "datasource": STORE,
            "editorMode": "code",
            "format": "time_series" if self.is_series else "table",
            "rawQuery": True,
            "rawSql": self.statement,
            "refId": self.ref_id,
        }


@dataclass(slots=True)
class Sql(Builder[Dataquery]):
    """Builder of a question to the store; leading white space of its lines is dropped."""

    statement: str
    is_series: bool = False

    def build(self) -> SqlQuery:
        """Return the query."""
        text = "\n".join(line.strip() for line in self.statement.strip().splitlines())
        return SqlQuery(text, self.is_series)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a value turns yellow and red; ``is_low_bad`` where small values are the bad ones."""

    yellow: float
    red: float
    is_low_bad: bool = False

    def steps(self) -> list[model.Threshold]:
        """Return the colours from the smallest value on."""
        if self.is_low_bad:
            return [
                model.Threshold(None, RED),
                model.Threshold(self.red, YELLOW),
                model.Threshold(self.yellow, GREEN),
            ]
        return [
            model.Threshold(None, GREEN),
            model.Threshold(self.yellow, YELLOW),
            model.Threshold(self.red, RED),
        ]


NEVER_BAD: Final[list[model.Threshold]] = [model.Threshold(None, BLUE)]
ANY_IS_BAD: Final = Bounds(1, 1)


@dataclass(frozen=True, slots=True)
class Look:
    """How values are shown: Grafana's name of the unit, decimals, colours, size in grid cells."""

    unit: str = "short"
    bounds: Bounds | None = None
    decimals: float | None = None
    lowest: float | None = 0
    highest: float | None = None
    width: int = 8
    height: int = 8
    is_stacked: bool = False
    is_bars: bool = False
    is_points: bool = False
    names: dict[str, str] = field(default_factory=dict)


SMALL: Final = Look(width=4, height=4)


def prom(expression: str, legend: str = "", *, is_now: bool = False) -> Target:
    """Return a question to Prometheus about the chosen chain, which is put into each selector's braces.

    ``is_now`` asks for the latest value alone.
    """
    of_chain = " ".join(expression.split()).replace("{", f"{{{CHAIN},").replace(",}", "}")
    query = prometheus.Dataquery().datasource(METRICS).expr(of_chain)
    if legend:
        query = query.legend_format(legend)
    return query.instant().format(PromQueryFormat.TABLE) if is_now else query.range()


def sql(statement: str) -> Target:
    """Return a question to the store whose rows are a table."""
    return Sql(statement)


def sql_series(statement: str) -> Target:
    """Return a question to the store whose rows are ``time``, ``metric`` and a value."""
    return Sql(statement, is_series=True)


def series(title: str, description: str, look: Look, *targets: Target) -> lines.Panel:
    """Return lines over time, or bars or points where the look says so."""
    panel = _common(lines.Panel(), title, description, look, targets)
    style = looks.GraphDrawStyle.BARS if look.is_bars else looks.GraphDrawStyle.LINE
    panel = (
        panel.draw_style(style)
        .line_width(1)
        .fill_opacity(60 if look.is_bars else 10)
        .show_points(looks.VisibilityMode.ALWAYS if look.is_points else looks.VisibilityMode.AUTO)
        .point_size(4)
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING)
        )
    )
    if look.is_stacked:
        panel = panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    return panel


def number(title: str, description: str, look: Look, *targets: Target) -> stat.Panel:
    """Return one large number, coloured by its bounds: the last value of each series."""
    return (
        _common(stat.Panel(), title, description, look, targets)
        .reduce_options(_last())
        .graph_mode(looks.BigValueGraphMode.NONE)
        .color_mode(looks.BigValueColorMode.VALUE)
    )


def bars(title: str, description: str, look: Look, *targets: Target) -> bargauge.Panel:
    """Return a horizontal bar per row: the first text column names it, the number is its length."""
    return (
        _common(bargauge.Panel(), title, description, look, targets)
        .reduce_options(_last().values(True))
        .orientation(looks.VizOrientation.HORIZONTAL)
        .display_mode(looks.BarGaugeDisplayMode.BASIC)
        .show_unfilled(True)
    )


def states(title: str, description: str, look: Look, *targets: Target) -> statetimeline.Panel:
    """Return a coloured strip per series over time."""
    mappings: list[model.ValueMapping] = []
    if look.names:
        mappings.append(
            model.ValueMap(
                {
                    value: model.ValueMappingResult(text, _STATE_COLOURS.get(text, BLUE), index=place)
                    for place, (value, text) in enumerate(look.names.items())
                }
            )
        )
    return (
        _common(statetimeline.Panel(), title, description, look, targets)
        .mappings(mappings)
        .show_value(looks.VisibilityMode.NEVER)
        .merge_values(True)
    )


def rows(
    title: str, description: str, look: Look, *targets: Target, fields: tuple[Field, ...] = ()
) -> table.Panel:
    """Return a table; ``fields`` are (column, property, value), such as a unit or a link of one column."""
    panel = _common(table.Panel(), title, description, look, targets).show_header(True)
    for column, name, value in fields:
        panel = panel.override_by_name(column, [model.DynamicConfigValue(name, value)])
    return panel


_STATE_COLOURS: Final = {
    "up": GREEN,
    "down": RED,
    "ready": GREEN,
    "waiting": YELLOW,
    "holds it": GREEN,
    "no": "text",
}


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _common(panel: _Panel, title: str, description: str, look: Look, targets: tuple[Target, ...]) -> _Panel:
    colours = look.bounds.steps() if look.bounds is not None else NEVER_BAD
    built = [target.build() for target in targets]
    source = STORE if isinstance(built[0], SqlQuery) else METRICS
    panel = (
        panel.title(title)
        .description(description)
        .datasource(source)
        .unit(look.unit)
        .span(look.width)
        .height(look.height)
        .thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(colours))
    )
    for place, query in enumerate(built):
        query.ref_id = "ABCDEFGH"[place]  # type: ignore[attr-defined]
        panel = panel.with_target(_Built(query))
    if look.decimals is not None:
        panel = panel.decimals(look.decimals)
    if look.lowest is not None:
        panel = panel.min(look.lowest)
    if look.highest is not None:
        panel = panel.max(look.highest)
    return panel


@dataclass(frozen=True, slots=True)
class _Built(Builder[Dataquery]):
    query: Dataquery

    def build(self) -> Dataquery:
        """Return the query that was built before."""
        return self.query
