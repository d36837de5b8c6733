"""Accept and reject vectors of portable proofs, made by ``proof_case`` and not by the code under test.

``python -m tests.vectors.generate_proofs`` writes three files. ``proof_accept.json``: policies and proofs that hold.
``proof_lies.json``: proofs of ledgers whose quorum signed what it should not have. ``proof_edits.json``: one good
proof and edits of it that have to be refused (``proof_edits.py``). ML-DSA-44 signatures are randomised: those
that are in the accept file stay as long as they fit.
"""

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from tests.vectors import plain_core as plain
from tests.vectors.core_world import FOLDER, NOW, PERIOD
from tests.vectors.generate_certificate import key_id, line, verifier_key
from tests.vectors.proof_bodies import LOG, NODES, Fields, record, text64
from tests.vectors.proof_case import TIME_S, Ledger, flipped
from tests.vectors.proof_changes import changed, changed_wrongly, fewer_indicators
from tests.vectors.proof_edits import base, edits

DAY = 86_400_000
GRANTED = ("enrol", "offer", "grant", "packet", "header")
OLD = {"collected_from": NOW - 60 * DAY, "collected_to": NOW - 59 * DAY}
OUTSIDE = {f"outside-{n}": bytes([0x78 + n]) * 32 for n in range(2)}
ACCEPT, LIES, EDITS = "proof_accept.json", "proof_lies.json", "proof_edits.json"
Case = dict[str, Any]


def _good(name: str, ledger: Ledger, *shown: int, policy: str | None = None, note: str | None = None) -> Case:
    proof = ledger.proof(ledger.evidence(*shown), note)
    return {"name": name, "policy": policy or ledger.policy(), "proof": proof}


def accepted() -> Iterator[Case]:
    """Yield what holds: every suite, trees of many sizes, disclosures, grants, policies."""
    for suite, name in ((1, "xwing"), (2, "light"), (3, "p256")):
        yield _good(f"suite {name}", Ledger(suite=suite), 0)
    for lead, gap, tail in (
        (1, 0, 0),
        (0, 2, 0),
        (0, 0, 5),
        (3, 1, 3),
        (0, 252, 0),
        (0, 252, 1),
        (251, 1, 700),
    ):
        order = (lead, "enrol", "offer", gap, "packet", "header", tail)
        yield _good(f"tree of {lead + gap + tail + 4} leaves", Ledger(order=order), 1)
    yield _good("all records of one", Ledger(records=[record(2, 1)]), 0)
    yield _good("three records of five", Ledger(), 0, 2, 4)
    other = record(2, 1, site_id=bytes(15) + b"\7")
    yield _good("a record of granted equipment", Ledger(records=[record(2, 0), other]), 1)
    yield _good("an empty extending part", Ledger(records=[record(2, 0, extending=b"")]), 0)
    yield _good("a grant for old measurements", Ledger(order=GRANTED, packet=OLD))
    yield _good("the oldest age without a grant", Ledger(packet={"collected_from": NOW + 5 - 30 * DAY}))
    yield _good("the newest time", Ledger(packet={"collected_to": NOW + 5 + 300_000}))
    terms = {"suites": [{"suite": "light", "expires_ms": NOW + 5}]}
    yield _good("the last moment of a suite", Ledger(rules=terms))
    readers = [{"key": bytes(32), "sealed_key": b"s"}, *_readers()]
    yield _good("a second reader", Ledger(packet={"recipients": readers}))
    for name, ledger in changed():
        yield _good(name, ledger, 0)
    yield from _policies()


def _readers() -> list[Fields]:
    ledger = Ledger()
    key = plain.fingerprint(2, ledger.sealing, plain.sealing_public(ledger.sealing, ledger.platform))
    return [{"key": key, "sealed_key": bytes(80)}]


