"""What the core's golden vectors are about: keys, contract, genesis, records, packets, control records.

Made by ``plain_core``; imports nothing of the pipeline.
"""

import json
from pathlib import Path
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.generate_merkle import root

FOLDER = Path(__file__).parent
NOW, PERIOD = 1_790_000_000_000, 10_000
URL, TOPIC = "https://vectors.example/city", "kpi.chain.v1"
REGISTRAR, ROOT, LOG = (bytes([n]) * 32 for n in (0x11, 0x12, 0x13))
NODES = {f"node-{n}": bytes([0x20 + n]) * 32 for n in range(4)}
PACKET_SEED, CONTENT_KEY = bytes([0x51]) * 32, bytes([0x52]) * 32


Vector = dict[str, Any]


def named(suite: int) -> Vector:
    """Return the name fields of the site that uses a suite."""
    return {
        "country": "US",
        "city": "unlocode:USMES",
        "site_id": bytes(10) + b"\xff\xff\x0a\0\0" + bytes([suite]),
    }


def secrets(suite: int) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
    """Return (algorithm, secret) of a site's signing key and of the platform's sealing key."""
    sealing, signing = plain.SUITES[suite]
    return (signing, bytes([0x30 + suite]) * 32), (
        sealing,
        bytes([0x40 + suite]) * (96 if suite == 1 else 32),
    )


def record(suite: int, number: int) -> bytes:
    """Return an encoded unified record."""
    extending = {"sensor": f"sensor-{number}", "quality": number, "source": "rows.csv"}
    kpi = {
        "indicator": "LOCAL:TRAFFIC_SPEED",
        "data_point": "",
        "unscaled": -123 * number,
        "scale": 2,
        "unit": "HM",
    }
    fields = {"time": NOW + number, "kpi_data": [kpi], "extending": plain.avro("Extending", extending)}
    return plain.avro("UnifiedRecord", named(suite) | fields)


def contract(version: int = 1) -> bytes:
    """Return the encoded contract: the defaults of version 1, or of another version."""
    numbers = {"period": PERIOD, "max_packet": 61_440, "max_entries": 4096, "max_block": 880_000}
    limits = {"max_sequence_jump": 1_000_000, "skew": 300_000, "max_age": 2_592_000_000}
    suites = {"suites": [{"suite": suite, "expires": 0} for suite in plain.SUITES]}
    return plain.avro("Contract", {"version": version} | numbers | limits | suites)


def genesis() -> bytes:
    """Return the bytes of the genesis file."""

    def key(secret: bytes) -> Vector:
        return {"algorithm": "ed25519", "public": plain.signing_public(plain.ED25519, secret).hex()}

    document = {
        "format": "bkdms-genesis/v1",
        "url": URL,
        "chain_log": {"topic": TOPIC, "partition": 0, "incarnation": 1},
        "roots": {"threshold": 1, "keys": [key(ROOT)]},
        "registrars": [key(REGISTRAR)],
        "nodes": [
            {"name": name, "ed25519": plain.signing_public(plain.ED25519, secret).hex()}
            for name, secret in NODES.items()
        ],
        "quorum": 3,
        "log_key": key(LOG),
        "rules_version": 1,
        "contract": {
            "version": 1,
            "period_ms": PERIOD,
            "max_packet": 61_440,
            "max_entries": 4096,
            "max_block": 880_000,
            "max_sequence_jump": 1_000_000,
            "skew_ms": 300_000,
            "max_age_ms": 2_592_000_000,
            "suites": [{"suite": name, "expires_ms": 0} for name in ("xwing", "light", "p256")],
        },
    }
    return (json.dumps(document, indent=2) + "\n").encode()


CHAIN = plain.digest(genesis())
ORIGIN = f"vectors.example/city/{CHAIN[:4].hex()}"


