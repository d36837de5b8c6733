"""Drawings of figures as SVG files, made here: bars of one unit, and lines over a scale that may be logarithmic."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from pipeline.apps.bench.report.figure import Figure
from pipeline.core.errors import ConfigError

_WIDTH: Final = 760
_BAR: Final = 22
_LABELS: Final = 250
_TOP: Final = 44
_CHART: Final = 320
_LEFT: Final = 70
_RIGHT: Final = 190
_COLOURS: Final = ("#1f6f8b", "#c0582b", "#4d8b3a", "#7a4fa0", "#b58a1a", "#5b6673")
_TICKS: Final = 4


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a chart: its name and points (x, y)."""

    name: str
    points: tuple[tuple[float, float], ...]


def bar_chart(path: Path, title: str, figures: Sequence[Figure]) -> None:
    """Draw figures of one unit as bars, each with its number.

    Raises:
        ConfigError: there is none, units differ, one is negative, or the file can't be written.
    """
    if not figures or len({figure.unit for figure in figures}) != 1 or min(f.value for f in figures) < 0:
        raise ConfigError("a bar chart needs figures of one unit, none below 0")
    largest = max(figure.value for figure in figures) or 1.0
    room = _WIDTH - _LABELS - 110
    parts = []
    for number, figure in enumerate(figures):
        y, width = _TOP + number * _BAR, room * figure.value / largest
        parts.append(_text(_LABELS - 8, y + 14, figure.name, "end"))
        parts.append(
            f'<rect x="{_LABELS}" y="{y + 3}" width="{width:.1f}" height="{_BAR - 7}" fill="{_COLOURS[0]}"/>'
        )
        parts.append(_text(_LABELS + width + 6, y + 14, f"{figure.shown()} {figure.unit}".rstrip()))
    _write(path, title, _TOP + len(figures) * _BAR + 12, parts)


def line_chart(
    path: Path, title: str, series: Sequence[Series], labels: tuple[str, str], *, log_x: bool = False
) -> None:
    """Draw lines; ``labels`` name x and y; y begins at 0.

    Raises:
        ConfigError: there is no point, a logarithmic x is not above 0, or the file can't be written.
    """
    points = [point for each in series for point in each.points]
    if not points or (log_x and min(x for x, _ in points) <= 0):
        raise ConfigError("a line chart needs points; on a logarithmic scale above 0")
    scale = _Scale(points, log_x=log_x)
    parts = [*_axes(scale, labels)]
    for number, each in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(scale.x(x), scale.y(y)) for x, y in sorted(each.points)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(_text(_WIDTH - _RIGHT + 14, _TOP + 14 + 18 * number, each.name, colour=colour))
    _write(path, title, _TOP + _CHART + 60, parts)


class _Scale:
    """Where points lie on the drawing."""

    def __init__(self, points: Sequence[tuple[float, float]], *, log_x: bool) -> None:
        self._at = math.log10 if log_x else float
        self._back = (lambda x: 10.0**x) if log_x else float
        self._low, high = min(self._at(x) for x, _ in points), max(self._at(x) for x, _ in points)
        self._span = (high - self._low) or 1.0
        self._top = max(0.0, *(y for _, y in points)) * 1.1 or 1.0

    def x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (self._at(value) - self._low) / self._span

    def y(self, value: float) -> float:
        return _TOP + _CHART * (1 - value / self._top)

    def ticks(self) -> Iterator[tuple[float, float]]:
        """Yield values of x and of y to label, from the lowest to the highest."""
        for number in range(_TICKS + 1):
            yield (self._back(self._low + self._span * number / _TICKS), self._top * number / _TICKS)


def _axes(scale: _Scale, labels: tuple[str, str]) -> Iterator[str]:
    for x, y in scale.ticks():
        height = scale.y(y)
        yield f'<line x1="{_LEFT}" y1="{height:.1f}" x2="{_WIDTH - _RIGHT}" y2="{height:.1f}" stroke="#ddd"/>'
        yield _text(_LEFT - 8, height + 4, Figure("", y).shown(), "end")
        yield _text(scale.x(x), _TOP + _CHART + 20, Figure("", x).shown(), "middle")
    yield _text((_LEFT + _WIDTH - _RIGHT) / 2, _TOP + _CHART + 44, labels[0], "middle")
    yield _text(_LEFT - 8, _TOP - 8, labels[1], "end")


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _write(path: Path, title: str, height: float, parts: Sequence[str]) -> None:
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="12" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
        *parts,
        "</svg>\n",
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(svg), "utf-8")
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None
