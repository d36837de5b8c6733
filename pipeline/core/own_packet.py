"""A site's own packet opened with the site's own key, or why it does not open. Pure and total.

What is checked is what the packet promises by itself: count, digest, the form of its records. Whether it is in the
ledger, and who signed it, is for whoever brings it.
"""

from collections.abc import Callable
from typing import Any, Final

from pipeline.core.disclosure import records_json
from pipeline.core.names import site_id_text
from pipeline.core.packet import Opened, OpenProblem, Packet, open_packet
from pipeline.core.record import UnifiedRecord, decode_record
from pipeline.core.sealing import SealingKey

NO_KEY: Final = "it is sealed to no reading key that is here"
_WORDS: Final = {
    OpenProblem.NO_KEY: NO_KEY,
    OpenProblem.DOES_NOT_OPEN: "it does not open with the key that it names",
    OpenProblem.BAD_PADDING: "its content is not of the form that it has to have",
    OpenProblem.WRONG_COUNT: "it holds another number of records than was signed",
    OpenProblem.WRONG_DIGEST: "its records are not those whose digest was signed",
}


def open_own(packet: Packet, keys: Callable[[bytes], SealingKey | None]) -> tuple[UnifiedRecord, ...] | str:
    """Return a packet's records in order, or for people why they can't be had.

    ``keys`` returns the reading key with a fingerprint (32 bytes), or None.
    """
    key = next((key for reader in packet.recipients if (key := keys(reader.key)) is not None), None)
    if key is None:
        return NO_KEY
    opened = open_packet(packet, key)
    if not isinstance(opened, Opened):
        return _WORDS[opened]
    records = [record for data in opened.records if (record := decode_record(data)) is not None]
    return tuple(records) if len(records) == len(opened.records) else "a record in it is none"


def packet_json(packet: Packet, records: tuple[UnifiedRecord, ...]) -> dict[str, Any]:
    """Return an opened packet as a JSON value; times in GMT milliseconds, values exact."""
    return {
        "country": packet.site.country,
        "city": packet.site.city,
        "site_id": site_id_text(packet.site.site_id),
        "sequence": packet.sequence,
        "packet_id": packet.packet_id.hex(),
        "records": records_json(list(enumerate(records))),
    }