def _policies() -> Iterator[Case]:
    ledger = Ledger(cosigners=list(NODES)[:3])
    yield _good("three of four nodes", ledger, policy=ledger.policy(3, 4))
    yield _good("no quorum asked for", ledger, policy=ledger.policy().replace("quorum nodes", "quorum none"))
    yield _good(
        "comments and blanks",
        ledger,
        policy="# x\n\n" + ledger.policy().replace(" ", " \t ").replace("any", "1"),
    )
    strange = ledger.note(lambda body: line("somebody", 4, bytes([1]) * 32, body.encode(), bytes(8)))
    yield _good("a line of an unknown key is ignored", ledger, note=strange)
    named = f"\u2014 {'n' * 255} {text64(bytes(5))}\n"
    yield _good("as many lines as are read, of the longest names", ledger, note=ledger.note() + named * 60)
    yield two_keys()


def two_keys() -> Case:
    """Return the case of nodes with two keys each and outside witnesses: some sign with one key, some with both."""
    ledger = Ledger(cosigners=("node-0", "node-1"))
    lines = [f"log {verifier_key(ledger.origin, 1, LOG)}"]
    for name in list(NODES)[:3]:
        lines.append(f"witness {name}-a {verifier_key(name, 4, NODES[name])}")
        public = _mldsa44(name).public_key().public_bytes_raw()
        lines.append(f"witness {name}-b {name}+{key_id(name, 6, public).hex()}+{text64(bytes([6]) + public)}")
        lines.append(f"group {name} any {name}-a {name}-b")
    lines += [f"witness {name} {verifier_key(name, 4, seed)}" for name, seed in OUTSIDE.items()]
    lines += [
        "group nodes all node-0 node-1 node-2",
        f"group others 1 {' '.join(OUTSIDE)}",
        "group both all nodes others",
    ]

    def more(body: str) -> str:
        message = f"cosignature/v1\ntime {TIME_S}\n{body}".encode()
        outside = line("outside-1", 4, OUTSIDE["outside-1"], message, TIME_S.to_bytes(8, "big"))
        return outside + "".join(_mldsa44_line(ledger, name) for name in ("node-1", "node-2"))

    policy = "\n".join([*lines, "quorum both"]) + "\n"
    return _good("two keys a node, outside witnesses", ledger, policy=policy, note=ledger.note(more))


def _mldsa44(name: str) -> MLDSA44PrivateKey:
    return MLDSA44PrivateKey.from_seed_bytes(plain.digest(NODES[name]))


def _mldsa44_line(ledger: Ledger, name: str) -> str:
    """Return a node's ML-DSA-44 cosignature line: the one in the stored vectors where it is good, else a new one."""
    public = _mldsa44(name).public_key()
    stamp, head = TIME_S.to_bytes(8, "big"), key_id(name, 6, public.public_bytes_raw())
    names = b"".join(
        bytes([len(item)]) + item + add
        for item, add in ((name.encode(), stamp), (ledger.origin.encode(), b""))
    )
    message = b"subtree/v1\n\0" + names + bytes(8) + len(ledger.leaves).to_bytes(8, "big") + ledger.root
    start = f"\u2014 {name} "
    stored = (FOLDER / ACCEPT).read_text() if (FOLDER / ACCEPT).exists() else "[]"
    for case in json.loads(stored):
        for found in case["proof"].splitlines():
            data = b64decode(found.removeprefix(start)) if found.startswith(start) else b""
            if data[:12] == head + stamp:
                try:
                    public.verify(data[12:], message)
                except InvalidSignature:
                    continue
                return f"{found}\n"
    return f"{start}{text64(head + stamp + _mldsa44(name).sign(message))}\n"


