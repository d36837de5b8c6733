"""Packet: Table 10-2 of Y.4907 with its salted digest, sealing and signature.

Owns the bytes of a packet and what they prove by themselves. Whether a packet is admitted
is the business of the admission rules, which know the registry.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple

import fastavro

from pipeline.core import avro
from pipeline.core.keys import PublicKey
from pipeline.core.merkle import root_of
from pipeline.core.names import MAX_LONG, MAX_TIME_MS, SiteName, is_site_name, is_text
from pipeline.core.outcome import Outcome
from pipeline.core.sealing import (
    CONTENT_KEY_BYTES,
    SealingKey,
    Suite,
    decrypt_content,
    encrypt_content,
    seal_key,
    unseal_key,
)
from pipeline.core.signing import PACKET_PREFIX, SIGNATURE_BYTES, Signer
from pipeline.core.strict_reader import PacketHead, PacketParts, read_packet
from schemas import schema

MAX_PACKET_BYTES = 60 * 1024
MAX_RECORDS = 4096
MAX_RECIPIENTS = 8
SEED_BYTES = 32
FIRST_PREVIOUS = bytes(32)
_VERSION = 1
_PADDING_BYTES = 256
_CACHED_SITES = 4096
_PACKET = schema("Packet")
_RECORDS = fastavro.parse_schema({"type": "array", "items": "bytes"})
_SUITES = {int(suite): suite for suite in Suite}
_ID_HASHER = sha256(b"bkdms/packet-id/v1\x00")
_SALT_PREFIX = b"bkdms/leaf-salt/v1\x00"
_HASH_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
_CONTEXT_PREFIX = b"bkdms/record-ctx/v1\x00"
_LEAF_PREFIX = b"\x00bkdms/record/v1\x00"
_CONTENT_PREFIX = b"bkdms/content/v1\x00"
_SEAL_PREFIX = b"bkdms/seal/v1\x00"


class Recipient(NamedTuple):
    """One reader: fingerprint of the key (32 bytes) and the content key sealed to it."""

    key: bytes
    sealed_key: bytes


class Packet(NamedTuple):
    """A well-formed packet; ``packet_id`` dedupes and links. Its signature is not verified by construction."""

    chain: bytes
    site: SiteName
    site_key: bytes
    module_id: str
    sequence: int
    previous: bytes
    collected_from: int
    collected_to: int
    record_count: int
    suite: Suite
    digest: bytes
    recipients: tuple[Recipient, ...]
    encrypted: bytes
    raw: bytes
    packet_id: bytes

    @property
    def signed(self) -> bytes:
        """The message that the site signed."""
        return b"".join((PACKET_PREFIX, memoryview(self.raw)[:-SIGNATURE_BYTES]))

    @property
    def signature(self) -> bytes:
        """The signature, 64 bytes."""
        return self.raw[-SIGNATURE_BYTES:]

    @property
    def clear(self) -> bytes:
        """The encoded fields from version to digest, bound into every sealing."""
        readers = sum(32 + avro.bytes_size(len(r.sealed_key)) for r in self.recipients)
        tail = avro.long_size(len(self.recipients)) + readers + 1
        return self.raw[: -(tail + avro.bytes_size(len(self.encrypted)) + SIGNATURE_BYTES)]

    def is_sealed_to(self, key: bytes) -> bool:
        """Tell whether the content key is sealed to the key of this fingerprint (32 bytes)."""
        for recipient in self.recipients:  # noqa: SIM110  asked of every packet: a generator takes thrice as long
            if recipient.key == key:
                return True
        return False


@dataclass(frozen=True, slots=True)
class PacketDraft:
    """Everything the site decides about a packet before sealing it."""

    chain: bytes
    site: SiteName
    module_id: str
    sequence: int
    previous: bytes
    collected_from: int
    collected_to: int
    suite: Suite


@dataclass(frozen=True, slots=True)
class Opened:
    """What a packet held: the salt seed and the encoded unified KPI records."""

    seed: bytes
    records: tuple[bytes, ...]


class OpenProblem(IntEnum):
    """Why a packet did not open to what its signed fields promise."""

    NO_KEY = 1
    DOES_NOT_OPEN = 2
    BAD_PADDING = 3
    WRONG_COUNT = 4
    WRONG_DIGEST = 5


def packet_id(raw: bytes) -> bytes:
    """Return the identifier of an encoded packet, 32 bytes."""
    hasher = _ID_HASHER.copy()
    hasher.update(raw[:-SIGNATURE_BYTES])
    return hasher.digest()


def record_context(chain: bytes, site_id: bytes, site_key: bytes, sequence: int, count: int) -> bytes:
    """Return the context that binds record leaves to their packet, 32 bytes."""
    numbers = sequence.to_bytes(8, "big") + count.to_bytes(4, "big")
    return sha256(_CONTEXT_PREFIX + chain + site_id + site_key + numbers).digest()


def leaf_salt(seed: bytes, index: int) -> bytes:
    """Return the salt of record ``index``, 32 bytes; disclosing it tells nothing of its neighbours."""
    return hmac.digest(seed, _SALT_PREFIX + index.to_bytes(4, "big"), "sha256")


def record_leaf(context: bytes, index: int, salt: bytes, record: bytes) -> bytes:
    """Return the salted leaf hash of one encoded record, 32 bytes."""
    return sha256(_LEAF_PREFIX + context + index.to_bytes(4, "big") + salt + record).digest()


def records_digest(context: bytes, seed: bytes, records: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 root over the salted records: the digest of Y.4907 10.2."""
    # HMAC as RFC 2104 2 writes it, its two keyed beginnings hashed once for all salts of the packet.
    key = (seed if len(seed) <= _HASH_BLOCK_BYTES else sha256(seed).digest()).ljust(_HASH_BLOCK_BYTES, b"\0")
    inner, outer = sha256(key.translate(_INNER_PAD) + _SALT_PREFIX), sha256(key.translate(_OUTER_PAD))
    before, leaves = _LEAF_PREFIX + context, []
    for index, record in enumerate(records):
        number = index.to_bytes(4, "big")
        keyed, salt = inner.copy(), outer.copy()
        keyed.update(number)
        salt.update(keyed.digest())
        leaves.append(sha256(b"".join((before, number, salt.digest(), record))).digest())
    return root_of(leaves)


