"""Unified KPI record: Table 10-1 of Y.4907, and what this project puts in its extending part."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import Any

from pipeline.core import avro
from pipeline.core.names import MAX_LONG, SiteName, is_site_name, is_text, is_time
from schemas import schema

_RECORD = schema("UnifiedRecord")
_EXTENDING = schema("Extending")
MAX_VALUES = 1024
MAX_SCALE = 9
MAX_RECORD_BYTES = 60 * 1024


class QualityCode(IntEnum):
    """How good a value is, from best to worst: the six choices of the U4SSC verification manual (column T)."""

    ACCURATE_MEASUREMENT = 1
    SURVEY_EXTRAPOLATION = 2
    HIGHER_LEVEL_EXTRAPOLATION = 3
    ASSUMPTION_ESTIMATE = 4
    PERSONAL_ESTIMATE = 5
    NOT_TRACEABLE = 6


@dataclass(frozen=True, slots=True)
class KpiValue:
    """One indicator value: ``unscaled`` x 10^-``scale`` in ``unit`` (UNECE code)."""

    indicator: str
    data_point: str
    unscaled: int
    scale: int
    unit: str

    @property
    def exact(self) -> Decimal:
        """The value as an exact decimal."""
        return Decimal(self.unscaled).scaleb(-self.scale)


@dataclass(frozen=True, slots=True)
class Extending:
    """The extending part: sensor, quality, where the site read the value."""

    sensor: str
    quality: QualityCode
    source: str


@dataclass(frozen=True, slots=True)
class UnifiedRecord:
    """One Table 10-1 structure; ``time_ms`` is GMT in milliseconds since 1970, ``extending`` None where it is empty."""

    site: SiteName
    time_ms: int
    values: tuple[KpiValue, ...]
    extending: Extending | None


def encode_record(record: UnifiedRecord) -> bytes:
    """Return the binary encoding of a record, as it is hashed and encrypted."""
    return avro.encode(
        _RECORD,
        {
            "country": record.site.country,
            "city": record.site.city,
            "site_id": record.site.site_id,
            "time": record.time_ms,
            "kpi_data": [
                {
                    "indicator": value.indicator,
                    "data_point": value.data_point,
                    "unscaled": value.unscaled,
                    "scale": value.scale,
                    "unit": value.unit,
                }
                for value in record.values
            ],
            "extending": b"" if record.extending is None else _encode_extending(record.extending),
        },
    )


def decode_record(data: bytes) -> UnifiedRecord | None:
    """Return the record that ``data`` canonically encodes within all bounds, or None. Total."""
    if len(data) > MAX_RECORD_BYTES:
        return None
    raw = avro.decode(_RECORD, data)
    if raw is None:
        return None
    site = SiteName(raw["country"], raw["city"], raw["site_id"])
    extending = _decode_extending(raw["extending"]) if raw["extending"] else None
    if raw["extending"] and extending is None:
        return None
    if not is_site_name(site) or not is_time(raw["time"]):
        return None
    if not 0 < len(raw["kpi_data"]) <= MAX_VALUES or not all(map(_is_value, raw["kpi_data"])):
        return None
    return UnifiedRecord(site, raw["time"], tuple(KpiValue(**value) for value in raw["kpi_data"]), extending)


def _encode_extending(extending: Extending) -> bytes:
    return avro.encode(
        _EXTENDING,
        {"sensor": extending.sensor, "quality": int(extending.quality), "source": extending.source},
    )


def _decode_extending(data: bytes) -> Extending | None:
    raw = avro.decode(_EXTENDING, data)
    if raw is None or not 1 <= raw["quality"] <= len(QualityCode):
        return None
    if not is_text(raw["sensor"], empty=True) or not is_text(raw["source"], empty=True):
        return None
    return Extending(raw["sensor"], QualityCode(raw["quality"]), raw["source"])


def _is_value(raw: Mapping[str, Any]) -> bool:
    return (
        is_indicator(raw["indicator"])
        and is_text(raw["data_point"], empty=True)
        and is_text(raw["unit"])
        and 0 <= raw["scale"] <= MAX_SCALE
        and -MAX_LONG <= raw["unscaled"] <= MAX_LONG
    )


def is_indicator(code: str) -> bool:
    """Tell whether a code has the form of an indicator code; those of the catalogue hold single spaces."""
    return all(is_text(part) for part in code.split(" ")) and len(code) <= 64
