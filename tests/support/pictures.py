"""Pictures of dashboards: the panels of a file at their places, with real answers to their questions in them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ops.grafana.board import Board
from tests.support.panels import Question, panels, questions_of

mpl.use("Agg")
# Its types are not stated.
mdates: Any = dates
DAY_S: Final = 86_400
WIDTH_IN: Final = 16.0
CELL_IN: Final = (WIDTH_IN / 24, 0.33)
COLOURS: Final = {
    "green": "#3a9a4a",
    "yellow": "#d9a400",
    "red": "#d0312d",
    "blue": "#3267b5",
    "text": "#c8ccd2",
}
LINES: Final = ("#4c9f54", "#d9a400", "#4a86c8", "#c8553d", "#7b5ea7", "#3aa6a6", "#b55a8c", "#77803a")
MOST_ROWS: Final = 12
LEGEND_LINES: Final = 2
FEW_COLOURS: Final = 192
TEXT: Final = 6.5
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Answer:
    """What came back: lines over time by name, or a table."""

    lines: dict[str, Points]
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()


Ask = Callable[[Question], Answer]


def draw(board: Board, ask: Ask, file: Path) -> None:
    """Draw a dashboard with the answers that ``ask`` gives, as PNG."""
    found = panels(board)
    cells = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in found) + 1
    figure = Figure(figsize=(WIDTH_IN, cells * CELL_IN[1]), dpi=80, facecolor="#f4f5f5")
    figure.text(0.008, 1 - 0.6 / cells, board.title, fontsize=13, weight="bold", va="center")
    for panel in found:
        _panel(figure, cells, panel, [ask(question) for question in questions_of(board, panel)])
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(FEW_COLOURS).save(file, optimize=True)


def _panel(figure: Figure, cells: int, panel: dict[str, Any], answers: list[Answer]) -> None:
    place = panel["gridPos"]
    left, width = place["x"] / 24, place["w"] / 24
    top = 1 - (place["y"] + 1) / cells
    if panel["type"] == "row":
        figure.text(left + 0.008, top - 0.6 / cells, panel["title"], fontsize=10, weight="bold", va="center")
        return
    height = place["h"] / cells
    back = figure.add_axes((left + 0.003, top - height + 0.15 / cells, width - 0.006, height - 0.3 / cells))
    back.set(xticks=[], yticks=[], facecolor="white")
    for spine in back.spines.values():
        spine.set_color("#d5d8dc")
    back.text(
        0.01 if width > 0.2 else 0.03,
        1 - 0.55 / place["h"],
        panel["title"],
        fontsize=8,
        weight="bold",
        va="center",
        transform=back.transAxes,
    )
    is_plain = panel["type"] in ("stat", "table")
    margin = {"stat": 0.004, "table": 0.004, "state-timeline": 0.045}.get(panel["type"], 0.03)
    inner = figure.add_axes(
        (
            left + margin + 0.004,
            top - height + (0.4 if is_plain else 1.9) / cells,
            width - 2 * margin - 0.004 + (0 if is_plain else 0.012),
            height - (1.5 if is_plain else 3.2) / cells,
        )
    )
    inner.patch.set_alpha(0)
    _DRAWN[panel["type"]](inner, panel, answers)


def _series(axes: Axes, panel: dict[str, Any], answers: list[Answer]) -> None:
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    lines = _named(answers)
    is_bars = custom.get("drawStyle") == "bars"
    is_stacked = custom.get("stacking", {}).get("mode") == "normal"
    base: dict[float, float] = {}
    for number, (name, points) in enumerate(lines.items()):
        colour = LINES[number % len(LINES)]
        days = [time / DAY_S for time, _ in points]
        values = [value for _, value in points]
        if is_bars:
            under = [base.get(time, 0.0) if is_stacked else 0.0 for time, _ in points]
            width = _step(lines) / DAY_S * 0.8
            axes.bar(days, values, width, bottom=under, color=colour, label=name)
            for (time, value), low in zip(points, under, strict=True):
                base[time] = low + value
        else:
            mark = "o" if custom.get("showPoints") == "always" else ""
            axes.plot(days, values, color=colour, lw=1, marker=mark, ms=2, label=name)
    _time_axis(axes, panel)
    _legend(axes, list(lines))


def _states(axes: Axes, panel: dict[str, Any], answers: list[Answer]) -> None:
    mappings = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    lines = dict(sorted(_named(answers).items(), reverse=True))
    for row, points in enumerate(lines.values()):
        for value in {value for _, value in points}:
            shown = mappings.get(f"{value:.0f}", {"color": "blue"})
            spans = [
                (time / DAY_S, max(after - time, 1.0) / DAY_S)
                for (time, found), (after, _) in pairwise([*points, points[-1]])
                if found == value
            ]
            axes.broken_barh(spans, (row - 0.4, 0.8), color=COLOURS[shown["color"]])
    _time_axis(axes, panel)
    axes.set_yticks(range(len(lines)), list(lines), fontsize=TEXT)
    axes.grid(visible=False)


def _stat(axes: Axes, panel: dict[str, Any], answers: list[Answer]) -> None:
    axes.axis("off")
    defaults = panel["fieldConfig"]["defaults"]
    values = [points[-1][1] for points in _named(answers).values() if points]
    values += [float(row[-1]) for answer in answers for row in answer.rows[:1] if row[-1] is not None]
    text = _text(values[-1], defaults["unit"]) if values else "No data"
    colour = _colour(values[-1], defaults) if values else "#8a8f98"
    axes.text(0.5, 0.5, text, fontsize=19, weight="bold", color=colour, ha="center", va="center")


def _bars(axes: Axes, panel: dict[str, Any], answers: list[Answer]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    rows = [row for answer in answers for row in answer.rows][:MOST_ROWS]
    for place, row in enumerate(rows):
        value = float(row[-1])
        axes.barh(-place, value, color=_colour(value, defaults), height=0.6)
        axes.text(value, -place, f" {_text(value, defaults['unit'])}", va="center", fontsize=TEXT + 1)
    greatest = defaults.get("max") or max((float(row[-1]) for row in rows), default=1)
    axes.set_xlim(0, greatest * 1.25)
    axes.set_ylim(-max(len(rows), 4) + 0.5, 0.9)
    axes.set_yticks([-place for place in range(len(rows))], [""] * len(rows))
    for place, row in enumerate(rows):
        axes.text(0, -place + 0.42, f"{row[0]}", fontsize=TEXT, va="center")
    axes.set_xticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _table(axes: Axes, panel: dict[str, Any], answers: list[Answer]) -> None:
    axes.axis("off")
    overrides = {
        (one["matcher"]["options"], field["id"]): field["value"]
        for one in panel["fieldConfig"]["overrides"]
        for field in one["properties"]
    }
    for answer in answers:
        shown = [n for n, name in enumerate(answer.columns) if not overrides.get((name, "custom.hidden"))]
        lines = [[answer.columns[n] for n in shown]]
        for row in answer.rows[: int(panel["gridPos"]["h"] * 1.2) - 1]:
            units = [overrides.get((answer.columns[n], "unit"), "none") for n in shown]
            lines.append([_cell(row[n], unit) for n, unit in zip(shown, units, strict=True)])
        widths = [max(len(line[n]) for line in lines) + 2 for n in range(len(shown))]
        total, y = max(sum(widths), 1), 0.97
        for number, line in enumerate(lines):
            x = 0.0
            for text, width in zip(line, widths, strict=True):
                weight = "bold" if number == 0 else "normal"
                axes.text(x, y, text, fontsize=TEXT + 0.3, va="top", weight=weight, transform=axes.transAxes)
                x += width / total
            y -= 0.72 / panel["gridPos"]["h"]


_DRAWN: Final = {
    "timeseries": _series,
    "state-timeline": _states,
    "stat": _stat,
    "bargauge": _bars,
    "table": _table,
}


def _named(answers: list[Answer]) -> dict[str, Points]:
    return {name: points for answer in answers for name, points in answer.lines.items()}


def _step(lines: dict[str, Points]) -> float:
    times = sorted({time for points in lines.values() for time, _ in points})
    return min((b - a for a, b in pairwise(times)), default=60.0)


def _time_axis(axes: Axes, panel: dict[str, Any]) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes.tick_params(labelsize=TEXT)
    axes.grid(visible=True, color="#e6e8eb", lw=0.5)
    axes.xaxis_date()
    locator = mdates.AutoDateLocator(maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    axes.xaxis.get_offset_text().set_visible(False)
    if unit != "dateTimeAsIso":
        axes.yaxis.set_major_formatter(lambda value, _: _text(value, unit))
    else:
        axes.yaxis.set_major_formatter(
            lambda value, _: f"{datetime.fromtimestamp(value / 1000, UTC):%H:%M:%S}"
        )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend(axes: Axes, names: list[str]) -> None:
    if not names:
        axes.text(0.5, 0.5, "No data", fontsize=9, color="#8a8f98", ha="center", transform=axes.transAxes)
        return
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, names))
    columns = max(1, int(axes.get_position().width * WIDTH_IN / (0.045 * (longest + 5))))
    most = columns * LEGEND_LINES
    axes.legend(
        handles[:most],
        labels[:most],
        fontsize=5.5,
        ncols=columns,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.1),
        borderpad=0,
        columnspacing=1,
        handlelength=1,
    )


def _colour(value: float, defaults: dict[str, Any]) -> str:
    colour = "blue"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    return COLOURS[colour]


def _cell(value: Any, unit: str) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float | Decimal) and unit == "none":
        return f"{float(value):.6g}"
    if isinstance(value, int | float | Decimal) and unit != "none":
        return _text(float(value), unit)
    text = "" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _text(value: float, unit: str) -> str:
    """Return a number as Grafana shows it in a unit; the units that our panels have."""
    if not math.isfinite(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "percent":
        return f"{value:.4g} %"
    if unit == "bytes":
        return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
    if unit == "s":
        return _duration(value)
    if unit == "none":
        return f"{value:.10g}"
    suffix = {"pps": " p/s", "cps": " c/s", "reqps": " req/s"}.get(unit, "")
    return _scaled(value, 1000, ("", "K", "Mil", "Bil")) + suffix


def _scaled(value: float, factor: int, names: tuple[str, ...]) -> str:
    place = 0
    while abs(value) >= factor and place < len(names) - 1:
        value, place = value / factor, place + 1
    return f"{value:.3g} {names[place]}".strip()


def _duration(value: float) -> str:
    for length, name in ((31_536_000, "years"), (86_400, "days"), (3600, "h"), (60, "min")):
        if abs(value) >= length:
            return f"{value / length:.3g} {name}"
    return f"{value:.3g} s" if abs(value) >= 1 or value == 0 else f"{value * 1000:.3g} ms"
