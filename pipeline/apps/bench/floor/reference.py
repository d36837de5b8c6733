"""What each primitive took elsewhere, so that a slow machine, library or measurement is not mistaken for the floor.

The figures are of one core at 2.5 GHz with the same releases, by the processor's time. They are scaled by hashing 300
bytes with `cryptography`, which was measured in both places.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from cryptography.hazmat.primitives import hashes

from pipeline.apps.bench.floor import brokered, compute
from pipeline.apps.bench.floor.floor import Cost
from pipeline.apps.bench.floor.servers import FloorServers
from pipeline.apps.bench.floor.timing import ROUNDS, Primitive, local, lowest
from pipeline.apps.bench.plan import sample_record, secret, site_name
from pipeline.core import avro
from pipeline.core.errors import IntegrityError
from pipeline.core.record import encode_generally
from pipeline.core.sealing import Suite
from schemas import schema

TOLERANCE: Final = 0.25
_SMALL_BYTES: Final = 300
_MESSAGE: Final = bytes(200)
_SCALE: Final = "sha256 300 by cryptography"


class Verdict(StrEnum):
    """How a primitive compares with its reference, after scaling."""

    WITHIN = "within"
    FASTER = "faster"
    SLOWER = "slower"


@dataclass(frozen=True, slots=True)
class Compared:
    """A primitive, its reference in µs (lowest and highest that were seen), and the factor between the machines."""

    primitive: str
    us: float
    least_us: float
    most_us: float
    scale: float

    @property
    def beyond(self) -> float:
        """By what part it is above (or, negative, below) what the reference allows; 0 within it."""
        least, most = self.least_us * self.scale, self.most_us * self.scale
        return max(0.0, self.us / most - 1) + min(0.0, self.us / least - 1)

    @property
    def verdict(self) -> Verdict:
        """Whether that is more than the tolerance. Only slower ones make a floor too high."""
        if abs(self.beyond) <= TOLERANCE:
            return Verdict.WITHIN
        return Verdict.SLOWER if self.beyond > 0 else Verdict.FASTER


def _per_second(slow: float, fast: float | None = None) -> tuple[float, float]:
    """Return µs for thousands a second."""
    return 1e3 / (fast or slow), 1e3 / slow


REFERENCES: Final[Mapping[str, tuple[float, float]]] = {
    _SCALE: (3.1, 3.1),
    f"aes256gcm seal {_SMALL_BYTES}": (2.9, 2.9),
    f"ed25519 verify {_SMALL_BYTES}": _per_second(6.8, 7.1),
    f"p256 verify {_SMALL_BYTES}": _per_second(8.6, 9.1),
    f"ed25519 sign {_SMALL_BYTES}": _per_second(13),
    f"p256 sign {_SMALL_BYTES}": _per_second(21),
    "kem seal light": (165, 165),
    "kem open light": (119, 119),
    "kem seal xwing": (195, 195),
    "kem open xwing": (162, 162),
    "record encode by the general codec": (18, 18),
    "record decode by the general codec": (17, 17),
    "kafka fetch 200 bytes": _per_second(138, 165),
    "kafka send 200 bytes": _per_second(49),
    "kafka send_batch 200 bytes": _per_second(343),
}
"""Lowest and highest µs that were seen of each."""


def compare(
    servers: FloorServers, rounds: int = ROUNDS, progress: Callable[[int], None] = lambda _: None
) -> list[Compared]:
    """Measure every primitive that has a reference, and compare; ``progress`` hears of each measured.

    Raises:
        TransientError: Kafka is away.
    """
    with _primitives(servers) as made:
        return compared(lowest(made, rounds, progress))


def compared(costs: Mapping[str, Cost]) -> list[Compared]:
    """Compare costs with their references.

    Raises:
        IntegrityError: one that has a reference is missing.
    """
    if missing := REFERENCES.keys() - costs.keys():
        raise IntegrityError(f"not measured: {', '.join(sorted(missing))}")
    scale = costs[_SCALE].us / REFERENCES[_SCALE][0]
    return [Compared(name, costs[name].us, least, most, scale) for name, (least, most) in REFERENCES.items()]


@contextmanager
def _primitives(servers: FloorServers) -> Iterator[list[Primitive]]:
    with brokered.floor_broker(servers) as broker:
        made = [*here(), *brokered.of_values(broker, {"200 bytes": _MESSAGE})]
        yield [primitive for primitive in made if primitive.name in REFERENCES]


def here() -> Iterator[Primitive]:
    """Yield what is measured without a server; each that has a reference, and a few beside."""
    data, record = secret("small", _SMALL_BYTES), sample_record(site_name(1))
    yield local(_SCALE, partial(_hash, data))
    yield from compute.contents(Suite.XWING, _SMALL_BYTES)
    yield from compute.signatures(_SMALL_BYTES)
    yield from compute.sealings(Suite.LIGHT)
    yield from compute.sealings(Suite.XWING)
    encoded = encode_generally(record)
    yield local("record encode by the general codec", partial(encode_generally, record))
    yield local("record decode by the general codec", partial(avro.decode, schema("UnifiedRecord"), encoded))


def _hash(data: bytes) -> bytes:
    hasher = hashes.Hash(hashes.SHA256())
    hasher.update(data)
    return hasher.finalize()
