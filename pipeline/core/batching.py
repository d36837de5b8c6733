"""Batching at a site: how many spooled records go into the next packet, exactly by size, and when."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipeline.core import avro
from pipeline.core.delivery import Backlog, SpooledRecord
from pipeline.core.keys import Algorithm, PublicKey
from pipeline.core.names import MAX_LONG, MAX_TIME_MS, SiteName, is_site_name, is_text
from pipeline.core.packet import MAX_PACKET_BYTES, MAX_RECIPIENTS, MAX_RECORDS, SEED_BYTES
from pipeline.core.sealing import CONTENT_KEY_BYTES, SEALING_ALGORITHM, SIGNING_ALGORITHM, Suite
from pipeline.core.signing import SIGNATURE_BYTES

TARGET_PACKET_BYTES = 50 * 1024
_PADDING_BYTES = 256
_TAG_BYTES = 16
# Of the length before a record: 60 KB take three bytes.
_MOST_LENGTH_BYTES = 3
_HASH_BYTES = 32
_SITE_ID_BYTES = 16
# Length of what HPKE puts before the ciphertext: the encapsulated key.
_ENCAPSULATED_BYTES = {Algorithm.X25519: 32, Algorithm.ECDH_P256: 65, Algorithm.XWING: 1120}


@dataclass(frozen=True, slots=True)
class Terms:
    """What enrolment settled for a site: the chain (32 bytes), its name, suite and readers, the packet limit.

    Raises:
        ValueError: a part is outside its bounds, or a reader's key does not belong to the suite.
    """

    chain: bytes
    site: SiteName
    module_id: str
    suite: Suite
    readers: tuple[PublicKey, ...]
    max_packet: int = MAX_PACKET_BYTES

    def __post_init__(self) -> None:
        if len(self.chain) != _HASH_BYTES or not is_site_name(self.site) or not is_text(self.module_id):
            raise ValueError("chain, site or module id is outside its bounds")
        if not 0 < len(self.readers) <= MAX_RECIPIENTS or not 0 < self.max_packet <= MAX_PACKET_BYTES:
            raise ValueError("a packet has 1 to 8 recipients and at most 60 KB")
        if any(reader.algorithm is not SEALING_ALGORITHM[self.suite] for reader in self.readers):
            raise ValueError(f"every reader of suite {self.suite.name.lower()} needs a key of that suite")

    @property
    def signing_algorithm(self) -> Algorithm:
        """What the site's signing key has to be."""
        return SIGNING_ALGORITHM[self.suite]

    @property
    def binding(self) -> bytes:
        """Names chain and site, for what belongs to this one site alone."""
        return self.chain + str(self.site).encode()


@dataclass(frozen=True, slots=True)
class Batching:
    """When a packet is full: records, bytes; or old enough: milliseconds since its first record was spooled.

    Raises:
        ValueError: a limit is outside its bounds.
    """

    max_records: int = 500
    target_bytes: int = TARGET_PACKET_BYTES
    linger_ms: int = 5_000

    def __post_init__(self) -> None:
        if not 0 < self.max_records <= MAX_RECORDS:
            raise ValueError(f"a packet takes 1 to {MAX_RECORDS} records")
        if not 1024 <= self.target_bytes <= MAX_PACKET_BYTES or self.linger_ms < 0:
            raise ValueError(f"a packet takes 1024 to {MAX_PACKET_BYTES} bytes, and waits 0 ms or longer")


def due_in_ms(backlog: Backlog, batching: Batching, now_ms: int, *, drain: bool) -> int | None:
    """Return in how many milliseconds a packet is due, 0 for now, None while no record waits.

    A clock that went back makes a packet due at once rather than late.
    """
    if not backlog.count:
        return None
    full = backlog.count >= batching.max_records or backlog.next_bytes >= batching.target_bytes
    age = now_ms - backlog.oldest_ms
    if full or drain or not 0 <= age < batching.linger_ms:
        return 0
    return batching.linger_ms - age