def lies() -> Iterator[Case]:
    """Yield proofs of ledgers that a lying quorum certified."""
    stranger, ecdsa = (1, bytes([0x99]) * 32), (2, bytes([0x98]) * 32)
    high = lambda raw: raw[:-32] + (plain.ORDER - int.from_bytes(raw[-32:], "big")).to_bytes(32, "big")  # noqa: E731
    made: list[tuple[str, str, Ledger]] = [
        ("signed by another key", "signature", Ledger(site_secret=stranger)),
        ("high s", "signature", Ledger(suite=3, edit_packet=high)),
        (
            "a changed byte under the signature",
            "signature",
            Ledger(edit_packet=lambda raw: flipped(raw, -80)),
        ),
        ("a signature of zeros", "signature", Ledger(edit_packet=lambda raw: raw[:-64] + bytes(64))),
        ("bytes after the packet", "not_a_packet", Ledger(edit_packet=lambda raw: raw + b"\0")),
        ("a packet cut short", "not_a_packet", Ledger(edit_packet=lambda raw: raw[:-1])),
        ("a number longer than needed", "not_a_packet", Ledger(edit_packet=lambda raw: b"\x82\0" + raw[1:])),
        ("a packet of version 2", "not_a_packet", Ledger(packet={"version": 2})),
        ("collected to before from", "not_a_packet", Ledger(packet={"collected_from": NOW + 9})),
        ("a packet under the kind of control records", "not_a_packet", Ledger(kinds={"packet": 2})),
        ("an enrolment under the kind of packets", "enrolment", Ledger(kinds={"enrol": 1})),
        ("a key offer under the kind of headers", "key_offer", Ledger(kinds={"offer": 3})),
        ("a packet of another chain", "wrong_chain", Ledger(packet={"chain": bytes(32)})),
        ("a packet that names another key", "admission", Ledger(packet={"site_key": bytes(32)})),
        ("enrolled by a stranger", "enrolment", Ledger(registrar=stranger[1])),
        ("control records of another chain", "enrolment", Ledger(control={"chain": bytes(32)})),
        ("an enrolment of another site", "enrolment", Ledger(enrol={"site_id": bytes(16)})),
        ("an enrolment of another city", "enrolment", Ledger(enrol={"city": "unlocode:USSTP"})),
        ("possession proved by another key", "enrolment", Ledger(possession_secret=stranger)),
        ("an enrolled key of small order", "enrolment", Ledger(enrol={"signing_key": b"\1" + bytes(31)})),
        ("an enrolled key that signs nothing", "enrolment", Ledger(enrol={"algorithm": 3})),
        ("enrolled after the packet", "enrolment", Ledger(order=("offer", "packet", "enrol", "header"))),
        ("enrolled in a later block", "enrolment", Ledger(order=("offer", "packet", "header", "enrol"))),
        ("another enrolled key", "admission", _other_key()),
        ("a suite that the site was not granted", "admission", Ledger(enrol={"suites": [1, 3]})),
        ("a suite for another kind of key", "admission", _ecdsa_light(ecdsa)),
        ("a suite that the contract does not know", "admission", _with_suites("xwing")),
        ("an expired suite", "admission", _with_suites("light", NOW + 4)),
        (
            "too large",
            "admission",
            Ledger(rules={"max_packet": 1024}, packet={"encrypted_kpi_data": bytes(1024)}),
        ),
        ("too new", "admission", Ledger(packet={"collected_to": NOW + 6 + 300_000})),
        ("too old", "admission", Ledger(packet={"collected_from": NOW + 4 - 30 * DAY})),
        (
            "a grant for other times",
            "admission",
            Ledger(order=GRANTED, packet=OLD, grant={"collected_from": NOW - 59 * DAY}),
        ),
        (
            "a grant that ends before",
            "admission",
            Ledger(order=GRANTED, packet=OLD, grant={"collected_to": NOW - 60 * DAY}),
        ),
        ("an expired grant", "admission", Ledger(order=GRANTED, packet=OLD, grant={"expires": NOW + 4})),
        ("a grant to another site", "grant", Ledger(order=GRANTED, packet=OLD, grant={"site_id": bytes(16)})),
        (
            "a grant after the packet",
            "grant",
            Ledger(order=("enrol", "offer", "packet", "grant", "header"), packet=OLD),
        ),
        ("a grant without need", "grant", Ledger(order=GRANTED)),
        ("a key offer to another site", "key_offer", Ledger(offer={"site_id": bytes(16)})),
        ("a key offer after the packet", "key_offer", Ledger(order=("enrol", "packet", "offer", "header"))),
        (
            "sealed to a key that nobody offered",
            "key_offer",
            Ledger(packet={"recipients": [{"key": bytes(32), "sealed_key": b"s"}]}),
        ),
        ("sealed below its suite", "key_offer", _below_suite()),
        ("a header of another chain", "header", Ledger(header={"chain": bytes(32)})),
        ("a header of another URL", "header", Ledger(header={"chain_id": "https://proofs.example/town"})),
        ("rules of another version", "header", Ledger(header={"rules_version": 2})),
        ("another header version", "header", Ledger(header={"version": 2})),
        ("another chain log", "header", Ledger(header={"source": {"topic": "kpi.other.v1"}})),
        ("a header that counts fewer entries", "header", Ledger(header={"entry_count": 2})),
        ("a block that begins later", "header", Ledger(header={"first_index": 3, "entry_count": 0})),
        ("an offset before the block", "header", Ledger(header={"source": {"first": 103}})),
        ("an offset after the block", "header", Ledger(header={"source": {"next": 102}})),
        ("a packet of a period before", "header", Ledger(header={"period_start": NOW + 6})),
        (
            "a packet of a period after",
            "header",
            Ledger(packet_time=NOW + PERIOD, packet={"collected_to": NOW + 4}),
        ),
    ]
    for name, reason, ledger in made:
        yield _good(name, ledger) | {"reason": reason}
    for name, reason, ledger in changed_wrongly():
        yield _good(name, ledger) | {"reason": reason}
    yield from _bad_records()


