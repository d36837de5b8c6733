"""Portable proofs written a second time, for test vectors: a small ledger whose every part can be made to lie.

Rests on ``plain_core``; imports nothing of the pipeline. Packets hold fixed bytes where a real one is sealed, since
nobody opens them, so that the same case gives the same bytes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.vectors import plain_core as plain
from tests.vectors.core_world import NOW, PERIOD, named, secrets
from tests.vectors.generate_certificate import line, verifier_key
from tests.vectors.generate_merkle import inclusion, root
from tests.vectors.proof_bodies import (
    LOG,
    NODES,
    REGISTRAR,
    ROOTS,
    THRESHOLD,
    TOPIC,
    URL,
    Fields,
    Key,
    contract,
    entitlement,
    genesis,
    record,
    registrars,
    signed_by_roots,
    terms,
    text64,
)

SEED = bytes([0x51]) * 32
TIME_S = NOW // 1000
FIRST_OFFSET = 100
KINDS = {"packet": 1, "control": 2, "header": 3}
LATER = bytes([0x67]) * 32
"""The registrar whom root keys put in place of the first one."""
NEW_KEY: Key = (1, bytes([0x68]) * 32)
"""The key that an amendment gives the site."""


@dataclass
class Ledger:
    """One block that holds what a packet's proof needs. Each field is a place to lie in; the quorum signs it all.

    ``order`` gives the leaves: names of entries, numbers for so many fillers; several entries of one kind are told
    apart by what follows a hyphen. ``packet``, ``enrol``, ``offer``, ``grant``, ``header`` and ``control`` replace
    fields, ``changes`` those of any entry; ``site_secret`` and ``registrar`` are who signs, ``issuers`` and ``signers``
    who signs one entry. ``kinds`` is what entries stand in the tree as. The block begins at the leaf ``begins`` under
    the contract of the entry ``agreed``. The evidence leaves out what is ``hidden``.
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
    changes: dict[str, Fields] = field(default_factory=dict)
    issuers: dict[str, bytes] = field(default_factory=dict)
    signers: dict[str, Sequence[bytes]] = field(default_factory=dict)
    begins: int = 0
    agreed: str | None = None
    hidden: Sequence[str] = ()

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
        kind = item.partition("-")[0]
        chain = self.control.get("chain", self.chain)
        if kind in ("registrars", "contract"):
            action, name = {"registrars": (9, "Registrars"), "contract": (11, "Contract")}[kind]
            body = (
                contract(self._terms(item))
                if kind == "contract"
                else plain.avro(name, self._registrars(item))
            )
            return signed_by_roots(chain, self.signers.get(item, ROOTS[:THRESHOLD]), action, body)
        make = {"enrol": self._enrol, "offer": self._offer, "grant": self._grant, "amend": self._amend}[kind]
        action, name, fields = make(self.changes.get(item, {}))
        sequence = ("", "enrol", "offer", "grant", "amend").index(kind)
        issuer = self.issuers.get(item, self.registrar)
        return plain.control(chain, issuer, sequence, bytes(32), action, plain.avro(name, fields))[0]

    def _registrars(self, item: str) -> Fields:
        return registrars(LATER) | self.changes.get(item, {})

    def _terms(self, item: str) -> Fields:
        return terms(self.rules) | {"version": 2} | self.changes.get(item, {})

    def _enrol(self, changes: Fields) -> tuple[int, str, Fields]:
        key = (self.signing, self.site)
        possession = self.possession_secret or key
        body = entitlement(self.chain, self.name, self.suite, key, possession, self.enrol | changes)
        return 1, "Enrol", body

    def _amend(self, changes: Fields) -> tuple[int, str, Fields]:
        """Return an amendment: of the key, unless ``key`` in ``changes`` is another one; ``possession`` proves it."""
        changes = dict(changes)
        key = changes.pop("key", NEW_KEY)
        possession = changes.pop("possession", key)
        fields = {"site_key": self.site_key(), "previous_until": NOW + 10} | changes
        return 8, "Amend", entitlement(self.chain, self.name, self.suite, key, possession, fields)

    def _offer(self, changes: Fields) -> tuple[int, str, Fields]:
        public = plain.sealing_public(self.sealing, self.platform)
        fields = {"epoch": 1, "algorithm": self.sealing, "public_key": public, "valid_to": NOW + 10**9}
        return 4, "KeyOffer", self.name | fields | self.offer | changes

    def _grant(self, changes: Fields) -> tuple[int, str, Fields]:
        fields = {"collected_from": 0, "collected_to": NOW + 10**6, "expires": NOW + 10**6}
        return 3, "BackfillGrant", self.name | fields | self.grant | changes

    def _header(self) -> Fields:
        count = len(self.leaves)
        agreed = terms(self.rules) if self.agreed is None else self._terms(self.agreed)
        source = {
            "incarnation": 1,
            "topic": TOPIC,
            "partition": 0,
            "first": FIRST_OFFSET + self.begins,
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
            "first_index": self.begins,
            "entry_count": count - self.begins,
            "entries_root": bytes(32),
            "log_digest": bytes(32),
            "contract_hash": plain.digest(b"bkdms/contract/v1\0", contract(agreed)),
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
        fields = self.name | {
            "chain": self.chain,
            "site_key": self.packet.get("site_key", self.site_key()),
            "sequence": 7,
        }
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
            "grant": next(iter(self.shown("grant")), None),
            "registrars": self.shown("registrars"),
            "contract": next(iter(self.shown("contract")), None),
            "amendments": self.shown("amend"),
            "disclosed": self.disclosed(*indexes),
        }

    def shown(self, kind: str) -> list[Fields]:
        """Return the JSON of all entries of a kind that are not hidden, in the order of the tree."""
        return [
            self.entry(name)
            for name in self.place
            if name.partition("-")[0] == kind and name not in self.hidden
        ]

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
