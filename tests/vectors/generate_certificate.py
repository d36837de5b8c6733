"""A signed and cosigned checkpoint made from the C2SP texts with hashlib and Ed25519 alone.

Imports nothing of the pipeline. ``python -m tests.vectors.generate_certificate`` writes the file.
"""

import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.vectors.generate_merkle import root

FOLDER = Path(__file__).parent
ORIGIN = "bkdms.local/city1"
LOG_SEED = bytes([7]) * 32
NODE_SEEDS = {f"node{i}.city1.example": bytes([i]) * 32 for i in (1, 2, 3, 4)}
ENTRIES = (b"kpi-0", b"kpi-1", b"kpi-2")
TIMES = {name: 1_700_000_000 + i for i, name in enumerate(NODE_SEEDS)}


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """Return the 4 bytes naming a key."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def verifier_key(name: str, kind: int, seed: bytes) -> str:
    """Return the verifier key string of a seed."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return f"{name}+{key_id(name, kind, public).hex()}+{b64encode(bytes([kind]) + public).decode()}"


def line(name: str, kind: int, seed: bytes, message: bytes, before: bytes = b"") -> str:
    """Return a signature line over ``message``, with ``before`` ahead of the signature."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    identifier = key_id(name, kind, key.public_key().public_bytes_raw())
    return f"\u2014 {name} {b64encode(identifier + before + key.sign(message)).decode()}\n"


def files() -> dict[str, str]:
    """Return the vector file's name and contents."""
    tree_root = root([sha256(b"\x00" + entry).digest() for entry in ENTRIES])
    body = f"{ORIGIN}\n{len(ENTRIES)}\n{b64encode(tree_root).decode()}\n"
    note = body + "\n" + line(ORIGIN, 1, LOG_SEED, body.encode())
    for name, seed in NODE_SEEDS.items():
        message = f"cosignature/v1\ntime {TIMES[name]}\n{body}".encode()
        note += line(name, 4, seed, message, TIMES[name].to_bytes(8, "big"))
    vector = {
        "origin": ORIGIN,
        "log_seed": LOG_SEED.hex(),
        "node_seeds": {name: seed.hex() for name, seed in NODE_SEEDS.items()},
        "times": TIMES,
        "entries": [entry.decode() for entry in ENTRIES],
        "root": tree_root.hex(),
        "log_key": verifier_key(ORIGIN, 1, LOG_SEED),
        "node_keys": [verifier_key(name, 4, seed) for name, seed in NODE_SEEDS.items()],
        "certificate": note,
    }
    return {"certificate.json": json.dumps(vector, indent=1) + "\n"}


if __name__ == "__main__":
    for file_name, content in files().items():
        (FOLDER / file_name).write_text(content)
