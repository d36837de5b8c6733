"""Portable proofs written a second time, for test vectors: a small ledger whose every part can be made to lie.

Rests on ``plain_core``; imports nothing of the pipeline. Packets hold fixed bytes where a real one is sealed, since
nobody opens them, so that the same case gives the same bytes.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.core_world import NOW, PERIOD, named, secrets
from tests.vectors.generate_certificate import line, verifier_key
from tests.vectors.generate_merkle import inclusion, root

URL, TOPIC = "https://proofs.example/city", "kpi.chain.v1"
REGISTRAR, ROOT, LOG = (bytes([n]) * 32 for n in (0x61, 0x62, 0x63))
NODES = {f"node-{n}": bytes([0x70 + n]) * 32 for n in range(4)}
SEED = bytes([0x51]) * 32
TIME_S = NOW // 1000
FIRST_OFFSET = 100
SUITE_NAMES = {1: "xwing", 2: "light", 3: "p256"}
KINDS = {"packet": 1, "control": 2, "header": 3}

Fields = dict[str, Any]


def text64(data: bytes) -> str:
    """Return base64."""
    return b64encode(data).decode()


def genesis(rules: Fields) -> bytes:
    """Return the bytes of a genesis file with one node; ``rules`` replace terms of the contract."""

    def key(secret: bytes) -> Fields:
        return {"algorithm": "ed25519", "public": plain.signing_public(plain.ED25519, secret).hex()}

    node = plain.signing_public(plain.ED25519, NODES["node-0"]).hex()
    terms = {
        "version": 1,
        "period_ms": PERIOD,
        "max_packet": 61_440,
        "max_entries": 4096,
        "max_block": 880_000,
        "max_sequence_jump": 1_000_000,
        "skew_ms": 300_000,
        "max_age_ms": 2_592_000_000,
        "suites": [{"suite": name, "expires_ms": 0} for name in SUITE_NAMES.values()],
    }
    document = {
        "format": "bkdms-genesis/v1",
        "url": URL,
        "chain_log": {"topic": TOPIC, "partition": 0, "incarnation": 1},
        "roots": {"threshold": 1, "keys": [key(ROOT)]},
        "registrars": [key(REGISTRAR)],
        "nodes": [{"name": "node-0", "ed25519": node}],
        "quorum": 1,
        "log_key": key(LOG),
        "rules_version": 1,
        "contract": terms | rules,
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


@dataclass
class Ledger:
    """One block that holds what a packet's proof needs. Each field is a place to lie in; the quorum signs it all.

    ``order`` gives the leaves: names of entries, numbers for so many fillers. ``packet``, ``enrol``, ``offer``,
    ``grant``, ``header`` and ``control`` replace fields; ``site_secret`` and ``registrar`` are who signs, ``kinds`` is
    what entries stand in the tree as.
    """

    suite: int = 2
    rules: Fields = field(default_factory=dict)
    order: Sequence[str | int] = ("enrol", "offer", "packet", "header")
    records: Sequence[bytes] = ()
    packet: Fields = field(default_factory=dict)
    site_secret: tuple[int, bytes] | None = None
    possession_secret: tuple[int, bytes] | None = None
    registrar: bytes = REGISTRAR
    enrol: Fields = field(default_factory=dict)
    offer: Fields = field(default_factory=dict)
    grant: Fields = field(default_factory=dict)
    control: Fields = field(default_factory=dict)
    header: Fields = field(default_factory=dict)
    packet_time: int = NOW + 5
    edit_packet: Callable[[bytes], bytes] = bytes
    kinds: dict[str, int] = field(default_factory=dict)
    cosigners: Sequence[str] = ("node-0",)

    def __post_init__(self) -> None:
        self.genesis = genesis(self.rules)
        self.chain = plain.digest(self.genesis)
        self.origin = f"proofs.example/city/{self.chain[:4].hex()}"
        self.name = named(self.suite)
        (self.signing, self.site), (self.sealing, self.platform) = secrets(self.suite)
        self.records = self.records or [record(self.suite, number) for number in range(5)]
        self._grow()

    def _grow(self) -> None:
        """Lay out the leaves: (kind, offset, time, payload) each, and where the named ones are."""
        self.leaves: list[tuple[int, int, int, bytes]] = []
        self.place: dict[str, int] = {}
        for item in self.order:
            for number in range(item if isinstance(item, int) else 1):
                offset = FIRST_OFFSET + len(self.leaves)
                if isinstance(item, int):
                    self.leaves.append((1, offset, NOW, b"filler %d" % number))
                    continue
                self.place[item] = len(self.leaves)
                if item == "packet":
                    kind = self.kinds.get(item, 1)
                    self.leaves.append((kind, offset, self.packet_time, self.edit_packet(self._packet())))
                elif item == "header":
                    fields = self._header()
                    encoded = plain.avro("Header", fields)
                    self.leaves.append((3, fields["source"]["next"], fields["period_end"], encoded))
                else:
                    self.leaves.append((self.kinds.get(item, 2), offset, NOW, self._control(item)))
        self.hashes = [plain.leaf(*leaf) for leaf in self.leaves]
        self.root = root(self.hashes)

    def site_key(self) -> bytes:
        """Return the fingerprint of the enrolled key."""
        return plain.fingerprint(plain.SITE, self.signing, plain.signing_public(self.signing, self.site))

    def _packet(self) -> bytes:
        reader = plain.fingerprint(
            plain.PLATFORM, self.sealing, plain.sealing_public(self.sealing, self.platform)
        )
        fields = self.name | {
            "version": 1,
            "chain": self.chain,
            "site_key": self.site_key(),
            "module_id": "module-1",
            "sequence": 7,
            "previous_packet": bytes(32),
            "collected_from": NOW,
            "collected_to": NOW + 4,
            "record_count": len(self.records),
            "suite": self.suite,
            "recipients": [{"key": reader, "sealed_key": bytes([0x5A]) * 80}],
            "encrypted_kpi_data": bytes([0x5B]) * 64,
            "signature": bytes(64),
        }
        fields |= self.packet
        fields.setdefault("digest", root(plain.record_leaves(fields, SEED, list(self.records))))
        signed = plain.avro("Packet", fields)[:-64]
        return signed + plain.sign(
            *(self.site_secret or (self.signing, self.site)), b"bkdms/packet/v1\0" + signed
        )

    def _control(self, item: str) -> bytes:
        action, name, body = {"enrol": self._enrol, "offer": self._offer, "grant": self._grant}[item]()
        chain = self.control.get("chain", self.chain)
        sequence = ("", "enrol", "offer", "grant").index(item)
        return plain.control(chain, self.registrar, sequence, bytes(32), action, plain.avro(name, body))[0]

    def _enrol(self) -> tuple[int, str, Fields]:
        public = plain.signing_public(self.signing, self.site)
        body = self.name | {
            "algorithm": self.signing,
            "signing_key": public,
            "suites": [self.suite],
            "indicators": ["LOCAL:TRAFFIC_SPEED"],
            "equipment": [bytes(15) + b"\7"],
        }
        body |= self.enrol
        key = plain.fingerprint(plain.SITE, body["algorithm"], body["signing_key"])
        place = f"{body['country']}/{body['city']}".encode()
        claim = b"bkdms/possession/v1\0" + self.chain + key + body["site_id"] + place
        body["possession"] = plain.sign(*(self.possession_secret or (self.signing, self.site)), claim)
        return 1, "Enrol", body

    def _offer(self) -> tuple[int, str, Fields]:
        public = plain.sealing_public(self.sealing, self.platform)
        fields = {"epoch": 1, "algorithm": self.sealing, "public_key": public, "valid_to": NOW + 10**9}
        return 4, "KeyOffer", self.name | fields | self.offer

    def _grant(self) -> tuple[int, str, Fields]:
        fields = {"collected_from": 0, "collected_to": NOW + 10**6, "expires": NOW + 10**6}
        return 3, "BackfillGrant", self.name | fields | self.grant

    def _header(self) -> Fields:
        count = len(self.leaves)
        contract = json.loads(self.genesis)["contract"]
        terms = {name.removesuffix("_ms"): value for name, value in contract.items()}
        codes = {name: code for code, name in SUITE_NAMES.items()}
        terms["suites"] = [
            {"suite": codes[term["suite"]], "expires": term["expires_ms"]} for term in contract["suites"]
        ]
        source = {
            "incarnation": 1,
            "topic": TOPIC,
            "partition": 0,
            "first": FIRST_OFFSET,
            "next": FIRST_OFFSET + count,
        }
        fields: Fields = {
            "version": 1,
            "rules_version": 1,
            "chain": self.chain,
            "chain_id": URL,
            "height": 3,
            "period_start": NOW,
            "period_end": NOW + PERIOD,
            "part": 0,
            "previous_hash": bytes(32),
            "first_index": 0,
            "entry_count": count,
            "entries_root": bytes(32),
            "log_digest": bytes(32),
            "contract_hash": plain.digest(b"bkdms/contract/v1\0", plain.avro("Contract", terms)),
        }
        changes = dict(self.header)
        source |= changes.pop("source", {})
        return fields | {"source": source} | changes

    def entry(self, name: str) -> Fields:
        """Return the JSON of a proven entry."""
        index = self.place[name]
        kind, offset, time, payload = self.leaves[index]
        return {
            "kind": {number: kind for kind, number in KINDS.items()}[kind],
            "payload": text64(payload),
            "leaf_index": index,
            "log_offset": offset,
            "broker_time": time,
            "path": self.path(index),
        }

    def path(self, index: int) -> list[str]:
        """Return the inclusion path of a leaf."""
        return list(map(text64, inclusion(index, self.hashes)))

    def disclosed(self, *indexes: int) -> list[Fields]:
        """Return the JSON of disclosed records."""
        fields = self.name | {"chain": self.chain, "site_key": self.site_key(), "sequence": 7}
        leaves = plain.record_leaves(fields, SEED, list(self.records))
        salts = plain.salts(SEED, len(self.records))
        return [
            {
                "index": index,
                "record": text64(self.records[index]),
                "salt": text64(salts[index]),
                "path": list(map(text64, inclusion(index, leaves))),
            }
            for index in indexes
        ]

    def evidence(self, *indexes: int) -> Fields:
        """Return the evidence document with these records disclosed."""
        header = self.place["header"]
        return {
            "format": "bkdms-proof/v1",
            "genesis": text64(self.genesis),
            "entry": self.entry("packet"),
            "header": {"payload": text64(self.leaves[header][3]), "path": self.path(header)},
            "enrolment": self.entry("enrol"),
            "key_offer": self.entry("offer"),
            "grant": self.entry("grant") if "grant" in self.place else None,
            "disclosed": self.disclosed(*indexes),
        }

    def note(self, more: Callable[[str], str] = str) -> str:
        """Return the checkpoint signed by the log and the cosigners; ``more`` adds lines to it."""
        body = f"{self.origin}\n{len(self.leaves)}\n{text64(self.root)}\n"
        found = f"{body}\n" + line(self.origin, 1, LOG, body.encode())
        for name in self.cosigners:
            message = f"cosignature/v1\ntime {TIME_S}\n{body}".encode()
            found += line(name, 4, NODES[name], message, TIME_S.to_bytes(8, "big"))
        return found if more is str else found + more(body)

    def policy(self, needed: int | str = 1, nodes: int = 1) -> str:
        """Return a policy of the log and so many nodes, of which ``needed`` must have cosigned."""
        lines = [f"log {verifier_key(self.origin, 1, LOG)}"]
        names = list(NODES)[:nodes]
        lines += [f"witness {name} {verifier_key(name, 4, NODES[name])}" for name in names]
        return "\n".join([*lines, f"group nodes {needed} {' '.join(names)}", "quorum nodes"]) + "\n"

    def proof(self, evidence: Fields | None = None, note: str | None = None) -> str:
        """Return the tlog-proof."""
        packet = self.place["packet"]
        document = encoded(self.evidence() if evidence is None else evidence)
        lines = ["c2sp.org/tlog-proof@v1", f"extra {text64(document)}", f"index {packet}", *self.path(packet)]
        return "".join(f"{item}\n" for item in lines) + "\n" + (note or self.note())


def encoded(evidence: Fields) -> bytes:
    """Return the one form of an evidence document."""
    return json.dumps(evidence, sort_keys=True, separators=(",", ":")).encode()


def flipped(data: bytes, at: int) -> bytes:
    """Return the bytes with the lowest bit of one of them changed."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)
