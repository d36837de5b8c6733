"""Golden vectors of the core's structures, made by ``plain_core`` and not by the code under test.

``python -m tests.vectors.generate_core`` writes all files but the packets, whose sealing is random: those are made
once, with ``--seal``, and have to stay readable for ever.
"""

import json
import sys
from base64 import b64encode
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.core_world import (
    CHAIN,
    FOLDER,
    NODES,
    NOW,
    ORIGIN,
    PERIOD,
    REGISTRAR,
    TOPIC,
    URL,
    Vector,
    contract,
    controls,
    genesis,
    packets,
    record,
    sealed_packet,
)
from tests.vectors.generate_certificate import line
from tests.vectors.generate_merkle import root

ADMITTED, TICK, DUPLICATE, EMPTY, MALFORMED = 0, 1, 2, 17, 19
PACKET_KIND, CONTROL_KIND, HEADER_KIND = 1, 2, 3


def log() -> list[tuple[int, int, bytes, int]]:
    """Return (offset, time, value, outcome) of the chain log: control records, packets, then the revocation."""
    let_in = [(plain.framed("Control", raw), ADMITTED) for _, raw, _ in controls()[:-1]]
    sent = [plain.framed("Packet", bytes.fromhex(item["raw"])) for item in packets()]
    last = plain.framed("Control", controls()[-1][1])
    first = [*let_in, (b"", EMPTY)]
    second = [
        *((value, ADMITTED) for value in sent),
        (sent[0], DUPLICATE),
        (sent[1][:-1], MALFORMED),
        (last, ADMITTED),
    ]
    tick = plain.framed("Tick", b"")
    rows = [(NOW, item) for item in first] + [(NOW + PERIOD, item) for item in second]
    rows.append((NOW + 2 * PERIOD, (tick, TICK)))
    return [(offset, time, value, outcome) for offset, (time, (value, outcome)) in enumerate(rows)]


def blocks() -> list[Vector]:
    """Return the two blocks of the log, each with its checkpoint, certificate and storage records."""
    tree: list[bytes] = []
    previous, chain_bytes, found = CHAIN, 0, []
    for height, period in enumerate((NOW, NOW + PERIOD), 1):
        rows = [row for row in log() if row[1] == period]
        block = _block(height, previous, rows, len(tree))
        tree += [bytes.fromhex(item) for item in block["leaves"]]
        previous = bytes.fromhex(block["hash"])
        block |= _certified(tree) | {"storage": _storage(block, chain_bytes)}
        chain_bytes += len(block["encoded"]) // 2
        found.append(block)
    return found


def _block(height: int, previous: bytes, rows: list[tuple[int, int, bytes, int]], first_index: int) -> Vector:
    entries: list[dict[str, Any]] = [
        {
            "kind": PACKET_KIND if value[4] == 1 else CONTROL_KIND,
            "offset": offset,
            "time": time,
            "payload": value[5:],
        }
        for offset, time, value, outcome in rows
        if outcome == ADMITTED
    ]
    leaves = [plain.leaf(e["kind"], e["offset"], e["time"], e["payload"]) for e in entries]
    period, after = rows[0][1], rows[-1][0] + 1
    consumed = [plain.u64(o) + plain.u64(t) + plain.digest(v) + bytes([outcome]) for o, t, v, outcome in rows]
    header: dict[str, Any] = {
        "version": 1,
        "rules_version": 1,
        "chain": CHAIN,
        "chain_id": URL,
        "height": height,
        "period_start": period,
        "period_end": period + PERIOD,
        "part": 0,
        "previous_hash": previous,
        "first_index": first_index,
        "entry_count": len(entries),
        "entries_root": root(leaves),
        "source": {"incarnation": 1, "topic": TOPIC, "partition": 0, "first": rows[0][0], "next": after},
        "log_digest": plain.digest(b"bkdms/log/v1\0", *consumed),
        "contract_hash": plain.digest(b"bkdms/contract/v1\0", contract()),
    }
    header_bytes = plain.avro("Header", header)
    leaves.append(plain.leaf(HEADER_KIND, after, period + PERIOD, header_bytes))
    return {
        "height": height,
        "header": header_bytes.hex(),
        "hash": plain.digest(b"bkdms/block/v1\0", header_bytes).hex(),
        "leaves": [item.hex() for item in leaves],
        "entries_root": header["entries_root"].hex(),
        "log_digest": header["log_digest"].hex(),
        "encoded": plain.avro("Block", {"header": header, "entries": entries}).hex(),
    }