def fitting(terms: Terms, batching: Batching, sequence: int, records: Sequence[SpooledRecord]) -> int:
    """Return how many of the first ``records`` the next packet takes: at least one, exactly by size.

    A record that alone exceeds the target goes alone; the spool holds none that exceeds the packet limit.
    """
    limit = min(batching.target_bytes, terms.max_packet)
    surely = limit - _most_around(terms)
    taken = records[: batching.max_records]
    if sum(len(record.data) for record in taken) + _MOST_LENGTH_BYTES * len(taken) <= surely:
        return len(taken)
    size, low, high = 0, MAX_TIME_MS, 0
    for count, record in enumerate(taken, 1):
        size += avro.bytes_size(len(record.data))
        low, high = min(low, record.time_ms), max(high, record.time_ms)
        if size > surely and count > 1 and packet_size(terms, sequence, (low, high), count, size) > limit:
            return count - 1
    return len(taken)


def packet_size(terms: Terms, sequence: int, times: tuple[int, int], count: int, elements: int) -> int:
    """Return the exact size of a packet, bytes; ``elements`` is the sum of its records' Avro sizes."""
    clear = _clear_size(terms, sequence, times, count)
    return _size([reader.algorithm for reader in terms.readers], clear, count, elements)


def _clear_size(terms: Terms, sequence: int, times: tuple[int, int], count: int) -> int:
    numbers = (1, sequence, *times, count, terms.suite)
    texts = (terms.site.country, terms.site.city, terms.module_id)
    clear = sum(map(avro.long_size, numbers)) + sum(avro.bytes_size(len(text)) for text in texts)
    return clear + _SITE_ID_BYTES + 4 * _HASH_BYTES


def _size(algorithms: Sequence[Algorithm], clear: int, count: int, elements: int) -> int:
    """Return the size of a packet whose clear fields take ``clear`` bytes, sealed to keys of these algorithms."""
    sealed = [
        _HASH_BYTES + avro.bytes_size(_ENCAPSULATED_BYTES[algorithm] + CONTENT_KEY_BYTES + _TAG_BYTES)
        for algorithm in algorithms
    ]
    plain = SEED_BYTES + avro.long_size(count) + elements + 1
    padded = plain + -plain % _PADDING_BYTES
    readers = avro.long_size(len(sealed)) + sum(sealed) + 1
    return clear + readers + avro.bytes_size(padded + _TAG_BYTES) + SIGNATURE_BYTES


@lru_cache(maxsize=1024)
def _most_around(terms: Terms) -> int:
    """Return the most bytes that a packet takes beyond its records: widest numbers, full padding."""
    widest = packet_size(terms, MAX_LONG, (MAX_TIME_MS, MAX_TIME_MS), MAX_RECORDS, 0)
    return widest + _PADDING_BYTES + avro.long_size(MAX_PACKET_BYTES)


@lru_cache(maxsize=1024)
def largest_record(terms: Terms) -> int:
    """Return the size of the largest encoded record that fits into a packet of its own, bytes.

    It fits whatever the packet's sequence and time are, under any suite that goes with the site's key, and with one
    reader more: what is spooled now may be sealed under later terms.
    """
    suites = [suite for suite, signing in SIGNING_ALGORITHM.items() if signing is terms.signing_algorithm]
    widest = max((SEALING_ALGORITHM[suite] for suite in suites), key=_ENCAPSULATED_BYTES.__getitem__)
    readers = [widest] * min(MAX_RECIPIENTS, len(terms.readers) + 1)
    clear = _clear_size(terms, MAX_LONG, (MAX_TIME_MS, MAX_TIME_MS), 1)

    def overflows(size: int) -> bool:
        return _size(readers, clear, 1, avro.bytes_size(size)) > terms.max_packet

    return bisect_left(range(terms.max_packet), True, key=overflows) - 1
