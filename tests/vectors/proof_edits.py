"""Edits of one good portable proof, each of which every checker has to refuse.

Made from ``proof_case``; imports nothing of the pipeline. Each edit is a splice of one part: ``policy``, ``proof``, or
``evidence``, the decoded extra line: it cuts ``cut`` characters at ``at`` and puts ``put`` in their place.
"""

import json
from base64 import b64decode
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.generate_certificate import line, verifier_key
from tests.vectors.proof_bodies import LOG, NODES, record, text64
from tests.vectors.proof_case import SEED, Ledger, encoded, flipped

Case = dict[str, Any]
BASE = Ledger(order=("enrol", "offer", 2, "packet", "header", 2), cosigners=list(NODES)[:3])
SHOWN = (1, 3)


def base() -> dict[str, str]:
    """Return the good proof that the edits start from, in its parts."""
    evidence = BASE.evidence(*SHOWN)
    return {
        "policy": BASE.policy(3, 4),
        "proof": BASE.proof(evidence),
        "evidence": encoded(evidence).decode(),
    }


def edits() -> Iterator[Case]:
    """Yield edits of the base's parts, each of which has to be refused."""
    parts = base()
    for where, found in (
        ("policy", _policy_edits()),
        ("proof", _proof_edits()),
        ("evidence", _evidence_edits()),
    ):
        for name, reason, changed in found:
            yield {"name": name, "reason": reason, "where": where, **_difference(parts[where], changed)}


def _difference(before: str, changed: str) -> Case:
    """Return the splice that makes one text of the other."""
    shorter = min(len(before), len(changed))
    at = next((i for i in range(shorter) if before[i] != changed[i]), shorter)
    tail = 0
    while tail < shorter - at and before[-1 - tail] == changed[-1 - tail]:
        tail += 1
    return {"at": at, "cut": len(before) - tail - at, "put": changed[at : len(changed) - tail]}


def _policy_edits() -> Iterator[tuple[str, str, str]]:
    policy = base()["policy"]
    log = verifier_key(BASE.origin, 1, LOG)
    yield "more cosigners needed", "policy", policy.replace("nodes 3", "nodes all")
    yield (
        "the absent node needed",
        "policy",
        policy.replace("quorum nodes", "quorum node-3").replace("group", "#group"),
    )
    yield "another log", "policy", policy.replace(log, verifier_key("other.example/log", 1, LOG))
    yield "another key of the log", "policy", policy.replace(log, verifier_key(BASE.origin, 1, bytes(32)))
    yield "no log", "policy", policy.replace("log ", "#log ", 1)
    others = policy
    for name in list(NODES)[:2]:
        others = others.replace(
            verifier_key(name, 4, NODES[name]), verifier_key(name, 4, plain.digest(NODES[name]))
        )
    yield "other keys of two nodes", "policy", others


