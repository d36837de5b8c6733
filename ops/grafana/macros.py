"""Put in what Grafana puts into a dashboard's questions before it asks them: times, intervals, choices.

Covers what our dashboards use and nothing else: an unknown name is an error, so that no question is asked half filled.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

_GROUP: Final = re.compile(r"\$__timeGroupAlias\(([\w.]+), \$__interval\)")
_FILTER: Final = re.compile(r"\$__timeFilter\(([\w.]+)\)")
_LIST: Final = re.compile(r"\$\{(\w+):sqlstring\}")
_NAME: Final = re.compile(r"\$\{?\w+")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a reader looks at: a time with a resolution, and the choices made in the dashboard's variables."""

    start: datetime
    end: datetime
    interval_s: int
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)


def statement(text: str, shown: Shown) -> str:
    """Return a question to the store as PostgreSQL gets it.

    Raises:
        ValueError: it holds a name that is not one of the choices.
    """
    text = _GROUP.sub(
        rf'floor(extract(epoch from \1)/{shown.interval_s})*{shown.interval_s} AS "time"',
        text,
    )
    start, end = f"'{_instant(shown.start)}'", f"'{_instant(shown.end)}'"
    text = _FILTER.sub(rf"\1 BETWEEN {start} AND {end}", text)
    text = text.replace("$__timeFrom()", start).replace("$__timeTo()", end)
    return _filled(_LIST.sub(lambda found: _quoted(found[1], shown), text))


def expression(text: str, shown: Shown) -> str:
    """Return a question to Prometheus as it gets it; rates are over four intervals, as Grafana does it.

    Raises:
        ValueError: it holds a name that is not one of the choices.
    """
    text = text.replace("$__rate_interval", f"{4 * shown.interval_s}s")
    text = text.replace("$__range", f"{round((shown.end - shown.start).total_seconds())}s")
    for name, chosen in shown.choices.items():
        text = re.sub(rf"\${name}\b", "|".join(chosen), text)
    return _filled(text)


def _instant(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _quoted(name: str, shown: Shown) -> str:
    if name not in shown.choices:
        raise ValueError(f"nothing is chosen for ${name}")
    return ",".join("'" + value.replace("'", "''") + "'" for value in shown.choices[name])


def _filled(text: str) -> str:
    left = _NAME.search(text)
    if left:
        raise ValueError(f"nothing to put in for {left[0]}")
    return text