def _certified(tree: list[bytes]) -> Vector:
    body = f"{ORIGIN}\n{len(tree)}\n{b64encode(root(tree)).decode()}\n"
    stamp = NOW // 1000
    message = f"cosignature/v1\ntime {stamp}\n{body}".encode()
    lines = [line(name, 4, secret, message, plain.u64(stamp)) for name, secret in list(NODES.items())[:3]]
    return {"checkpoint": body, "certificate": body + "\n" + "".join(lines)}


def _storage(block: Vector, block_offset: int) -> list[str]:
    """Return the encoded Table 10-3 records of a block's packets, places found by searching the bytes."""
    encoded = bytes.fromhex(block["encoded"])
    found = []
    for packet in packets() if block["height"] == 2 else []:
        raw = bytes.fromhex(packet["raw"])
        entry = packet["suite"] - 1
        found.append(
            plain.avro(
                "StorageRecord",
                {
                    "data_recorder": {"offset": encoded.index(raw), "length": len(raw)},
                    "block_recorder": {"offset": block_offset, "length": len(encoded)},
                    "city_data": raw,
                    "chain_id": URL,
                    "tracing_code": plain.tracing_code(CHAIN, 2, entry),
                    "check_code": bytes.fromhex(block["leaves"][entry]),
                },
            ).hex()
        )
    return found


def state() -> Vector:
    """Return what the blocks leave behind: rights, positions, head."""
    known, last = packets(), controls()[-1]
    tree_size = sum(len(block["leaves"]) for block in blocks())
    return {
        "sites": {item["site_key"]: item["suite"] != 3 for item in known},
        "positions": {item["site_key"]: [7, item["packet_id"]] for item in known},
        "offers": {item["site_key"]: [[1, item["platform_key"], NOW + 10**9]] for item in known},
        "grants": [[0, NOW, NOW + 10**9]],
        "issuer": [len(controls()), last[2].hex()],
        "height": 2,
        "next_offset": log()[-1][0],
        "tree_size": tree_size,
    }


def files() -> dict[str, str]:
    """Return names and contents of the files that are the same in every run."""
    codes = [(CHAIN, 1, 0), (bytes(32), 31, 32), (b"\xff" * 32, 2**63 - 1, 4095)]
    key = plain.fingerprint(plain.REGISTRAR, plain.ED25519, plain.signing_public(plain.ED25519, REGISTRAR))
    vectors: dict[str, Any] = {
        "core_packets.json": packets(),
        "core_record.json": {"time": NOW + 2, "unscaled": -246, "raw": record(2, 2).hex()},
        "core_contract.json": {
            "raw": contract().hex(),
            "hash": plain.digest(b"bkdms/contract/v1\0", contract()).hex(),
        },
        "core_genesis.json": {"file": genesis().decode(), "chain": CHAIN.hex(), "origin": ORIGIN},
        "core_control.json": {
            "secret": REGISTRAR.hex(),
            "issuer": key.hex(),
            "records": [
                {"action": action, "raw": raw.hex(), "id": identifier.hex()}
                for action, raw, identifier in controls()
            ],
        },
        "core_block.json": {
            "log": [[o, t, v.hex(), outcome] for o, t, v, outcome in log()],
            "blocks": blocks(),
            "state": state(),
        },
        "core_tracing.json": [
            {"chain": c[:5].hex(), "height": h, "entry": e, "code": plain.tracing_code(c, h, e)}
            for c, h, e in codes
        ],
    }
    return {name: json.dumps(value, indent=1) + "\n" for name, value in vectors.items()}


if __name__ == "__main__":
    if "--seal" in sys.argv[1:]:
        fresh = [sealed_packet(suite) for suite in plain.SUITES]
        (FOLDER / "core_packets.json").write_text(json.dumps(fresh))
    for file_name, content in files().items():
        (FOLDER / file_name).write_text(content)
