"""The plan: what each site was told to send, stated and read independently of the sites' own settings.

A plan is JSON, written before anything is sent::

    {"format": "bkdms-oracle-plan/1",
     "folder": "/where/the/files/are",
     "sites": [{"name": "...", "country": "US", "city": "unlocode:USMES", "site_id": "fd62::1",
                "file": "speed.csv", "sha256": "...", "file_rows": null, "site_rows": null,
                "only": {"source": "Fossil Fuels"},
                "time": {"column": "timestamp", "form": "%Y-%m-%d %H:%M:%S", "zone": "America/Chicago"},
                "values": [{"column": "value", "indicator": "LOCAL:TRAFFIC_SPEED", "data_point": "",
                            "unit": "HM", "times": "1"}]}]}

``file_rows`` takes the first data rows of the file, ``site_rows`` the first rows of the site after ``only`` has
chosen; null takes all. ``zone`` is empty where ``form`` reads the offset (``%z``). Every row is one unified KPI
record; ``times`` is the factor from the file's unit to ``unit``. An empty cell is no value.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ops.oracle.input_error import InputError

FORMAT: Final = "bkdms-oracle-plan/1"
_SAMPLE_PLAN: Final = Path(__file__).with_name("sample_plan.json")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Place(NamedTuple):
    """A site's registry key; ``site_id`` as a normalised IP address."""

    country: str
    city: str
    site_id: str

    def __str__(self) -> str:
        return "/".join(self)


class Point(NamedTuple):
    """What one value is about: its site, collecting time (GMT ms), indicator and data point."""

    place: Place
    time_ms: int
    indicator: str
    data_point: str

    def __str__(self) -> str:
        when = (_EPOCH + timedelta(milliseconds=self.time_ms)).isoformat()
        return " ".join(filter(None, (str(self.place), when, self.indicator, self.data_point)))


class Amount(NamedTuple):
    """An exact value in a unit (UNECE code)."""

    value: Decimal
    unit: str

    def __str__(self) -> str:
        return f"{self.value:f} {self.unit}"


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """How a row is dated: column, strptime form, and the zone of local times or an empty text."""

    column: str
    form: str
    zone: str


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """One column of values: what it measures and the factor to ``unit``."""

    column: str
    indicator: str
    data_point: str
    unit: str
    times: str


@dataclass(frozen=True, slots=True)
class PlannedSite:
    """What one site was told to send."""

    name: str
    country: str
    city: str
    site_id: str
    file: str
    sha256: str
    file_rows: int | None
    site_rows: int | None
    only: dict[str, str]
    time: TimeColumn
    values: tuple[ValueColumn, ...]

    @property
    def place(self) -> Place:
        """The site's registry key."""
        return Place(self.country, self.city, address_text(self.site_id))


@dataclass(frozen=True, slots=True)
class Plan:
    """All sites and the folder of their files."""

    folder: Path
    sites: tuple[PlannedSite, ...]


def address_text(address: str | bytes) -> str:
    """Return a site identifier as text; an IPv4 address in IPv6 form as IPv4.

    Raises:
        ValueError: it is no address.
    """
    found = ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def exact_number(text: str) -> Decimal:
    """Return a finite decimal.

    Raises:
        ValueError: the text is none.
    """
    try:
        number = Decimal(text)
    except (InvalidOperation, TypeError):
        raise ValueError("no number") from None
    if not number.is_finite():
        raise ValueError("not a finite number")
    return number


def load_plan(path: Path) -> Plan:
    """Read a plan file; a relative ``folder`` counts from the file.

    Raises:
        InputError: it is missing or no plan, or names a site twice.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"format is not {FORMAT}")
        sites = tuple(map(_site, document["sites"]))
        if len({site.place for site in sites}) != len(sites):
            raise ValueError("a site is named twice")
        return Plan(path.parent / document["folder"], sites)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no plan of format {FORMAT}: {error!r}") from None


def sample_plan(folder: Path, *, rows_per_file: int | None = None, rows_per_site: int | None = None) -> Plan:
    """Return the plan of the bundled files in ``folder``, as we state it by hand in ``sample_plan.json``.

    Raises:
        InputError: a file is missing.
    """
    stated = load_plan(_SAMPLE_PLAN)
    folder = folder.resolve()
    sites = tuple(
        replace(site, sha256=_file_hash(folder / site.file), file_rows=rows_per_file, site_rows=rows_per_site)
        for site in stated.sites
    )
    return Plan(folder, sites)


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan file."""
    document = {"format": FORMAT, "folder": str(plan.folder), "sites": [asdict(s) for s in plan.sites]}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def planned_records(plan: Plan, site: PlannedSite) -> list[list[tuple[Point, Amount]]]:
    """Return per unified KPI record of a site, in file order, the values it should hold.

    Raises:
        InputError: the file is missing, changed since the plan was written, or does not fit the plan.
    """
    path = plan.folder / site.file
    if site.sha256 and _file_hash(path) != site.sha256:
        raise InputError(f"{path} has changed since the plan was written; put the old file back")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [record for row in _rows(csv.DictReader(file), site) if (record := _record(site, row))]
    except (OSError, ValueError, KeyError, ZoneInfoNotFoundError) as error:
        raise InputError(f"{path} does not fit the plan of site {site.name}: {error!r}") from None


def _rows(reader: "csv.DictReader[str]", site: PlannedSite) -> Iterator[dict[str, str]]:
    own = (
        row
        for row in islice(reader, site.file_rows)
        if all(row[column] == wanted for column, wanted in site.only.items())
    )
    return islice(own, site.site_rows)


def _record(site: PlannedSite, row: dict[str, str]) -> list[tuple[Point, Amount]]:
    time_ms = _time_ms(site.time, row[site.time.column])
    return [
        (
            Point(site.place, time_ms, value.indicator, value.data_point),
            Amount(exact_number(row[value.column]) * exact_number(value.times), value.unit),
        )
        for value in site.values
        if row[value.column]
    ]


def _time_ms(rule: TimeColumn, text: str) -> int:
    when = datetime.strptime(text, rule.form)  # noqa: DTZ007  the zone follows
    if rule.zone:
        when = when.replace(tzinfo=ZoneInfo(rule.zone))
    if when.tzinfo is None:
        raise ValueError(f"time {text} has neither zone nor offset")
    return (when - _EPOCH) // timedelta(milliseconds=1)


def _site(item: dict[str, Any]) -> PlannedSite:
    values = tuple(ValueColumn(**value) for value in item["values"])
    site = PlannedSite(**(item | {"time": TimeColumn(**item["time"]), "values": values}))
    address_text(site.site_id)
    return site


def _file_hash(path: Path) -> str:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
