"""Golden vectors of changes of rights and authorities: one record of each kind, as a chain admits them in turn.

Made by ``plain_core``, not by the code under test: ``python -m tests.vectors.generate_changes`` writes the file.
"""

import json
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.core_world import FOLDER, NOW, PERIOD, REGISTRAR, contract, named
from tests.vectors.generate_reanchor import by_roots, keyed_genesis

NAME = "core_changes.json"
OLD, NEW = ((plain.ED25519, bytes([n]) * 32) for n in (0x31, 0x32))
SECOND, API = bytes([0x33]) * 32, bytes([0x34]) * 32
NODES = [bytes([n]) * 32 for n in (0x35, 0x36, 0x37)]
ACCESS_LOG_USE, COSIGNATURE = 7, 4
SUITE = 2


def terms(chain: bytes, key: tuple[int, bytes], indicator: str) -> dict[str, Any]:
    """Return what a site is enrolled or amended with."""
    public, name = plain.signing_public(*key), named(SUITE)
    claim = chain + plain.fingerprint(plain.SITE, key[0], public) + name["site_id"] + b"US/unlocode:USMES"
    return name | {
        "algorithm": key[0],
        "signing_key": public,
        "possession": plain.sign(*key, b"bkdms/possession/v1\0" + claim),
        "suites": [SUITE],
        "indicators": [indicator],
        "equipment": [],
    }


def bodies(chain: bytes) -> list[tuple[str, int, bytes]]:
    """Return (issuer, action, body) of the records in order."""
    old = plain.fingerprint(plain.SITE, OLD[0], plain.signing_public(*OLD))
    held = named(SUITE) | {"site_key": old, "reason": "vectors"}
    amended = terms(chain, NEW, "LOCAL:X") | {"site_key": old, "previous_until": NOW + 1000}
    second, api = (plain.signing_public(plain.ED25519, secret) for secret in (SECOND, API))
    nodes = [
        {"node": f"new-{n}", "algorithm": COSIGNATURE, "key": plain.signing_public(plain.ED25519, secret)}
        for n, secret in enumerate(NODES)
    ]
    head = {"count": 12, "head": bytes([7]) * 32, "time": NOW}
    return [
        ("registrar", 1, plain.avro("Enrol", terms(chain, OLD, "LOCAL:TRAFFIC_SPEED"))),
        ("registrar", 6, plain.avro("Suspend", held)),
        ("registrar", 7, plain.avro("Resume", held)),
        ("registrar", 8, plain.avro("Amend", amended)),
        ("registrar", 13, plain.avro("AccessLogKey", {"algorithm": plain.ED25519, "public_key": api})),
        ("api", 14, plain.avro("AccessLogHead", head)),
        ("roots", 9, plain.avro("Registrars", {"keys": [{"algorithm": plain.ED25519, "key": second}]})),
        ("roots", 10, plain.avro("Nodes", {"nodes": nodes, "quorum": 2})),
        ("roots", 11, contract(version=2)),
        ("roots", 12, plain.avro("Rules", {"version": 2})),
    ]


def content() -> str:
    """Return the content of the vector file."""
    file = keyed_genesis()
    chain = plain.digest(file)
    places: dict[str, tuple[int, bytes]] = {}
    records = []
    for issuer, action, body in bodies(chain):
        sequence, previous = places.get(issuer, (0, bytes(32)))
        if issuer == "roots":
            raw, identifier = by_roots(chain, sequence + 1, previous, action, body)
        else:
            secret, use = (REGISTRAR, plain.REGISTRAR) if issuer == "registrar" else (API, ACCESS_LOG_USE)
            raw, identifier = plain.control(chain, secret, sequence + 1, previous, action, body, use)
        places[issuer] = (sequence + 1, identifier)
        records.append({"action": action, "raw": raw.hex(), "id": identifier.hex()})
    vectors = {"genesis": file.decode(), "time": NOW, "period": PERIOD, "records": records}
    return json.dumps(vectors, indent=1) + "\n"


if __name__ == "__main__":
    (FOLDER / NAME).write_text(content())
