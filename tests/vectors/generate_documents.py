"""JSON documents that leave the platform: site heads, access requests and answers. From docs/formats.md alone.

Imports nothing of the pipeline. ``python -m tests.vectors.generate_documents`` writes the files.
"""

import json
from base64 import b64encode
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.core_world import CHAIN, FOLDER, NOW, REGISTRAR, Vector, controls, named, packets, secrets
from tests.vectors.generate_core import blocks, log
from tests.vectors.generate_merkle import inclusion

ALGORITHMS = {plain.ED25519: "ed25519", plain.ECDSA: "ecdsa_p256", plain.X25519: "x25519"}
ALGORITHMS |= {plain.XWING: "xwing", plain.ECDH: "ecdh_p256"}
SUITES = {1: "xwing", 2: "light", 3: "p256"}


def text(data: bytes) -> str:
    """Return base64."""
    return b64encode(data).decode()


def proven(kind: str, payload: bytes | None, index: int, offset: int) -> Vector:
    """Return an entry of the log with its path in the tree after both blocks."""
    leaves = [bytes.fromhex(item) for block in blocks() for item in block["leaves"]]
    return {
        "kind": kind,
        "payload": None if payload is None else text(payload),
        "leaf_index": index,
        "log_offset": offset,
        "broker_time": log()[offset][1],
        "path": [text(step) for step in inclusion(index, leaves)],
    }


def site_heads() -> list[Vector]:
    """Return the head of each site after both blocks; the third is revoked."""
    first, second = blocks()
    before = len(first["leaves"])
    header_index = before + len(second["leaves"]) - 1
    leaves = [bytes.fromhex(item) for block in blocks() for item in block["leaves"]]
    found = []
    for entry, packet in enumerate(packets()):
        suite = packet["suite"]
        offset = next(row[0] for row in log() if row[2][5:].hex() == packet["raw"])
        offer = 2 * entry + 1
        found.append(
            {
                "format": "bkdms-site-head/v1",
                "chain": CHAIN.hex(),
                "site": {"country": "US", "city": "unlocode:USMES", "site_id": f"10.0.0.{suite}"},
                "active": suite != 3,
                "sequence": 7,
                "packet_id": packet["packet_id"],
                "height": 2,
                "entry": entry,
                **proven("packet", None, before + entry, offset),
                "header": text(bytes.fromhex(second["header"])),
                "header_path": [text(step) for step in inclusion(header_index, leaves)],
                "key_offers": [proven("control", controls()[offer][1], offer, offer)],
                "tree_size": len(leaves),
                "certificate": second["certificate"],
            }
        )
    return found


def signed(kind: str, content: Vector, key: tuple[int, bytes]) -> Vector:
    """Return a signed document and the bytes of its file."""
    message = kind.encode() + b"\0" + json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    document = {"format": kind, "content": content, "signature": plain.sign(*key, message).hex()}
    return {"file": json.dumps(document, indent=2) + "\n"}


def _asked(suite: int) -> Vector:
    return {
        "chain": CHAIN.hex(),
        "country": "US",
        "city": "unlocode:USMES",
        "site_id": f"10.0.0.{suite}",
        "suites": [SUITES[suite]],
        "indicators": ["LOCAL:TRAFFIC_SPEED", "EC: ICT: ICT: 1C"],
        "equipment": ["::1"],
    }


def access_requests() -> list[Vector]:
    """Return the request of each site."""
    found = []
    for suite in SUITES:
        (algorithm, secret), _ = secrets(suite)
        public = plain.signing_public(algorithm, secret)
        fingerprint = plain.fingerprint(plain.SITE, algorithm, public)
        claim = CHAIN + fingerprint + named(suite)["site_id"] + b"US/unlocode:USMES"
        possession = plain.sign(algorithm, secret, b"bkdms/possession/v1\0" + claim)
        content = _asked(suite) | {
            "algorithm": ALGORITHMS[algorithm],
            "public": public.hex(),
            "possession": possession.hex(),
        }
        found.append({"suite": suite} | signed("bkdms-access-request/v1", content, (algorithm, secret)))
    return found


def access_answers() -> list[Vector]:
    """Return the registrar's answer to each site."""
    found = []
    registrar = plain.signing_public(plain.ED25519, REGISTRAR)
    for suite in SUITES:
        site, platform = secrets(suite)
        offer = {
            "epoch": 1,
            "algorithm": ALGORITHMS[platform[0]],
            "public": plain.sealing_public(*platform).hex(),
            "valid_to_ms": NOW + 10**9,
        }
        content = _asked(suite) | {
            "site_key": plain.fingerprint(plain.SITE, site[0], plain.signing_public(*site)).hex(),
            "offers": [offer],
            "registrar": plain.fingerprint(plain.REGISTRAR, plain.ED25519, registrar).hex(),
        }
        key = (plain.ED25519, REGISTRAR)
        found.append({"suite": suite} | signed("bkdms-access-answer/v1", content, key))
    return found


def files() -> dict[str, str]:
    """Return names and contents of the vector files."""
    vectors: dict[str, Any] = {
        "site_head.json": site_heads(),
        "access_request.json": access_requests(),
        "access_answer.json": access_answers(),
    }
    return {name: json.dumps(value, indent=1) + "\n" for name, value in vectors.items()}


if __name__ == "__main__":
    for file_name, content in files().items():
        (FOLDER / file_name).write_text(content)