def sealed_packet(suite: int) -> Vector:
    """Return a freshly sealed packet of two records."""
    site, platform = secrets(suite)
    site_key = plain.fingerprint(plain.SITE, site[0], plain.signing_public(*site))
    fields = named(suite) | {
        "chain": CHAIN,
        "site_key": site_key,
        "module_id": "module-1",
        "sequence": 7,
        "previous_packet": bytes(32),
        "collected_from": NOW + 1,
        "collected_to": NOW + 2,
        "suite": suite,
    }
    raw, clear = plain.seal(
        fields, site, platform, PACKET_SEED, CONTENT_KEY, [record(suite, 1), record(suite, 2)]
    )
    return {"suite": suite, "clear_length": clear, "raw": raw.hex()}


def packets() -> list[Vector]:
    """Return the stored packets with all that follows from them."""
    found = []
    for stored in json.loads((FOLDER / "core_packets.json").read_text()):
        suite, raw = stored["suite"], bytes.fromhex(stored["raw"])
        site, platform = secrets(suite)
        public, reader = plain.signing_public(*site), plain.sealing_public(*platform)
        site_key = plain.fingerprint(plain.SITE, site[0], public)
        fields = named(suite) | {"chain": CHAIN, "site_key": site_key, "sequence": 7}
        records = [record(suite, 1), record(suite, 2)]
        leaves = plain.record_leaves(fields, PACKET_SEED, records)
        found.append(
            {
                "suite": suite,
                "site_secret": site[1].hex(),
                "site_public": public.hex(),
                "site_key": site_key.hex(),
                "platform_secret": platform[1].hex(),
                "platform_public": reader.hex(),
                "platform_key": plain.fingerprint(plain.PLATFORM, platform[0], reader).hex(),
                "seed": PACKET_SEED.hex(),
                "records": [item.hex() for item in records],
                "salts": [item.hex() for item in plain.salts(PACKET_SEED, 2)],
                "leaves": [item.hex() for item in leaves],
                "digest": root(leaves).hex(),
                "clear_length": stored["clear_length"],
                "packet_id": plain.packet_id(raw).hex(),
                "raw": raw.hex(),
            }
        )
    return found


def controls() -> list[tuple[int, bytes, bytes]]:
    """Return (action, record, identifier) of the registrar's records: three sites in, one out."""
    bodies: list[tuple[int, bytes]] = []
    for suite in plain.SUITES:
        site, platform = secrets(suite)
        public = plain.signing_public(*site)
        name = named(suite)
        claim = (
            CHAIN + plain.fingerprint(plain.SITE, site[0], public) + name["site_id"] + b"US/unlocode:USMES"
        )
        enrol = name | {
            "algorithm": site[0],
            "signing_key": public,
            "possession": plain.sign(*site, b"bkdms/possession/v1\0" + claim),
            "suites": [suite],
            "indicators": ["LOCAL:TRAFFIC_SPEED", "EC: ICT: ICT: 1C"],
            "equipment": [bytes(15) + b"\1"],
        }
        offer = name | {
            "epoch": 1,
            "algorithm": platform[0],
            "public_key": plain.sealing_public(*platform),
            "valid_to": NOW + 10**9,
        }
        bodies += [(1, plain.avro("Enrol", enrol)), (4, plain.avro("KeyOffer", offer))]
    grant = named(1) | {"collected_from": 0, "collected_to": NOW, "expires": NOW + 10**9}
    bodies.append((3, plain.avro("BackfillGrant", grant)))
    site = secrets(3)[0]
    revoked = plain.fingerprint(plain.SITE, site[0], plain.signing_public(*site))
    bodies.append((2, plain.avro("Revoke", named(3) | {"site_key": revoked, "reason": "vectors"})))
    found, previous = [], bytes(32)
    for sequence, (action, body) in enumerate(bodies, 1):
        raw, previous = plain.control(CHAIN, REGISTRAR, sequence, previous, action, body)
        found.append((action, raw, previous))
    return found
