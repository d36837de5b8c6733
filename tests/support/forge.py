"""Packets that a site with software of its own could make: any clear field, any plaintext, properly signed."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pipeline.core import avro
from pipeline.core.block import bytes_value
from pipeline.core.packet import (
    Packet,
    parse_packet,
    record_context,
    records_digest,
)
from pipeline.core.sealing import (
    encrypt_content,
    seal_key,
)
from pipeline.core.signing import PACKET_PREFIX
from schemas import schema
from tests.support.world import NOW_MS, TestSite, secret

PACKET = schema("Packet")
SEED, CONTENT_KEY = secret("seed"), secret("content")


def parsed(raw: bytes) -> Packet:
    """Return a packet that has to be well formed."""
    packet = parse_packet(raw)
    assert isinstance(packet, Packet)
    return packet


def resigned(site: TestSite, raw: bytes, **changes: Any) -> Packet:
    """Return a packet with other fields, signed again by the site."""
    fields = avro.decode(PACKET, raw)
    assert fields is not None
    signed = avro.encode(PACKET, fields | changes)[:-64]
    return parsed(signed + site.signer.sign(PACKET_PREFIX + signed))


@dataclass
class Forge:
    """Seals whatever plaintext it is given, as a site with its own software can."""

    site: TestSite

    def packet(self, build: Callable[[bytes], bytes], *, count: int = 1, **fields: Any) -> Packet:
        """Return a packet whose plaintext is ``build(honest plaintext of one record)``."""
        site = self.site
        records = [site.record(1)]
        key = site.signer.public.fingerprint
        context = record_context(site.chain, site.name.site_id, key, 1, count)
        honest = SEED + b"\x02" + bytes_value(records[0]) + b"\0"
        honest += bytes(-len(honest) % 256)
        value = {
            "version": 1,
            "chain": site.chain,
            **site.name._asdict(),
            "site_key": key,
            "module_id": "m",
            "sequence": 1,
            "previous_packet": bytes(32),
            "collected_from": NOW_MS,
            "collected_to": NOW_MS,
            "record_count": count,
            "suite": int(site.suite),
            "digest": records_digest(context, SEED, records),
        } | fields
        tail: dict[str, Any] = {"recipients": [], "encrypted_kpi_data": b"", "signature": bytes(64)}
        clear = avro.encode(PACKET, value | tail)[:-66]
        reader = site.platform_key.public
        info = b"bkdms/seal/v1\0" + sha256(clear).digest() + reader.fingerprint
        value["recipients"] = [{"key": reader.fingerprint, "sealed_key": seal_key(reader, CONTENT_KEY, info)}]
        aad = b"bkdms/content/v1\0" + clear
        value["encrypted_kpi_data"] = encrypt_content(site.suite, CONTENT_KEY, build(honest), aad)
        signed = avro.encode(PACKET, value | {"signature": bytes(64)})[:-64]
        return parsed(signed + site.signer.sign(PACKET_PREFIX + signed))