def _other_key() -> Ledger:
    """Return a ledger whose packet is signed by, and names, another key than the enrolled one."""
    secret = bytes([0x99]) * 32
    key = plain.fingerprint(plain.SITE, 1, plain.signing_public(1, secret))
    return Ledger(packet={"site_key": key}, site_secret=(1, secret))


def _ecdsa_light(ecdsa: tuple[int, bytes]) -> Ledger:
    """Return a ledger with an enrolled ECDSA key and a packet of a suite that signs with Ed25519."""
    public = plain.signing_public(*ecdsa)
    fields = {"site_key": plain.fingerprint(plain.SITE, 2, public)}
    enrol = {"algorithm": 2, "signing_key": public}
    return Ledger(enrol=enrol, packet=fields, site_secret=ecdsa, possession_secret=ecdsa)


def _with_suites(name: str, expires: int = 0) -> Ledger:
    return Ledger(rules={"suites": [{"suite": name, "expires_ms": expires}]})


def _below_suite() -> Ledger:
    """Return a ledger with a packet that says xwing and is sealed to a classical key."""
    light = Ledger()
    public = plain.sealing_public(light.sealing, light.platform)
    reader = {"key": plain.fingerprint(2, light.sealing, public), "sealed_key": bytes(80)}
    return Ledger(
        suite=1, offer={"algorithm": light.sealing, "public_key": public}, packet={"recipients": [reader]}
    )


def _bad_records() -> Iterator[Case]:
    """Yield disclosures of records that are in the packet and still not to be believed."""
    bad = {
        "no record": b"\0" * 40,
        "bytes after the record": record(2, 1) + b"\0",
        "a record of another city": record(2, 1, city="unlocode:USSTP"),
        "a record of another site": record(2, 1, site_id=bytes(16)),
        "a record before the packet's times": record(2, 1, time=NOW - 1),
        "a record after the packet's times": record(2, 1, time=NOW + 5),
        "an indicator that was not granted": record(
            2,
            1,
            kpi_data=[
                {"indicator": "LOCAL:OTHER", "data_point": "", "unscaled": 1, "scale": 0, "unit": "HM"}
            ],
        ),
    }
    for name, data in bad.items():
        yield _good(name, Ledger(records=[record(2, 0), data]), 1) | {"reason": "record"}
    yield _good("an indicator that was taken back", fewer_indicators(), 1) | {"reason": "record"}


def files() -> dict[str, str]:
    """Return the vector files' names and contents."""
    found: dict[str, Any] = {
        ACCEPT: list(accepted()),
        LIES: list(lies()),
        EDITS: {"base": base(), "edits": list(edits())},
    }
    return {name: json.dumps(content, indent=1) + "\n" for name, content in found.items()}


if __name__ == "__main__":
    for file_name, content in files().items():
        (FOLDER / file_name).write_text(content)