def parse_packet(data: bytes) -> Packet | Outcome:
    """Return the packet that ``data`` canonically encodes within all bounds, else the refusal. Total."""
    if len(data) > MAX_PACKET_BYTES:
        return Outcome.OVERSIZED
    parts = read_packet(data) or _decoded(data)
    if parts is None:
        return Outcome.MALFORMED
    site = _site(parts.head)
    if site is None or not _in_range(parts):
        return Outcome.OUT_OF_RANGE
    return Packet(
        parts.head.chain,
        site,
        parts.head.site_key,
        parts.head.module_id,
        parts.sequence,
        parts.previous_packet,
        parts.collected_from,
        parts.collected_to,
        parts.record_count,
        _SUITES[parts.suite],
        parts.digest,
        tuple(map(Recipient._make, parts.recipients)),
        parts.encrypted_kpi_data,
        data,
        packet_id(data),
    )


def _decoded(data: bytes) -> PacketParts | None:
    """Return what the general decoder finds where the strict reader leaves the decision to it."""
    raw = avro.decode(_PACKET, data)
    if raw is None:
        return None
    head = PacketHead(**{name: raw[name] for name in PacketHead._fields[:-1]}, size=0)
    recipients = tuple((recipient["key"], recipient["sealed_key"]) for recipient in raw["recipients"])
    return PacketParts(
        head, **{name: raw[name] for name in PacketParts._fields[1:]} | {"recipients": recipients}
    )


@lru_cache(maxsize=_CACHED_SITES)
def _site(head: PacketHead) -> SiteName | None:
    """Return the site that a packet's first fields name, or None where one of them is out of range."""
    site = SiteName(head.country, head.city, head.site_id)
    return site if head.version == _VERSION and is_site_name(site) and is_text(head.module_id) else None


def _in_range(parts: PacketParts) -> bool:
    recipients = parts.recipients
    return (
        1 <= parts.sequence <= MAX_LONG
        and 0 <= parts.collected_from <= parts.collected_to <= MAX_TIME_MS
        and 1 <= parts.record_count <= MAX_RECORDS
        and parts.suite in _SUITES
        and 1 <= len(recipients) <= MAX_RECIPIENTS
        and (len(recipients) == 1 or len({key for key, _ in recipients}) == len(recipients))
    )


