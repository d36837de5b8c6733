"""A real Prometheus for tests: started on a free port beside given targets, asked over its HTTP API, ended for good.

``with running_prometheus(folder, targets) as found: found.until('up == 1')``
"""

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ops import ports
from ops.child import ChildSpec
from ops.prometheus import server
from ops.prometheus.configuration import RULES_FILE, Target
from ops.supervisor import Supervisor

CHAIN: Final = "test.local/city1"
SCRAPE_MS: Final = 500
DEADLINE_S: Final = 30.0
_POLL_S: Final = 0.1
_HTTP_TIMEOUT_S: Final = 5
# Ranges, offsets and the time that an alert waits; texts for people spell their times out in words.
_DURATION: Final = re.compile(r"(\[|offset |for: )(\d+)([smhd])\b")
_FLOOR_S: Final = {"[": 15, "offset ": 5, "for: ": 2}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an instant query's answer."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that is pending or firing."""

    name: str
    state: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunningPrometheus:
    """A Prometheus that answers."""

    url: str

    def query(self, expression: str) -> list[Series]:
        """Return the series that an expression gives now.

        Raises:
            AssertionError: Prometheus refuses the expression.
        """
        found = self._get("query", query=expression)
        assert found["resultType"] == "vector", f"{expression} gives a {found['resultType']}"
        return [Series(one["metric"], float(one["value"][1])) for one in found["result"]]

    def query_range(self, expression: str, seconds: float, step_s: float = 1.0) -> list[dict[str, Any]]:
        """Return the series of the last seconds, as Prometheus' API gives them."""
        end = time.time()
        found = self._get("query_range", query=expression, start=end - seconds, end=end, step=step_s)
        series: list[dict[str, Any]] = found["result"]
        return series

    def alerts(self) -> list[Alert]:
        """Return the alerts that are pending or firing."""
        return [
            Alert(one["labels"]["alertname"], one["state"], one["labels"], one["annotations"])
            for one in self._get("alerts")["alerts"]
        ]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {alert.name for alert in self.alerts() if alert.state == "firing"}

    def until(
        self,
        expression: str,
        is_good: Callable[[list[Series]], bool] = bool,
        deadline_s: float = DEADLINE_S,
    ) -> list[Series]:
        """Ask again until the answer is good (by default: has a series), and return it.

        Raises:
            AssertionError: it was not in time; tells the last answer.
        """
        end = time.monotonic() + deadline_s
        while not is_good(found := self.query(expression)):
            assert time.monotonic() < end, f"{expression} within {deadline_s:.0f} s: {found}"
            time.sleep(_POLL_S)
        return found

    def _get(self, path: str, **parameters: object) -> dict[str, Any]:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=_HTTP_TIMEOUT_S) as answer:
                document = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        data: dict[str, Any] = document["data"]
        return data


@contextmanager
def running_prometheus(
    folder: Path,
    targets: Iterable[Target],
    *,
    rules: Path = RULES_FILE,
    chain: str = CHAIN,
    scrape_ms: int = SCRAPE_MS,
) -> Iterator[RunningPrometheus]:
    """Run Prometheus until the block ends; it asks the targets, and evaluates the rules, every ``scrape_ms``."""
    port = ports.reserve(folder / "ports.json", ["prometheus"])["prometheus"]
    place = server.PrometheusPlace(server.find_program(), folder / "prometheus", port)
    server.prepare(place, targets, chain, rules=rules, scrape_ms=scrape_ms, evaluation_ms=scrape_ms)
    supervisor = Supervisor(folder)
    try:
        supervisor.start(
            ChildSpec(
                name="prometheus",
                argv=tuple(server.command(place)),
                log_file=folder / "prometheus.log",
                probe=lambda: server.is_ready(place),
            )
        )
        yield RunningPrometheus(place.url)
    finally:
        supervisor.close()


def quickened(rules: str, factor: int, thresholds: Mapping[str, str] | None = None) -> str:
    """Return the text of alert rules with all times divided by ``factor``, within reason.

    What a rule looks back on has to hold two scrapes and the longest pause of a program between two attempts.
    ``thresholds`` replaces parts of expressions afterwards, for what would have to be waited for otherwise.

    Raises:
        AssertionError: a part to replace is not there.
    """

    def shorter(found: re.Match[str]) -> str:
        kind, number, unit = found.groups()
        return f"{kind}{max(_FLOOR_S[kind], int(number) * _SECONDS[unit] // factor)}s"

    text = _DURATION.sub(shorter, rules)
    for old, new in (thresholds or {}).items():
        assert old in text, f"no rule has {old!r}"
        text = text.replace(old, new)
    return text
