"""Golden vectors of a reanchor: a chain of two-of-three root keys that begins at offset 41 of its second log.

Made by ``plain_core``, not by the code under test: ``python -m tests.vectors.generate_reanchor`` writes the file.
"""

import json
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.core_world import FOLDER, NOW, PERIOD, TOPIC, URL, contract, genesis
from tests.vectors.generate_merkle import root

NAME = "core_reanchor.json"
ROOTS = [bytes([n]) * 32 for n in (0x61, 0x62, 0x63)]
OFFSET, REANCHOR_ACTION, CONTROL_KIND, HEADER_KIND = 41, 5, 2, 3


def keyed_genesis() -> bytes:
    """Return the genesis file of the other vectors with three root keys, of which two have to sign."""
    document = json.loads(genesis())
    keys = [
        {"algorithm": "ed25519", "public": plain.signing_public(plain.ED25519, secret).hex()}
        for secret in ROOTS
    ]
    return (json.dumps(document | {"roots": {"threshold": 2, "keys": keys}}, indent=2) + "\n").encode()


def reanchor(chain: bytes) -> tuple[bytes, bytes]:
    """Return the encoded record of the first and third root key, and its identifier."""
    body = plain.avro("Reanchor", {"incarnation": 2, "height": 0, "block_hash": chain})
    return by_roots(chain, 1, bytes(32), REANCHOR_ACTION, body)


def by_roots(chain: bytes, sequence: int, previous: bytes, action: int, body: bytes) -> tuple[bytes, bytes]:
    """Return an encoded record of the first and third root key, and its identifier."""
    signers = [(secret, plain.signing_public(plain.ED25519, secret)) for secret in (ROOTS[0], ROOTS[2])]
    names = [plain.fingerprint(plain.ROOT, plain.ED25519, public) for _, public in signers]
    clear = plain.long(1) + chain + names[0] + plain.long(sequence) + previous + plain.long(action)
    clear += plain.blob(body)
    lines = [
        name + plain.sign(plain.ED25519, secret, b"bkdms/control/v1\0" + clear)
        for name, (secret, _) in zip(names, signers, strict=True)
    ]
    raw = clear + plain.long(len(lines)) + b"".join(lines) + b"\0"
    return raw, plain.digest(b"bkdms/control-id/v1\0", clear)


def block(chain: bytes, record: bytes) -> dict[str, Any]:
    """Return the block of this one record."""
    value, period = plain.framed("Control", record), NOW - NOW % PERIOD
    header: dict[str, Any] = {
        "version": 1,
        "rules_version": 1,
        "chain": chain,
        "chain_id": URL,
        "height": 1,
        "period_start": period,
        "period_end": period + PERIOD,
        "part": 0,
        "previous_hash": chain,
        "first_index": 0,
        "entry_count": 1,
        "entries_root": root([plain.leaf(CONTROL_KIND, OFFSET, NOW, record)]),
        "source": {"incarnation": 2, "topic": TOPIC, "partition": 0, "first": OFFSET, "next": OFFSET + 1},
        "log_digest": plain.digest(
            b"bkdms/log/v1\0", plain.u64(OFFSET), plain.u64(NOW), plain.digest(value), b"\0"
        ),
        "contract_hash": plain.digest(b"bkdms/contract/v1\0", contract()),
    }
    entry = {"kind": CONTROL_KIND, "offset": OFFSET, "time": NOW, "payload": record}
    header_bytes = plain.avro("Header", header)
    return {
        "encoded": plain.avro("Block", {"header": header, "entries": [entry]}).hex(),
        "hash": plain.digest(b"bkdms/block/v1\0", header_bytes).hex(),
        "header_leaf": plain.leaf(HEADER_KIND, OFFSET + 1, period + PERIOD, header_bytes).hex(),
    }


def content() -> str:
    """Return the content of the vector file."""
    file = keyed_genesis()
    chain = plain.digest(file)
    raw, identifier = reanchor(chain)
    vectors = {
        "genesis": file.decode(),
        "roots": [secret.hex() for secret in ROOTS],
        "offset": OFFSET,
        "time": NOW,
        "raw": raw.hex(),
        "id": identifier.hex(),
        "block": block(chain, raw),
    }
    return json.dumps(vectors, indent=1) + "\n"


if __name__ == "__main__":
    (FOLDER / NAME).write_text(content())
