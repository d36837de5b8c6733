"""JSON documents that leave the platform: site heads, access requests and answers. From docs/formats.md alone.

Imports nothing of the pipeline. ``python -m tests.vectors.generate_documents`` writes the files.
"""

import hmac
import json
from base64 import b64encode
from hashlib import sha256
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.core_world import CHAIN, FOLDER, NOW, REGISTRAR, Vector, controls, named, packets, secrets
from tests.vectors.generate_core import blocks, log
from tests.vectors.generate_merkle import inclusion

ALGORITHMS = {plain.ED25519: "ed25519", plain.ECDSA: "ecdsa_p256", plain.X25519: "x25519"}
ALGORITHMS |= {plain.XWING: "xwing", plain.ECDH: "ecdh_p256"}
TOKEN_ID, TOKEN_SECRET = bytes([0x80]) * 16, bytes([0x81]) * 32
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
    revoked = controls()[-1][1]
    last_offset = next(row[0] for row in log() if row[2][5:] == revoked)
    for entry, packet in enumerate(packets()):
        suite = packet["suite"]
        records = [proven("control", controls()[2 * entry][1], 2 * entry, 2 * entry)]
        if suite == 3:
            records.append(proven("control", revoked, before + len(packets()), last_offset))
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
                "records": records,
                "authorities": [],
            }
        )
    return found


def signed(kind: str, content: Vector, key: tuple[int, bytes], mac_key: bytes | None = None) -> Vector:
    """Return a signed document: the bytes of its file, and its digest; with ``mac_key`` its token's code, too."""
    message = kind.encode() + b"\0" + json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    document = {"format": kind, "content": content, "signature": plain.sign(*key, message).hex()}
    if mac_key is not None:
        document["token_mac"] = hmac.digest(mac_key, b"bkdms/access-mac/v1\0" + message, "sha256").hex()
    return {"file": json.dumps(document, indent=2) + "\n", "digest": sha256(message).hexdigest()}


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
    for suite, name in SUITES.items():
        (algorithm, secret), _ = secrets(suite)
        public = plain.signing_public(algorithm, secret)
        fingerprint = plain.fingerprint(plain.SITE, algorithm, public)
        claim = CHAIN + fingerprint + named(suite)["site_id"] + b"US/unlocode:USMES"
        possession = plain.sign(algorithm, secret, b"bkdms/possession/v1\0" + claim)
        content = _asked(suite) | {
            "algorithm": ALGORITHMS[algorithm],
            "public": public.hex(),
            "possession": possession.hex(),
            "nonce": (bytes([0x60 + suite]) * 32).hex(),
            "time_ms": NOW,
            "manifest": {
                "agent": "0.1.0",
                "modules": ["bkdms-site"],
                "sensors": ["loop-1", "loop-2"],
                "suites": [name],
            },
            "bundle": (bytes([0x70]) * 32).hex(),
            "token": TOKEN_ID.hex(),
            "csr": "",
            "former": "",
        }
        mac_key = hmac.digest(TOKEN_SECRET, b"bkdms/access-token/v1\0" + CHAIN + TOKEN_ID, "sha256")
        made = signed("bkdms-access-request/v2", content, (algorithm, secret), mac_key)
        token = f"bkdms-token.v1.{TOKEN_ID.hex()}.{TOKEN_SECRET.hex()}"
        found.append({"suite": suite, "token": token} | made)
    return found


def access_answers() -> list[Vector]:
    """Return the registrar's answer to each site."""
    found = []
    registrar = plain.signing_public(plain.ED25519, REGISTRAR)
    for suite, request in zip(SUITES, access_requests(), strict=True):
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
            "request": request["digest"],
            "issued_ms": NOW + 1000,
            "expires_ms": NOW + 10**9,
            "certificate": "",
            "former_until_ms": 0,
        }
        key = (plain.ED25519, REGISTRAR)
        found.append({"suite": suite} | signed("bkdms-access-answer/v2", content, key))
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
