"""Unified KPI record: Table 10-1 of Y.4907, and what this project puts in its extending part.

Every value of every site is encoded and decoded here, so that the usual forms have a short way of their own, which
remembers what one record has in common with the next: site, indicator, unit, extending part. Whatever is unusual is
left to the general Avro codec, which decides; the short way can be too strict, never too lax.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from pipeline.core import avro
from pipeline.core.names import (
    MAX_LONG,
    MAX_TIME_MS,
    SITE_ID_BYTES,
    SiteName,
    is_site_name,
    is_text,
    is_time,
)
from pipeline.core.strict_reader import UnusualError, read_long
from schemas import schema

_RECORD = schema("UnifiedRecord")
_EXTENDING = schema("Extending")
MAX_VALUES = 1024
MAX_SCALE = 9
MAX_RECORD_BYTES = 60 * 1024
_SHORT_TAIL_BYTES = 256
_REMEMBERED = 4096
_NO_EXTENDING = b"\x00\x00"  # the end of the values, then no bytes


class QualityCode(IntEnum):
    """How good a value is, from best to worst: the six choices of the U4SSC verification manual (column T)."""

    ACCURATE_MEASUREMENT = 1
    SURVEY_EXTRAPOLATION = 2
    HIGHER_LEVEL_EXTRAPOLATION = 3
    ASSUMPTION_ESTIMATE = 4
    PERSONAL_ESTIMATE = 5
    NOT_TRACEABLE = 6


class KpiValue(NamedTuple):
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

    @property
    def exact_text(self) -> str:
        """The value as a decimal with ``scale`` places, no exponent."""
        scale = self.scale
        if not scale:
            return str(self.unscaled)
        digits = f"{abs(self.unscaled):0{scale + 1}}"
        return f"{'-' * (self.unscaled < 0)}{digits[:-scale]}.{digits[-scale:]}"


class Extending(NamedTuple):
    """The extending part: sensor, quality, where the site read the value."""

    sensor: str
    quality: QualityCode
    source: str


class UnifiedRecord(NamedTuple):
    """One Table 10-1 structure; ``time_ms`` is GMT in milliseconds since 1970, ``extending`` None where it is empty."""

    site: SiteName
    time_ms: int
    values: tuple[KpiValue, ...]
    extending: Extending | None


def encode_record(record: UnifiedRecord) -> bytes:
    """Return the binary encoding of a record, as it is hashed and encrypted."""
    try:
        return _short_encoded(record)
    except (UnusualError, TypeError, AttributeError):
        return encode_generally(record)


def decode_record(data: bytes) -> UnifiedRecord | None:
    """Return the record that ``data`` canonically encodes within all bounds, or None. Total."""
    if len(data) > MAX_RECORD_BYTES:
        return None
    try:
        return _short_decoded(data)
    except (UnusualError, IndexError):
        return decode_generally(data)


def encode_generally(record: UnifiedRecord) -> bytes:
    """Return what ``encode_record`` returns, by the general codec."""
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


def decode_generally(data: bytes) -> UnifiedRecord | None:
    """Return what ``decode_record`` returns for at most ``MAX_RECORD_BYTES``, by the general codec."""
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


def _short_encoded(record: UnifiedRecord) -> bytes:
    site, time_ms, values, extending = record
    if not 0 < len(values) <= MAX_VALUES:
        raise UnusualError
    parts = [_site_head(site), avro.long_bytes(time_ms), avro.long_bytes(len(values))]
    for indicator, data_point, unscaled, scale, unit in values:
        parts += (point_bytes(indicator, data_point), avro.long_bytes(unscaled), _unit_tail(scale, unit))
    parts.append(_NO_EXTENDING if extending is None else _extending_tail(extending))
    return b"".join(parts)


def _short_decoded(data: bytes) -> UnifiedRecord:
    city_at = 1 + (data[0] >> 1)
    at = city_at + 1 + (data[city_at] >> 1) + SITE_ID_BYTES
    site = _site_of(data[:at])
    time_ms, at = read_long(data, at)
    count, at = read_long(data, at)
    if not 0 < count <= MAX_VALUES or not 0 <= time_ms <= MAX_TIME_MS:
        raise UnusualError
    values: list[KpiValue] = []
    for _ in range(count):
        data_point_at = at + 1 + (data[at] >> 1)
        end = data_point_at + 1 + (data[data_point_at] >> 1)
        indicator, data_point = _point_of(data[at:end])
        unscaled, at = read_long(data, end)
        end = at + 2 + (data[at + 1] >> 1)
        scale, unit = _unit_of(data[at:end])
        values.append(KpiValue(indicator, data_point, unscaled, scale, unit))
        at = end
    if len(data) - at > _SHORT_TAIL_BYTES:
        raise UnusualError  # what is remembered is bounded
    return UnifiedRecord(site, time_ms, tuple(values), _extending_of(data[at:]))


@lru_cache(maxsize=_REMEMBERED)
def _site_head(site: SiteName) -> bytes:
    if not is_site_name(site):
        raise UnusualError
    return avro.text_bytes(site.country) + avro.text_bytes(site.city) + site.site_id


@lru_cache(maxsize=_REMEMBERED)
def _site_of(head: bytes) -> SiteName:
    country, at = _text_of(head, 0)
    city, at = _text_of(head, at)
    site = SiteName(country, city, head[at:])
    if not is_site_name(site):
        raise UnusualError
    return site


@lru_cache(maxsize=_REMEMBERED)
def point_bytes(indicator: str, data_point: str) -> bytes:
    """Return the encoding of an indicator and its data point, one after the other."""
    return avro.text_bytes(indicator) + avro.text_bytes(data_point)


@lru_cache(maxsize=_REMEMBERED)
def _point_of(head: bytes) -> tuple[str, str]:
    indicator, at = _text_of(head, 0)
    data_point, at = _text_of(head, at)
    if at != len(head) or not is_indicator(indicator) or not is_text(data_point, empty=True):
        raise UnusualError
    return indicator, data_point


@lru_cache(maxsize=_REMEMBERED)
def _unit_tail(scale: int, unit: str) -> bytes:
    return avro.long_bytes(scale) + avro.text_bytes(unit)


@lru_cache(maxsize=_REMEMBERED)
def _unit_of(tail: bytes) -> tuple[int, str]:
    scale, at = read_long(tail, 0)
    unit, at = _text_of(tail, at)
    if at != len(tail) or not 0 <= scale <= MAX_SCALE or not is_text(unit):
        raise UnusualError
    return scale, unit


@lru_cache(maxsize=_REMEMBERED)
def _extending_tail(extending: Extending) -> bytes:
    data = _encode_extending(extending)
    return _NO_EXTENDING[:1] + avro.long_bytes(len(data)) + data


@lru_cache(maxsize=_REMEMBERED)
def _extending_of(tail: bytes) -> Extending | None:
    if tail == _NO_EXTENDING:
        return None
    size, at = read_long(tail, 1)
    extending = _decode_extending(tail[at:])
    if tail[:1] != _NO_EXTENDING[:1] or size != len(tail) - at or extending is None:
        raise UnusualError
    return extending


def _text_of(data: bytes, at: int) -> tuple[str, int]:
    """Return a text with its length, one byte, before it, and where it ends."""
    end = at + 1 + (data[at] >> 1)
    text = data[at + 1 : end]
    if data[at] & 129 or end > len(data) or not text.isascii():
        raise UnusualError
    return text.decode(), end


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