def seal_packet(
    draft: PacketDraft,
    records: Sequence[bytes],
    readers: Sequence[PublicKey],
    signer: Signer,
    *,
    seed: bytes,
    content_key: bytes,
) -> bytes:
    """Encrypt, seal and sign encoded records into one packet (Y.4907 clause 9).

    ``seed`` and ``content_key`` are 32 fresh random bytes each, never used twice.

    Raises:
        ValueError: no records, no readers, or the packet would exceed its size limit.
    """
    if not 0 < len(records) <= MAX_RECORDS or not 0 < len(readers) <= MAX_RECIPIENTS:
        raise ValueError("a packet has 1 to 4096 records and 1 to 8 recipients")
    if len(seed) != SEED_BYTES or len(content_key) != CONTENT_KEY_BYTES:
        raise ValueError("seed and content key have 32 bytes each")
    site_key = signer.public.fingerprint
    context = record_context(draft.chain, draft.site.site_id, site_key, draft.sequence, len(records))
    value = _clear_fields(draft, site_key, len(records), records_digest(context, seed, records))
    empty = avro.encode(
        _PACKET, value | {"recipients": [], "encrypted_kpi_data": b"", "signature": bytes(SIGNATURE_BYTES)}
    )
    clear = empty[: -(SIGNATURE_BYTES + 2)]
    info = _SEAL_PREFIX + sha256(clear).digest()
    value["recipients"] = [
        {"key": r.fingerprint, "sealed_key": seal_key(r, content_key, info + r.fingerprint)} for r in readers
    ]
    plaintext = _pad(seed + _encode_records(records))
    value["encrypted_kpi_data"] = encrypt_content(
        draft.suite, content_key, plaintext, _CONTENT_PREFIX + clear
    )
    signed = avro.encode(_PACKET, value | {"signature": bytes(SIGNATURE_BYTES)})[:-SIGNATURE_BYTES]
    if len(signed) + SIGNATURE_BYTES > MAX_PACKET_BYTES:
        raise ValueError(f"packet exceeds {MAX_PACKET_BYTES} bytes; put fewer records into it")
    return signed + signer.sign(PACKET_PREFIX + signed)


def _clear_fields(draft: PacketDraft, site_key: bytes, count: int, digest: bytes) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "chain": draft.chain,
        "country": draft.site.country,
        "city": draft.site.city,
        "site_id": draft.site.site_id,
        "site_key": site_key,
        "module_id": draft.module_id,
        "sequence": draft.sequence,
        "previous_packet": draft.previous,
        "collected_from": draft.collected_from,
        "collected_to": draft.collected_to,
        "record_count": count,
        "suite": int(draft.suite),
        "digest": digest,
    }


def open_packet(packet: Packet, key: SealingKey) -> Opened | OpenProblem:
    """Decrypt a packet and check count and digest against its signed fields. Total."""
    fingerprint = key.public.fingerprint
    sealed = next((r.sealed_key for r in packet.recipients if r.key == fingerprint), None)
    if sealed is None:
        return OpenProblem.NO_KEY
    clear = packet.clear
    content_key = unseal_key(key, sealed, _SEAL_PREFIX + sha256(clear).digest() + fingerprint)
    if content_key is None:
        return OpenProblem.DOES_NOT_OPEN
    plaintext = decrypt_content(packet.suite, content_key, packet.encrypted, _CONTENT_PREFIX + clear)
    if plaintext is None:
        return OpenProblem.DOES_NOT_OPEN
    records = _decode_records(plaintext[SEED_BYTES:])
    if records is None:
        return OpenProblem.BAD_PADDING
    return _checked(packet, Opened(plaintext[:SEED_BYTES], records))


def _checked(packet: Packet, opened: Opened) -> Opened | OpenProblem:
    count = packet.record_count
    if len(opened.records) != count:
        return OpenProblem.WRONG_COUNT
    context = record_context(packet.chain, packet.site.site_id, packet.site_key, packet.sequence, count)
    if records_digest(context, opened.seed, opened.records) != packet.digest:
        return OpenProblem.WRONG_DIGEST
    return opened


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % _PADDING_BYTES)


def _encode_records(records: Sequence[bytes]) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, _RECORDS, records)
    return out.getvalue()


def _decode_records(padded: bytes) -> tuple[bytes, ...] | None:
    """Return the records before zero padding to a multiple of 256, or None where the form differs."""
    try:
        records: Any = fastavro.schemaless_reader(BytesIO(padded), _RECORDS, None)
    except avro.DECODE_ERRORS:
        return None
    if _pad(bytes(SEED_BYTES) + _encode_records(records))[SEED_BYTES:] != padded:
        return None
    return tuple(records)
