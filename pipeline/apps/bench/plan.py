"""What a made-up chain is like, and who acts in it. Its keys follow from a fixed seed: they protect nothing."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256, shake_256
from itertools import count
from typing import Any, Final

from pipeline.apps.authority import ChainPlan, usual_quorum
from pipeline.core import avro
from pipeline.core.contract import Contract
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, Use
from pipeline.core.names import SiteName
from pipeline.core.packet import SEED_BYTES
from pipeline.core.record import Extending, KpiValue, QualityCode, UnifiedRecord, encode_record
from pipeline.core.sealing import PRIVATE_BYTES, SEALING_ALGORITHM, SIGNING_ALGORITHM, SealingKey, Suite
from pipeline.core.signing import Ed25519Signer, P256Signer, Signer

START_MS: Final = 1_790_000_000_000
PERIOD_MS: Final = 10_000
INDICATOR: Final = "LOCAL:TRAFFIC_SPEED"
MODULE: Final = "bench-1"
FORMAT: Final = 1
"""Raised when the same plan would give other bytes, so that what is cached is made again."""
_URL: Final = "https://bench.bkdms.local/chain"
_MAX_AGE_MS: Final = 200 * 365 * 86_400_000
_BLOCK_ROOM_BYTES: Final = 780_000
_MAX_BLOCK_ENTRIES: Final = 4096
_PADDING_BYTES: Final = 256
_TAG_BYTES: Final = 16
_FIXED_PACKET_BYTES: Final = 400
_SEALED_BYTES: Final = {Suite.XWING: 1120 + 48, Suite.LIGHT: 32 + 48, Suite.P256: 65 + 48}
_MAX_SITES: Final = 100_000
_MAX_NODES: Final = 16


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """A chain of ``entries`` packets with ``values`` records each, from ``sites`` sites in turn.

    ``nodes`` accounting nodes, all but a third of them less one certify each block. With ``is_sealed`` packets hold
    real records, sealed to the platform's keys; else bytes of the same length, which nobody can open.

    Raises:
        ConfigError: a number is out of bounds.
    """

    entries: int
    suite: Suite = Suite.XWING
    values: int = 1
    sites: int = 100
    nodes: int = 4
    is_sealed: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.entries <= 10**8 or not 1 <= self.values <= 300:
            raise ConfigError("a bench chain has 1 to 100,000,000 entries of 1 to 300 values")
        if not 1 <= self.sites <= _MAX_SITES or not 1 <= self.nodes <= _MAX_NODES:
            raise ConfigError(f"a bench chain has 1 to {_MAX_SITES:,} sites and 1 to {_MAX_NODES} nodes")

    @property
    def name(self) -> str:
        """A folder name for what does not depend on the number of entries."""
        kind = "-sealed" * self.is_sealed
        return f"{self.suite.name.lower()}-{self.values}v-{self.sites}s-{self.nodes}n{kind}"

    @property
    def node_names(self) -> tuple[str, ...]:
        """The accounting nodes."""
        return tuple(f"node-{number}" for number in range(1, self.nodes + 1))

    @property
    def quorum(self) -> int:
        """How many nodes certify a block."""
        return usual_quorum(self.nodes)

    @property
    def content_bytes(self) -> int:
        """Length of a packet's sealed content: what as many real records take."""
        record = len(encode_record(sample_record(site_name(0))))
        array = avro.long_size(self.values) + self.values * avro.bytes_size(record) + 1
        return -(-(SEED_BYTES + array) // _PADDING_BYTES) * _PADDING_BYTES + _TAG_BYTES

    @property
    def sealed_key_bytes(self) -> int:
        """Length of a content key sealed to the platform."""
        return _SEALED_BYTES[self.suite]

    @property
    def block_entries(self) -> int:
        """Packets in a block: as many as its bytes allow."""
        packet = _FIXED_PACKET_BYTES + self.content_bytes + self.sealed_key_bytes
        return min(_MAX_BLOCK_ENTRIES, _BLOCK_ROOM_BYTES // packet)

    def chain_plan(self) -> ChainPlan:
        """Return the plan of keys and genesis file."""
        contract = Contract(period_ms=PERIOD_MS, max_age_ms=_MAX_AGE_MS)
        return ChainPlan(_URL, nodes=self.node_names, quorum=self.quorum, contract=contract)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as a JSON value."""
        return asdict(self) | {"suite": self.suite.name.lower(), "block_entries": self.block_entries}


def secret(label: str, size: int = 32) -> bytes:
    """Return fixed bytes for a label."""
    return shake_256(f"bkdms bench {label}".encode()).digest(size)


def fixed_random(label: str) -> Callable[[int], bytes]:
    """Return a source of bytes that gives the same in every run."""
    numbers = count()
    return lambda size: secret(f"{label}/{next(numbers)}", size)


def site_name(number: int) -> SiteName:
    """Return the name of a site."""
    return SiteName("US", "unlocode:USMES", bytes.fromhex("fd000000") + number.to_bytes(12, "big"))


def site_signer(number: int, suite: Suite) -> Signer:
    """Return a site's signing key."""
    seed = secret(f"site {number}")
    if SIGNING_ALGORITHM[suite] is Algorithm.ED25519:
        return Ed25519Signer(seed, Use.SITE)
    return P256Signer(sha256(seed).digest(), Use.SITE)


def platform_key(number: int, suite: Suite) -> SealingKey:
    """Return the platform's key for a site."""
    algorithm = SEALING_ALGORITHM[suite]
    return SealingKey(algorithm, secret(f"platform {number} {suite.name}", PRIVATE_BYTES[algorithm]))


def sample_record(site: SiteName, time_ms: int = START_MS, hundredths: int = 4321) -> UnifiedRecord:
    """Return a record of one value, such as those whose sealed bytes are made up."""
    value = KpiValue(INDICATOR, "", hundredths, 2, "KMH")
    extending = Extending("sensor-1", QualityCode.ACCURATE_MEASUREMENT, "bench")
    return UnifiedRecord(site, time_ms, (value,), extending)
