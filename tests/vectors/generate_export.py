"""What an exported log is made of, from the text of C2SP tlog-tiles and of our formats: tiles, policy, file of blocks.

Imports nothing of the pipeline. ``python -m tests.vectors.generate_export`` writes the files.
"""

import json
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from typing import Any

import fastavro
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from schemas import schema
from tests.vectors import plain_core as plain
from tests.vectors.core_world import CHAIN, FOLDER, LOG, NODES, genesis
from tests.vectors.generate_certificate import key_id, verifier_key
from tests.vectors.generate_core import blocks
from tests.vectors.generate_merkle import root

Files = dict[str, bytes]
SIZES = (1, 3, 255, 256, 257, 513, 65_537)
INDEXES = (0, 7, 255, 999, 1000, 1_234_067, 10**9)
LISTED_SIZE = 513
"""Up to this size each file of a log is listed; above it one digest stands for all."""
GROUP = "accounting-nodes"


def entry(number: int) -> bytes:
    """Return a made-up entry, of a length from 0 to 300 bytes."""
    return (b"entry-%d/" % number * 40)[: number * 7 % 301]


def number_path(number: int) -> str:
    """Return a tile's number in groups of three digits, all but the last with an x."""
    digits = str(number)
    digits = digits.rjust(-(-len(digits) // 3) * 3, "0")
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def tile_files(count: int) -> Files:
    """Return every tile and bundle of the log of the first entries, by path."""
    entries = [entry(i) for i in range(count)]
    found: Files = {}
    for number, part in _rows(entries):
        bundle = b"".join(len(item).to_bytes(2, "big") + item for item in part)
        found[f"tile/entries/{number_path(number)}{_partial(part)}"] = bundle
    hashes, level = [sha256(b"\x00" + item).digest() for item in entries], 0
    while hashes:
        for number, part in _rows(hashes):
            found[f"tile/{level}/{number_path(number)}{_partial(part)}"] = b"".join(part)
        hashes = [root(part) for _, part in _rows(hashes) if len(part) == 256]
        level += 1
    return found


def _rows(items: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    for number in range(-(-len(items) // 256)):
        yield number, items[256 * number : 256 * (number + 1)]


def _partial(part: list[bytes]) -> str:
    return "" if len(part) == 256 else f".p/{len(part)}"


def listing(files: Files) -> dict[str, str]:
    """Return path and SHA-256 of each file, sorted by path."""
    return {path: sha256(content).hexdigest() for path, content in sorted(files.items())}


def summary(files: Files) -> str:
    """Return one digest over all files."""
    return sha256(json.dumps(listing(files)).encode()).hexdigest()


def tiles() -> dict[str, Any]:
    """Return paths, and the files of logs of several sizes."""
    logs: list[dict[str, Any]] = []
    for size in SIZES:
        files = tile_files(size)
        log: dict[str, Any] = {"size": size, "all": summary(files)}
        logs.append(log | ({"files": listing(files)} if size <= LISTED_SIZE else {}))
    paths = [
        [level, n, width, _tile_path(level, n, width)] for n in INDEXES for level, width in ((0, 256), (1, 7))
    ]
    paths += [[-1, n, width, _tile_path(-1, n, width)] for n in INDEXES for width in (256, 255)]
    return {"paths": paths, "logs": logs, "small": {p: c.hex() for p, c in sorted(tile_files(3).items())}}


def _tile_path(level: int, number: int, width: int) -> str:
    name = "entries" if level < 0 else str(level)
    return f"tile/{name}/{number_path(number)}" + ("" if width == 256 else f".p/{width}")


def seed_of(name: str) -> bytes:
    """Return the seed of a node's ML-DSA-44 key."""
    return sha256(f"{name}/mldsa44".encode()).digest()


def mldsa44_public(name: str) -> bytes:
    """Return a node's ML-DSA-44 public key."""
    return MLDSA44PrivateKey.from_seed_bytes(seed_of(name)).public_key().public_bytes_raw()


def two_keys_genesis() -> bytes:
    """Return the genesis file of the other vectors with a second key for each node."""
    document = json.loads(genesis())
    document["nodes"] = [node | {"mldsa44": mldsa44_public(node["name"]).hex()} for node in document["nodes"]]
    return (json.dumps(document, indent=2) + "\n").encode()


def policy() -> dict[str, Any]:
    """Return that genesis file, and the policy for auditors that follows from it."""
    file = two_keys_genesis()
    chain = plain.digest(file)
    origin = f"vectors.example/city/{chain[:4].hex()}"
    lines = [f"# chain {chain.hex()}", f"log {verifier_key(origin, 1, LOG)}"]
    for name, seed in NODES.items():
        public = mldsa44_public(name)
        second = f"{name}+{key_id(name, 6, public).hex()}+{b64encode(bytes([6]) + public).decode()}"
        lines.append(f"witness {name}-ed25519 {verifier_key(name, 4, seed)}")
        lines.append(f"witness {name}-mldsa44 {second}")
        lines.append(f"group {name} any {name}-ed25519 {name}-mldsa44")
    lines += [f"group {GROUP} 3 {' '.join(NODES)}", f"quorum {GROUP}"]
    text = "".join(f"{item}\n" for item in lines)
    return {"genesis": file.decode(), "chain": chain.hex(), "origin": origin, "policy": text}


def blocks_file() -> dict[str, Any]:
    """Return the container file of the two golden blocks, by another writer of the same library."""
    parsed = schema("CertifiedBlock").parsed
    records = []
    for block in blocks():
        body = bytes.fromhex(block["encoded"]) + plain.blob(block["certificate"].encode())
        records.append(fastavro.schemaless_reader(BytesIO(body), parsed, None))
    out = BytesIO()
    fastavro.writer(out, parsed, records, codec="null", sync_marker=CHAIN[:16])
    content = out.getvalue()
    return {"bytes": len(content), "sha256": sha256(content).hexdigest(), "sync": CHAIN[:16].hex()}


def files() -> dict[str, str]:
    """Return names and contents of the vector files."""
    vectors = {"tiles.json": tiles(), "policy_text.json": policy(), "blocks_file.json": blocks_file()}
    return {name: json.dumps(value, indent=1) + "\n" for name, value in vectors.items()}


if __name__ == "__main__":
    for file_name, content in files().items():
        (FOLDER / file_name).write_text(content)
