"""A packet's content out of the rows that a platform stored of it, checked by the digest that its site signed.

So that stored values can be checked where the packet can't be opened (any more). The rows are nobody's word: what
comes out is what the site signed, or nothing.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import groupby
from typing import Any

from pipeline.core.names import SiteName, parse_site_id
from pipeline.core.packet import Packet, record_context, records_digest
from pipeline.core.record import Extending, KpiValue, QualityCode, UnifiedRecord, decode_record, encode_record
from pipeline.core.state import Site
from pipeline.core.storage import NOT_STATED, Content, Status, record_mismatch

Row = Mapping[str, Any]


def content_of_rows(packet: Packet, site: Site, seed: bytes, rows: Sequence[Row]) -> Content | None:
    """Return the content that observation rows and seed hold, or None where it is not what the site signed. Total.

    ``site`` is the registry entry that admitted the packet.
    """
    try:
        records = _records(rows)
        encoded = [encode_record(record) for record in records]
    except (ValueError, TypeError, KeyError, OverflowError, InvalidOperation, AttributeError):
        return None
    if not isinstance(seed, bytes) or len(records) != packet.record_count:
        return None
    context = record_context(
        packet.chain, packet.site.site_id, packet.site_key, packet.sequence, packet.record_count
    )
    if records_digest(context, seed, encoded) != packet.digest:
        return None
    if any(
        decode_record(item) is None or record_mismatch(packet, site, record)
        for item, record in zip(encoded, records, strict=True)
    ):
        return None
    return Content(Status.OK, "", seed, tuple(records))


def _records(rows: Sequence[Row]) -> list[UnifiedRecord]:
    ordered = sorted(rows, key=lambda row: (row["record"], row["number"]))
    return [_record(list(group)) for _, group in groupby(ordered, key=lambda row: row["record"])]


def _record(rows: Sequence[Row]) -> UnifiedRecord:
    first = rows[0]
    site = SiteName(first["country"], first["city"], parse_site_id(first["site_id"]))
    stated = first["quality"] != NOT_STATED
    extending = Extending(first["sensor"], QualityCode(first["quality"]), first["source"]) if stated else None
    return UnifiedRecord(site, first["time"], tuple(map(_value, rows)), extending)


def _value(row: Row) -> KpiValue:
    exact: str = row["exact"]
    scale = len(exact.partition(".")[2])
    unscaled = int(Decimal(exact).scaleb(scale))
    return KpiValue(row["indicator"], row["data_point"], unscaled, scale, row["unit"])
