"""Records of the topics beside the log and the blocks, one structure a file, from the schema texts alone.

Imports nothing of the pipeline. ``python -m tests.vectors.generate_messages`` writes the files.
"""

import json
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.core_world import (
    CHAIN,
    FOLDER,
    NODES,
    NOW,
    PERIOD,
    TOPIC,
    URL,
    Vector,
    controls,
    named,
    packets,
    secrets,
)
from tests.vectors.generate_certificate import key_id
from tests.vectors.generate_core import blocks, log
from tests.vectors.generate_merkle import root

DUPLICATE_OFFSET = 11
STAMP = NOW // 1000


def vote() -> Vector:
    """Return the message by which node-0 votes for the second block, with its Ed25519 key alone."""
    name, secret = next(iter(NODES.items()))
    block = blocks()[1]
    leaves = [bytes.fromhex(item) for found in blocks() for item in found["leaves"]]
    message = f"cosignature/v1\ntime {STAMP}\n{block['checkpoint']}".encode()
    identifier = key_id(name, 4, plain.signing_public(plain.ED25519, secret))
    fields = {
        "chain": CHAIN,
        "height": 2,
        "block_hash": bytes.fromhex(block["hash"]),
        "tree_size": len(leaves),
        "root": root(leaves),
        "node": name,
        "signatures": [identifier + plain.u64(STAMP) + plain.sign(plain.ED25519, secret, message)],
    }
    return {
        "node": name,
        "secret": secret.hex(),
        "time": STAMP,
        "value": plain.framed("Cosignature", plain.avro("Cosignature", fields)).hex(),
    }


def rejection() -> Vector:
    """Return the dead letter of the log's duplicate."""
    offset, time, value, _ = log()[DUPLICATE_OFFSET]
    fields = {
        "stage": "chain",
        "reason": "duplicate",
        "topic": TOPIC,
        "partition": 0,
        "offset": offset,
        "time": time,
        "value": value,
        "value_length": len(value),
    }
    headers = {
        "topic": TOPIC,
        "partition": "0",
        "offset": str(offset),
        "stage": "chain",
        "exception.class.name": "bkdms.duplicate",
        "exception.message": "chain refused the record: duplicate",
    }
    return {
        "offset": offset,
        "headers": {f"__connect.errors.{name}": text for name, text in headers.items()},
        "value": plain.framed("Rejection", plain.avro("Rejection", fields)).hex(),
    }


def registrations() -> list[Vector]:
    """Return the registrations that the two blocks cause: three sites in, one out."""
    enrolments = [(1, index, raw) for index, (action, raw, _) in enumerate(controls()) if action == 1]
    found = []
    for suite, (height, entry, raw) in enumerate([*enrolments, (2, 3, controls()[-1][1])], 1):
        name, is_enrolment = named(min(suite, 3)), height == 1
        site = secrets(suite)[0] if is_enrolment else None
        own = plain.fingerprint(plain.SITE, site[0], plain.signing_public(*site)) if site else b""
        fields = name | {
            "chain": CHAIN,
            "active": is_enrolment,
            "height": height,
            "entry": entry,
            "control": raw,
        }
        found.append(
            {
                "key": (CHAIN + b"US/unlocode:USMES/" + name["site_id"] + own).hex(),
                "value": plain.framed("SiteRegistration", plain.avro("SiteRegistration", fields)).hex(),
            }
        )
    return found


def observations() -> list[Vector]:
    """Return the messages about the three packets of the second block, which the platform can open."""
    found = []
    for entry, packet in enumerate(packets()):
        suite = packet["suite"]
        values = [
            {
                "record": number - 1,
                "time": NOW + number,
                "indicator": "LOCAL:TRAFFIC_SPEED",
                "data_point": "",
                "value": -1.23 * number,
                "exact": f"-{123 * number // 100}.{123 * number % 100:02d}",
                "unit": "HM",
                "sensor": f"sensor-{number}",
                "quality": number,
                "source": "rows.csv",
            }
            for number in (1, 2)
        ]
        fields = {
            "chain_id": URL,
            "tracing_code": plain.tracing_code(CHAIN, 2, entry),
            "height": 2,
            "admitted": NOW + PERIOD,
            "country": "US",
            "city": "unlocode:USMES",
            "site_id": f"10.0.0.{suite}",
            "module_id": "module-1",
            "sequence": 7,
            "observations": values,
        }
        found.append(
            {
                "key": f"US/unlocode:USMES/10.0.0.{suite}",
                "value": plain.framed("Observations", plain.avro("Observations", fields)).hex(),
            }
        )
    return found


def storage_records() -> list[Vector]:
    """Return the Table 10-3 records of the second block's packets, field by field and encoded."""
    encoded = [bytes.fromhex(block["encoded"]) for block in blocks()]
    found = []
    for entry, packet in enumerate(packets()):
        city_data = bytes.fromhex(packet["raw"])
        data = {"offset": encoded[1].index(city_data), "length": len(city_data)}
        block = {"offset": len(encoded[0]), "length": len(encoded[1])}
        code, leaf = plain.tracing_code(CHAIN, 2, entry), blocks()[1]["leaves"][entry]
        fields = {"data_recorder": data, "block_recorder": block, "city_data": city_data, "chain_id": URL}
        raw = plain.avro("StorageRecord", fields | {"tracing_code": code, "check_code": bytes.fromhex(leaf)})
        stored = {"data_recorder": data, "block_recorder": block, "chain_id": URL, "tracing_code": code}
        found.append(stored | {"check_code": leaf, "raw": raw.hex()})
    return found


def block_records() -> list[Vector]:
    """Return the two records of the blocks topic."""
    return [
        {
            "key": (CHAIN + plain.u64(block["height"])).hex(),
            "value": plain.framed(
                "CertifiedBlock",
                bytes.fromhex(block["encoded"]) + plain.blob(block["certificate"].encode()),
            ).hex(),
        }
        for block in blocks()
    ]


def files() -> dict[str, str]:
    """Return names and contents of the vector files."""
    vectors: dict[str, Any] = {
        "message_vote.json": vote(),
        "message_rejection.json": rejection(),
        "message_registration.json": registrations(),
        "message_observations.json": observations(),
        "message_block.json": block_records(),
        "storage_record.json": storage_records(),
    }
    return {name: json.dumps(value, indent=1) + "\n" for name, value in vectors.items()}


if __name__ == "__main__":
    for file_name, content in files().items():
        (FOLDER / file_name).write_text(content)
