"""Genesis file, records and bodies of control records of ``proof_case``, written a second time for test vectors.

Imports nothing of the pipeline.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.core_world import NOW, PERIOD, named

URL, TOPIC = "https://proofs.example/city", "kpi.chain.v1"
REGISTRAR, LOG = (bytes([n]) * 32 for n in (0x61, 0x63))
ROOTS = tuple(bytes([n]) * 32 for n in (0x64, 0x65, 0x66))
THRESHOLD = 2
NODES = {f"node-{n}": bytes([0x70 + n]) * 32 for n in range(4)}
SUITE_NAMES = {1: "xwing", 2: "light", 3: "p256"}

Fields = dict[str, Any]
Key = tuple[int, bytes]
"""Algorithm and secret."""


def text64(data: bytes) -> str:
    """Return base64."""
    return b64encode(data).decode()


def terms(rules: Fields) -> Fields:
    """Return the contract as JSON; ``rules`` replace terms."""
    return {
        "version": 1,
        "period_ms": PERIOD,
        "max_packet": 61_440,
        "max_entries": 4096,
        "max_block": 880_000,
        "max_sequence_jump": 1_000_000,
        "skew_ms": 300_000,
        "max_age_ms": 2_592_000_000,
        "suites": [{"suite": name, "expires_ms": 0} for name in SUITE_NAMES.values()],
    } | rules


def contract(agreed: Fields) -> bytes:
    """Return the Avro encoding of a contract."""
    codes = {name: code for code, name in SUITE_NAMES.items()}
    fields = {name.removesuffix("_ms"): value for name, value in agreed.items()}
    suites = [{"suite": codes[term["suite"]], "expires": term["expires_ms"]} for term in agreed["suites"]]
    return plain.avro("Contract", fields | {"suites": suites})


def genesis(rules: Fields) -> bytes:
    """Return the bytes of a genesis file with one node and three root keys; ``rules`` replace terms."""

    def key(secret: bytes) -> Fields:
        return {"algorithm": "ed25519", "public": plain.signing_public(plain.ED25519, secret).hex()}

    node = plain.signing_public(plain.ED25519, NODES["node-0"]).hex()
    document = {
        "format": "bkdms-genesis/v1",
        "url": URL,
        "chain_log": {"topic": TOPIC, "partition": 0, "incarnation": 1},
        "roots": {"threshold": THRESHOLD, "keys": [key(secret) for secret in ROOTS]},
        "registrars": [key(REGISTRAR)],
        "nodes": [{"name": "node-0", "ed25519": node}],
        "quorum": 1,
        "log_key": key(LOG),
        "rules_version": 1,
        "contract": terms(rules),
    }
    return (json.dumps(document) + "\n").encode()


def record(suite: int, number: int, **changes: Any) -> bytes:
    """Return an encoded unified record of the site that uses a suite."""
    extending = {"sensor": f"sensor-{number}", "quality": 1, "source": "rows.csv"}
    kpi = {
        "indicator": "LOCAL:TRAFFIC_SPEED",
        "data_point": "",
        "unscaled": -7 * number,
        "scale": 2,
        "unit": "HM",
    }
    fields = {"time": NOW + number, "kpi_data": [kpi], "extending": plain.avro("Extending", extending)}
    return plain.avro("UnifiedRecord", named(suite) | fields | changes)


def entitlement(chain: bytes, site: Fields, suite: int, key: Key, possession: Key, changes: Fields) -> Fields:
    """Return the fields that Enrol and Amend share; ``possession`` signs the proof that the site holds the key."""
    body = site | {
        "algorithm": key[0],
        "signing_key": plain.signing_public(*key),
        "suites": [suite],
        "indicators": ["LOCAL:TRAFFIC_SPEED"],
        "equipment": [bytes(15) + b"\7"],
    }
    body |= changes
    fingerprint = plain.fingerprint(plain.SITE, body["algorithm"], body["signing_key"])
    place = f"{body['country']}/{body['city']}".encode()
    claim = b"bkdms/possession/v1\0" + chain + fingerprint + body["site_id"] + place
    return body | {"possession": plain.sign(*possession, claim)}


def registrars(*secrets: bytes) -> Fields:
    """Return the fields of a change of registrars to these."""
    return {"keys": [{"algorithm": 1, "key": plain.signing_public(1, secret)} for secret in secrets]}


def signed_by_roots(chain: bytes, secrets: Sequence[bytes], action: int, body: bytes) -> bytes:
    """Return an encoded control record that several root keys signed, the issuer first."""
    issuers = [plain.fingerprint(plain.ROOT, 1, plain.signing_public(1, secret)) for secret in secrets]
    clear = plain.long(1) + chain + issuers[0] + plain.long(1) + bytes(32) + plain.long(action)
    clear += plain.blob(body)
    lines = [
        name + plain.sign(1, secret, b"bkdms/control/v1\0" + clear)
        for name, secret in zip(issuers, secrets, strict=True)
    ]
    return clear + plain.long(len(lines)) + b"".join(lines) + b"\0"
