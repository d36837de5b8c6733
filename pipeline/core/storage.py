"""Storage: what the platform keeps of each packet (Y.4907 10.3, Table 10-3) and of each value in it.

Pure: a block with its opened packets in, rows and observation messages out. The values exist in the platform zone
only. A row's ``exact`` text keeps the scale, and ``quality`` 0 tells an empty extending part from one
with empty texts, so that the very record bytes can be built again from the rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

from pipeline.core import avro
from pipeline.core.block import Kind
from pipeline.core.names import SiteName, site_id_text
from pipeline.core.packet import Opened, OpenProblem, Packet, open_packet
from pipeline.core.record import Extending, UnifiedRecord, decode_record, point_bytes
from pipeline.core.replica import Extended
from pipeline.core.sealing import SealingKey
from pipeline.core.state import Site
from pipeline.core.tracing import TracingCode
from schemas import schema

OBSERVATIONS: Final = schema("Observations")
_DOUBLE: Final = Struct("<d")
_REMEMBERED: Final = 4096
NOT_STATED: Final = 0
"""Quality of values whose record has an empty extending part; no ``QualityCode``."""
KeyRing = Callable[[bytes], SealingKey | None]
"""Returns the platform's sealing key with a fingerprint (32 bytes), or None for a key that is not (any more) there."""


class Status(StrEnum):
    """What became of a committed packet at the platform."""

    OK = "ok"
    MISMATCH = "mismatch"
    UNOPENED = "unopened"


class Mismatch(StrEnum):
    """Why a packet's content does not fit what its site signed outside or was granted."""

    DOES_NOT_OPEN = "does_not_open"
    BAD_PADDING = "bad_padding"
    WRONG_COUNT = "wrong_count"
    WRONG_DIGEST = "wrong_digest"
    BAD_RECORD = "bad_record"
    OTHER_SITE = "other_site"
    OUTSIDE_PERIOD = "outside_period"
    INDICATOR_NOT_GRANTED = "indicator_not_granted"


@dataclass(frozen=True, slots=True)
class Place:
    """A recorder of Table 10-3: offset and length in bytes."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Content:
    """What opening a packet gave: its records where ``status`` is ok; the salt seed, too, for later disclosure."""

    status: Status
    reason: str = ""
    seed: bytes = b""
    records: tuple[UnifiedRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class KpiRecord:
    """One Table 10-3 structure and what finds it; times in GMT milliseconds.

    ``data_recorder`` is the packet's place inside the encoded block, ``block_recorder`` the block's in the sum of
    encoded blocks, ``check_code`` the leaf hash (32 bytes), ``admitted_ms`` the broker time.
    """

    tracing_code: str
    height: int
    entry: int
    data_recorder: Place
    block_recorder: Place
    city_data: bytes
    chain_id: str
    check_code: bytes
    packet: Packet
    log_offset: int
    admitted_ms: int
    content: Content


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A verified block, the offset of its record in the blocks topic, and its packets' storage records."""

    extended: Extended
    kafka_offset: int
    records: tuple[KpiRecord, ...]


@dataclass(frozen=True, slots=True)
class Publication:
    """One packet's observations, ready to be sent: Kafka key, framed value, and where its packet is."""

    key: bytes
    value: bytes
    height: int
    entry: int


class Observation(NamedTuple):
    """One indicator value: index of its record in the packet, of the value in the record, and its fields.

    Where the record's extending part is empty, ``sensor`` and ``source`` are empty and ``quality`` is ``NOT_STATED``.
    """

    record: int
    number: int
    time_ms: int
    indicator: str
    data_point: str
    exact: str
    value: float
    unit: str
    sensor: str
    quality: int
    source: str
    site: SiteName


_OPEN_REASON: Final = {
    OpenProblem.DOES_NOT_OPEN: Mismatch.DOES_NOT_OPEN,
    OpenProblem.BAD_PADDING: Mismatch.BAD_PADDING,
    OpenProblem.WRONG_COUNT: Mismatch.WRONG_COUNT,
    OpenProblem.WRONG_DIGEST: Mismatch.WRONG_DIGEST,
}
NO_KEY: Final = "no_key"
"""Reason of packets that were not opened."""


def read_content(packet: Packet, site: Site, keys: KeyRing) -> Content:
    """Open a committed packet and check inside against outside and what the site was granted. Total.

    ``site`` is the registry entry that admitted the packet.
    """
    key = next((key for reader in packet.recipients if (key := keys(reader.key)) is not None), None)
    if key is None:
        return Content(Status.UNOPENED, NO_KEY)
    opened = open_packet(packet, key)
    if isinstance(opened, OpenProblem):
        return Content(Status.MISMATCH, _OPEN_REASON[opened])
    return _checked(packet, site, opened)


def _checked(packet: Packet, site: Site, opened: Opened) -> Content:
    records: list[UnifiedRecord] = []
    for data in opened.records:
        record = decode_record(data)
        mismatch = Mismatch.BAD_RECORD if record is None else record_mismatch(packet, site, record)
        if record is None or mismatch is not None:
            return Content(Status.MISMATCH, mismatch or "", opened.seed)
        records.append(record)
    return Content(Status.OK, "", opened.seed, tuple(records))