def _proof_edits() -> Iterator[tuple[str, str, str]]:
    proof = base()["proof"]
    head, note = proof.split("\n\n", 1)
    lines, body = head.split("\n"), note.split("\n\n")[0]
    cosigned = [found for found in note.split("\n") if found.startswith("\u2014 node")]

    def joined(changed: list[str]) -> str:
        return "\n".join(changed) + "\n\n" + note

    yield "another first line", "malformed", proof.replace("proof@v1", "proof@v2", 1)
    yield "no extra line", "malformed", joined([lines[0], *lines[2:]])
    yield "an empty extra line", "malformed", joined([lines[0], "extra ", *lines[2:]])
    yield "base64 in another form", "malformed", joined([lines[0], lines[1] + "=", *lines[2:]])
    yield "no index line", "malformed", joined([*lines[:2], *lines[3:]])
    yield "an index with a zero ahead", "malformed", joined([*lines[:2], "index 04", *lines[3:]])
    yield "another index", "malformed", joined([*lines[:2], "index 3", *lines[3:]])
    yield "an index outside the tree", "malformed", joined([*lines[:2], "index 400", *lines[3:]])
    yield "a hash left out", "malformed", joined(lines[:-1])
    yield "a hash too many", "malformed", joined([*lines, lines[-1]])
    yield "two hashes swapped", "malformed", joined([*lines[:3], lines[4], lines[3], *lines[5:]])
    yield "a hash of 31 bytes", "malformed", joined([*lines[:3], text64(bytes(31)), *lines[4:]])
    yield "a blank at the end of a line", "malformed", joined([*lines[:2], lines[2] + " ", *lines[3:]])
    yield "line ends of another system", "malformed", proof.replace("\n", "\r\n")
    yield "no checkpoint", "malformed", head + "\n"
    yield "cut in the middle", "malformed", proof[: len(proof) // 3]
    yield "nothing", "malformed", ""
    size = body.split("\n")[1]
    yield "another tree size", "policy", proof.replace(f"\n{size}\n", f"\n{int(size) + 1}\n")
    yield "another root", "policy", proof.replace(text64(BASE.root), text64(bytes(32)))
    yield "another origin", "policy", proof.replace(BASE.origin, "other.example/log")
    yield (
        "not signed by the log",
        "policy",
        proof.replace(line(BASE.origin, 1, LOG, f"{body}\n".encode()), ""),
    )
    yield (
        "signed by another log key",
        "policy",
        proof.replace(
            line(BASE.origin, 1, LOG, f"{body}\n".encode()),
            line(BASE.origin, 1, bytes(32), f"{body}\n".encode()),
        ),
    )
    yield "a cosignature left out", "policy", proof.replace(cosigned[0] + "\n", "")
    yield (
        "one node three times",
        "policy",
        proof.replace(cosigned[0], cosigned[2]).replace(cosigned[1], cosigned[2]),
    )
    data = b64decode(cosigned[0].split(" ")[2])
    yield "a cosignature changed", "policy", proof.replace(text64(data), text64(flipped(data, -1)))
    yield "a cosignature at another time", "policy", proof.replace(text64(data), text64(flipped(data, 11)))
    yield (
        "a cosignature under another name",
        "policy",
        proof.replace(cosigned[0], cosigned[0].replace("node-0", "node-9")),
    )
    strange = [f"\u2014 {name} {text64(bytes(5))}\n" for name in ("somebody", "n" * 256)]
    yield "more signature lines than are read", "policy", proof + strange[0] * 61
    yield "a signer's name that no key can have", "policy", proof + strange[1]
    yield "bytes after the checkpoint", "policy", proof + "x"
    yield "no newline at the end", "policy", proof[:-1]


def _set(value: object, *path: str | int) -> str:
    """Return the base's evidence with a value put at a place in it."""
    changed = deepcopy(BASE.evidence(*SHOWN))
    inner: Any = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return encoded(changed).decode()


def _get(*path: str | int) -> Any:
    found: Any = BASE.evidence(*SHOWN)
    for name in path:
        found = found[name]
    return found


def _flip(at: int, *path: str | int) -> str:
    return _set(text64(flipped(b64decode(_get(*path)), at)), *path)


def _shorter(*path: str | int) -> str:
    return _set(_get(*path)[:-1], *path)


def _evidence_edits() -> Iterator[tuple[str, str, str]]:
    start = BASE.evidence(*SHOWN)
    yield "spaces in the document", "malformed", json.dumps(start, sort_keys=True)
    yield "another order of fields", "malformed", json.dumps(start, separators=(",", ":"))
    yield "a field too many", "malformed", _set(1, "more")
    yield "another format", "malformed", _set("bkdms-proof/v2", "format")
    yield "not JSON", "malformed", encoded(start).decode()[:-1]
    yield "a list", "malformed", "[]"
    for name in start:
        rest = {key: value for key, value in start.items() if key != name}
        yield f"no {name}", "malformed", encoded(rest).decode()
    other = BASE.genesis.replace(b'"incarnation": 1', b'"incarnation": 2')
    yield "a genesis file with a changed byte", "wrong_chain", _set(text64(other), "genesis")
    yield "no genesis file", "genesis", _set(text64(b"{}"), "genesis")
    yield "the entry at another index", "malformed", _set(3, "entry", "leaf_index")
    yield "the entry with another path", "malformed", _shorter("entry", "path")
    yield "a header with more fields", "malformed", _set("header", "header", "kind")
    yield from _entry_edits()
    for value in (False, 0.0, -0.0):  # equal to the index in many a language
        yield f"enrolment with {value!r} for an index", "malformed", _set(value, "enrolment", "leaf_index")
    yield "a record with 1.0 for an index", "malformed", _set(1.0, "disclosed", 0, "index")
    yield "a record with true for an index", "malformed", _set(True, "disclosed", 0, "index")
    swapped = start | {"enrolment": start["key_offer"], "key_offer": start["enrolment"]}
    yield "enrolment and key offer swapped", "enrolment", encoded(swapped).decode()
    yield "the enrolment for a key offer", "key_offer", _set(start["enrolment"], "key_offer")
    yield "the packet for an enrolment", "enrolment", _set(start["entry"], "enrolment")
    yield "the key offer for a grant", "grant", _set(start["key_offer"], "grant")
    yield "the enrolment for registrars", "registrars", _set([start["enrolment"]], "registrars")
    yield "the enrolment for a contract", "contract", _set(start["enrolment"], "contract")
    yield "the enrolment for an amendment", "amendment", _set([start["enrolment"]], "amendments")
    for name in ("registrars", "amendments"):
        yield f"nothing for {name}", "malformed", _set(None, name)
        yield f"more {name} than a proof carries", "malformed", _set([start["enrolment"]] * 257, name)
    yield "a list for a contract", "malformed", _set([], "contract")
    for at in (0, 40, -1):
        yield f"header with byte {at} changed", "header", _flip(at, "header", "payload")
    yield "header with a shorter path", "header", _shorter("header", "path")
    leaf = {name: start["entry"][name] for name in ("payload", "path")}
    yield "another leaf for the header", "header", _set(leaf, "header")
    yield from _disclosure_edits()


def _entry_edits() -> Iterator[tuple[str, str, str]]:
    reasons = {"entry": "not_included", "enrolment": "enrolment", "key_offer": "key_offer"}
    for name, reason in reasons.items():
        yield (
            f"{name} as another kind",
            reason,
            _set("control" if name == "entry" else "packet", name, "kind"),
        )
        for number in ("log_offset", "broker_time"):
            yield f"{name} with another {number}", reason, _set(_get(name, number) + 1, name, number)
        for at in (0, 40, -70, -1):
            yield f"{name} with byte {at} changed", reason, _flip(at, name, "payload")
        for value in (float(_get(name, "log_offset")), -1, str(_get(name, "log_offset"))):
            yield f"{name} with {value!r} for an offset", "malformed", _set(value, name, "log_offset")
        if name != "entry":
            yield f"{name} at another index", reason, _set(_get(name, "leaf_index") + 1, name, "leaf_index")
            yield f"{name} with a shorter path", reason, _shorter(name, "path")


def _disclosure_edits() -> Iterator[tuple[str, str, str]]:
    first, second = _get("disclosed")
    for name in ("record", "salt"):
        for at in (0, -1):
            yield f"{name} with byte {at} changed", "record", _flip(at, "disclosed", 0, name)
    yield "a record at another index", "record", _set(0, "disclosed", 0, "index")
    yield "a record outside the packet", "record", _set(5, "disclosed", 1, "index")
    yield "a record with a shorter path", "record", _shorter("disclosed", 0, "path")
    yield "records in another order", "record", _set([second, first], "disclosed")
    yield "a record twice", "record", _set([first, second, second], "disclosed")
    stranger = Ledger(records=[record(2, 50 + number) for number in range(5)]).disclosed(1)
    yield "a record of another packet", "record", _set(stranger, "disclosed")
    yield "a salt of 31 bytes", "malformed", _set(text64(SEED[:31]), "disclosed", 0, "salt")
    yield "a disclosure with more fields", "malformed", _set("x", "disclosed", 0, "name")


def applied(parts: dict[str, str], case: Case) -> tuple[str, str]:
    """Return policy and proof after an edit of one part."""
    before = parts[case["where"]]
    changed = before[: case["at"]] + case["put"] + before[case["at"] + case["cut"] :]
    policy = changed if case["where"] == "policy" else parts["policy"]
    proof = changed if case["where"] == "proof" else parts["proof"]
    if case["where"] == "evidence":
        proof = proof.replace(text64(before.encode()), text64(changed.encode()))
    return policy, proof
