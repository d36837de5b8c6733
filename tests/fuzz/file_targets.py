"""Targets for files that people write or portals give: settings, plans, policies, mappings, CSV, numbers and times."""

import tempfile
import tomllib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from connectors.mapping import read_mapping
from connectors.parsing import DstRule, Exact, Instant, as_written, parse_number, parse_time
from connectors.records import Batch
from connectors.sources.csv_source import CsvSource, parse_position
from pipeline.apps.provision.plan import read_plan as read_deployment
from pipeline.config.assess_plan import load_plan
from pipeline.config.load import load_settings
from pipeline.core.errors import ConfigError
from pipeline.core.names import MAX_TIME_MS
from pipeline.services.access_policy import read_policy
from tests.fuzz.material import CACHE
from tests.fuzz.target import Target, text

_UTC = ZoneInfo("UTC")
_PLAN = Path(__file__).parents[2] / "ops" / "compose" / "plan.toml"
_MAPPING = b"""sensor = "loop"
source = "test"
quality = "assumption_estimate"
missing = ["n/a"]
[time]
column = "time"
format = "%Y-%m-%d %H:%M:%S"
zone = "Europe/Rome"
[[values]]
column = "value"
indicator = "LOCAL:TRAVEL_TIME"
unit = "SEC"
"""
_CSV = b"time,value,other\n2024-01-01 00:00:00,1.50,x\n2024-01-01 00:01:00,n/a,\n" + (
    b'2024-01-01 00:02:00,-7,"a ""b""\nc"\n\n2024-01-01 00:03:00,1e3,\n'
)
_SETTINGS = b"""data_dir = "data"
[kafka]
bootstrap = "kafka.example:9093"
[site]
country = "US"
city = "unlocode:USMES"
site_id = "10.0.0.1"
"""
_POLICY = b"""cities = ["US/unlocode:USMES"]
indicators = ["LOCAL:TRAVEL_TIME"]
suites = ["xwing", "light"]
max_equipment = 2
"""
_ASSESSMENTS = b"""[other]
windows = ["hour", "day"]
zone = "Europe/Rome"
"""


def _written(data: bytes, read: Callable[[Path], object]) -> bool:
    """Give a reader a file of these bytes; say whether it took it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=CACHE) as file:
        file.write(data)
        file.flush()
        try:
            read(Path(file.name))
        except ConfigError:
            return False
    return True


def settings(data: bytes) -> bool:
    """A settings file is read, or refused by name."""
    return _written(data, load_settings)


def assess_plan(data: bytes) -> bool:
    """A plan of assessments is read, or refused by name."""
    return _written(data, load_plan)


def deployment(data: bytes) -> bool:
    """A plan of a deployment is read, or refused by name."""
    return _written(data, read_deployment)


def _table(data: bytes) -> dict[str, object] | None:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return None


def access_policy(data: bytes) -> bool:
    """A registrar's policy is read, or refused by name."""
    table = _table(data)
    try:
        return table is not None and read_policy(table) is not None
    except ConfigError:
        return False


def mapping(data: bytes) -> bool:
    """A site's mapping is read, or refused by name."""
    table = _table(data)
    try:
        return table is not None and read_mapping(table) is not None
    except ConfigError:
        return False


def csv(data: bytes) -> bool:
    """A CSV file gives the same rows in one go and a few at a time."""
    source_mapping = read_mapping(tomllib.loads(_MAPPING.decode()))
    with tempfile.NamedTemporaryFile(dir=CACHE) as file:
        file.write(data)
        file.flush()
        source = CsvSource(Path(file.name), source_mapping)
        try:
            whole = _batches(source, 100_000)
            assert _gathered(whole) == _gathered(_batches(source, 2))
        except ConfigError:
            return False
    return bool(whole[0].records)


def _batches(source: CsvSource, limit: int) -> list[Batch]:
    found: list[Batch] = []
    position = ""
    while not found or (not found[-1].at_end and found[-1].next_position != position):
        position = found[-1].next_position if found else ""
        found.append(source.read(position, limit, final=True))
    return found


def _gathered(batches: list[Batch]) -> tuple[object, ...]:
    records = [record for batch in batches for record in batch.records]
    rejected = [item for batch in batches for item in batch.rejected]
    counts = (sum(batch.rows for batch in batches), sum(batch.skipped for batch in batches))
    return records, rejected, counts, batches[-1].next_position


def csv_position(data: bytes) -> bool:
    """A kept position in a file is one of ours."""
    typed = text(data)
    if typed is None:
        return False
    try:
        found = parse_position(typed)
    except ConfigError:
        return False
    assert found.offset >= 0
    assert found.line >= 1
    return True


def number(data: bytes) -> bool:
    """A number is carried with exactly the value that it was written with."""
    typed = text(data)
    found = parse_number(typed) if typed is not None else None
    if not isinstance(found, Decimal):
        return False
    kept = as_written(found)
    assert not isinstance(kept, Exact) or (abs(kept.unscaled) < 1 << 63 and 0 <= kept.scale <= 9)
    assert not isinstance(kept, Exact) or kept.value == found
    return True


def source_time(data: bytes) -> bool:
    """A time in any of the forms is within the bounds of records, or refused."""
    typed, is_good = text(data), False
    for form in ("iso8601", "epoch_s", "epoch_ms", "%Y-%m-%d %H:%M:%S"):
        found = parse_time(typed, form, _UTC, DstRule.REJECT) if typed is not None else None
        assert not isinstance(found, Instant) or 0 <= found.time_ms <= MAX_TIME_MS
        is_good = is_good or isinstance(found, Instant)
    return is_good


TARGETS = (
    Target("settings", settings, lambda: [_SETTINGS]),
    Target("assess-plan", assess_plan, lambda: [b"", _ASSESSMENTS]),
    Target("deployment", deployment, lambda: [_PLAN.read_bytes()]),
    Target("access-policy", access_policy, lambda: [_POLICY]),
    Target("mapping", mapping, lambda: [_MAPPING]),
    Target("csv", csv, lambda: [_CSV]),
    Target("csv-position", csv_position, lambda: [b"csv1:120:7:" + b"ab" * 32]),
    Target("number", number, lambda: [b"1.50", b" -12e3", b"9223372036854775807"]),
    Target(
        "source-time", source_time, lambda: [b"2024-01-01T00:00:00Z", b"1700000000.5", b"2024-01-01 00:00:00"]
    ),
)