def record_mismatch(packet: Packet, site: Site, record: UnifiedRecord) -> Mismatch | None:
    """Return why a record does not fit its packet and what the site was granted, or None for one that does."""
    inner, outer = record.site, packet.site
    if inner != outer:
        if (inner.country, inner.city) != (outer.country, outer.city):
            return Mismatch.OTHER_SITE
        if inner.site_id not in site.equipment:
            return Mismatch.OTHER_SITE
    if not packet.collected_from <= record.time_ms <= packet.collected_to:
        return Mismatch.OUTSIDE_PERIOD
    for value in record.values:
        if value.indicator not in site.indicators:
            return Mismatch.INDICATOR_NOT_GRANTED
    return None


def kpi_records(extended: Extended, contents: Iterable[Content]) -> list[KpiRecord]:
    """Return the Table 10-3 structures of a block's packets, in order; ``contents`` are theirs, in order."""
    block = extended.block
    chain, chain_id = block.header.chain, block.header.chain_id
    block_place = Place(extended.block_offset, len(block.encoded))
    leaves, found = block.leaf_hashes, iter(contents)
    records: list[KpiRecord] = []
    for index, (entry, place, admitted) in enumerate(
        zip(block.entries, block.places(), extended.admitted, strict=True)
    ):
        if entry.kind is Kind.PACKET and isinstance(admitted, Packet):
            records.append(
                KpiRecord(
                    str(TracingCode(chain[:5], block.header.height, index)),
                    block.header.height,
                    index,
                    Place(*place),
                    block_place,
                    entry.payload,
                    chain_id,
                    leaves[index],
                    admitted,
                    entry.offset,
                    entry.time_ms,
                    next(found),
                )
            )
    return records


def observations(records: Sequence[UnifiedRecord]) -> list[Observation]:
    """Return one observation per indicator value, in the order of records and values."""
    found: list[Observation] = []
    for index, record in enumerate(records):
        sensor, quality, source = _extended(record.extending)
        for number, value in enumerate(record.values):
            exact = value.exact_text
            found.append(
                Observation(
                    index,
                    number,
                    record.time_ms,
                    value.indicator,
                    value.data_point,
                    exact,
                    float(exact),
                    value.unit,
                    sensor,
                    quality,
                    source,
                    record.site,
                )
            )
    return found


def _extended(extending: Extending | None) -> tuple[str, int, str]:
    """Return sensor, quality and source as an observation has them."""
    if extending is None:
        return "", NOT_STATED, ""
    return extending.sensor, int(extending.quality), extending.source


def publication(record: KpiRecord, found: Sequence[Observation]) -> Publication:
    """Return what is sent of a stored packet whose observations these are, at least one.

    The very bytes that ``observations_value`` gives for its rows, in a third of the time.
    """
    packet, site_id = record.packet, site_id_text(record.packet.site.site_id)
    fields = {
        "chain_id": record.chain_id,
        "tracing_code": record.tracing_code,
        "height": record.height,
        "admitted": record.admitted_ms,
        "country": packet.site.country,
        "city": packet.site.city,
        "site_id": site_id,
        "module_id": packet.module_id,
        "sequence": packet.sequence,
        "observations": [],
    }
    parts = [avro.encode(OBSERVATIONS, fields)[:-1], avro.long_bytes(len(found))]
    parts += map(_observation_bytes, found)
    parts.append(b"\0")
    return Publication(
        observations_key(packet.site.country, packet.site.city, site_id),
        avro.frame(OBSERVATIONS, b"".join(parts)),
        record.height,
        record.entry,
    )


def _observation_bytes(item: Observation) -> bytes:
    index, _, time_ms, indicator, data_point, exact, value, *rest, _ = item
    return b"".join(
        (
            avro.long_bytes(index),
            avro.long_bytes(time_ms),
            point_bytes(indicator, data_point),
            _DOUBLE.pack(value),
            avro.text_bytes(exact),
            _rest_bytes(*rest),
        )
    )


@lru_cache(maxsize=_REMEMBERED)
def _rest_bytes(unit: str, sensor: str, quality: int, source: str) -> bytes:
    texts = avro.text_bytes(unit) + avro.text_bytes(sensor)
    return texts + avro.long_bytes(quality) + avro.text_bytes(source)


def observations_value(fields: dict[str, Any], rows: Iterable[dict[str, Any]]) -> bytes:
    """Return the framed Observations message of one packet; fields and rows as the schema names them."""
    return avro.frame(OBSERVATIONS, avro.encode(OBSERVATIONS, fields | {"observations": list(rows)}))


def observations_key(country: str, city: str, site_id: str) -> bytes:
    """Return the Kafka key of a site's observations; the site identifier as an IP address."""
    return f"{country}/{city}/{site_id}".encode()
