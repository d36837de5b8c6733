"""A chain log with everything in it, the same bytes in every run. Imports nothing of the pipeline.

Three sites, one a suite, several periods, a block in two parts, a clock that goes back, and values that are refused
for many reasons. Content keys are sealed to nobody, so of its packets only the golden ones open.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from unittest import mock

from tests.vectors import plain_core as plain
from tests.vectors.core_world import CHAIN, NOW, PERIOD, Vector, controls, named, packets, record, secrets

_SEALED_BYTES = {plain.X25519: 80, plain.XWING: 1168, plain.ECDH: 113}
_BIG_PACKETS, _BIG_RECORDS = 22, 480
"""More bytes in one period than a block may have."""


def noise(label: str, count: int) -> bytes:
    """Return bytes that stand for sealed ones."""
    blocks = (sha256(f"{label}/{i}".encode()).digest() for i in range(-(-count // 32)))
    return b"".join(blocks)[:count]


@dataclass
class Sender:
    """A site with its next packet's number and predecessor."""

    suite: int
    sequence: int
    previous: bytes

    def packet(self, time: int, records: int = 1, **changes: object) -> bytes:
        """Return the next packet, framed, and go on."""
        self.sequence += 1
        site, platform = secrets(self.suite)
        site_key = plain.fingerprint(plain.SITE, site[0], plain.signing_public(*site))
        fields: Vector = named(self.suite) | {
            "chain": CHAIN,
            "site_key": site_key,
            "module_id": f"module-{self.suite}",
            "sequence": self.sequence,
            "previous_packet": self.previous,
            "collected_from": time - 5,
            "collected_to": time,
            "suite": self.suite,
        }
        label = f"{self.suite}/{self.sequence}"
        content = [record(self.suite, i % 5 + 1) for i in range(records)]
        sealed = noise(f"sealed/{label}", _SEALED_BYTES[platform[0]])
        with mock.patch.object(plain, "hpke_seal", return_value=sealed):
            raw, _ = plain.seal(
                fields | changes,
                site,
                platform,
                noise(f"seed/{label}", 32),
                noise(f"key/{label}", 32),
                content,
            )
        self.previous = plain.packet_id(raw)
        return plain.framed("Packet", raw)


@dataclass
class Log:
    """Times and values so far."""

    time: int = NOW
    rows: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, *values: bytes) -> None:
        """Append values, each a moment after the one before."""
        for value in values:
            self.rows.append((self.time, value))
            self.time += 3


def bad_values(senders: list[Sender], sent: list[bytes], time: int) -> list[bytes]:
    """Return values that are refused: none of them changes what may come next."""
    last = senders[1]
    changed = {
        "stale": Sender(last.suite, last.sequence - 1, bytes(32)).packet(time),
        "broken link": Sender(last.suite, last.sequence + 3, bytes(32)).packet(time),
        "sequence jump": Sender(last.suite, last.sequence + 2_000_000, last.previous).packet(time),
        "too new": Sender(last.suite, last.sequence, last.previous).packet(time + 400_000),
        "too old": Sender(last.suite, last.sequence, last.previous).packet(time - 3_000_000_000),
        "other chain": Sender(last.suite, last.sequence, last.previous).packet(time, chain=bytes(32)),
        "unknown site": Sender(last.suite, last.sequence, last.previous).packet(time, country="IT"),
    }
    forged = sent[-1][:-1] + bytes([sent[-1][-1] ^ 1])
    foreign = b"\0" + plain.u32(99) + b"?"
    return [sent[-1], sent[0], forged, sent[-1] + b"\0", b"", b"\1", foreign, *changed.values()]


def log() -> list[tuple[int, bytes]]:
    """Return (time, value) of every record of the chain log."""
    found, let_in = Log(), [plain.framed("Control", raw) for _, raw, _ in controls()]
    golden = [bytes.fromhex(item["raw"]) for item in packets()]
    senders = [
        Sender(item["suite"], 7, plain.packet_id(raw)) for item, raw in zip(packets(), golden, strict=True)
    ]
    found.add(*let_in[:-1], plain.framed("Tick", b""))
    found.time = NOW + PERIOD
    found.add(*(plain.framed("Packet", raw) for raw in golden))
    found.time = NOW + 2 * PERIOD
    found.add(*(senders[1].packet(found.time, _BIG_RECORDS) for _ in range(_BIG_PACKETS)))
    found.add(senders[0].packet(NOW - 3_000_000_000))  # a backfill grant covers it
    for period in (3, 4, 7, 6, 8):
        found.time = NOW + period * PERIOD
        sent = [senders[i % 3].packet(found.time) for i in range(7 * period)]
        found.add(*sent, *bad_values(senders, sent, found.time))
    found.add(let_in[-1], senders[2].packet(found.time))
    found.time += PERIOD
    found.add(plain.framed("Tick", b""))
    return found.rows
