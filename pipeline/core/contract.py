"""The smart contract: declarative, versioned rules of admission (Y.4907 Appendix I.1).

Whole numbers only: no floats and no patterns, so that every implementation agrees.
"""

from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any

from pipeline.core import avro
from pipeline.core.names import MAX_LONG, MAX_TIME_MS
from pipeline.core.packet import MAX_PACKET_BYTES
from pipeline.core.sealing import Suite
from schemas import schema

_CONTRACT = schema("Contract")
_HASH_PREFIX = b"bkdms/contract/v1\x00"
_DAY_MS = 86_400_000
MAX_BLOCK_BYTES = 880_000  # leaves room for the certificate within 900 KB


@dataclass(frozen=True, slots=True)
class SuiteTerm:
    """A cipher suite and the broker time after which it is refused; 0 for never."""

    suite: Suite
    expires_ms: int = 0


@dataclass(frozen=True, slots=True)
class Contract:
    """Rules of admission; times in milliseconds, sizes in bytes.

    Raises:
        ValueError: a rule is outside its bounds.
    """

    version: int = 1
    period_ms: int = 10_000
    max_packet: int = MAX_PACKET_BYTES
    max_entries: int = 4096
    max_block: int = MAX_BLOCK_BYTES
    max_sequence_jump: int = 1_000_000
    skew_ms: int = 300_000
    max_age_ms: int = 30 * _DAY_MS
    suites: tuple[SuiteTerm, ...] = tuple(SuiteTerm(suite) for suite in Suite)

    def __post_init__(self) -> None:
        bounds = {
            "version": (1, MAX_LONG),
            "period_ms": (100, _DAY_MS),
            "max_packet": (1024, MAX_PACKET_BYTES),
            "max_entries": (1, 100_000),
            "max_block": (2 * MAX_PACKET_BYTES, MAX_BLOCK_BYTES),
            "max_sequence_jump": (1, 2**62),
            "skew_ms": (0, _DAY_MS),
            "max_age_ms": (1, 200 * 365 * _DAY_MS),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"contract: {name} must be from {low} to {high}")
        if not self.suites or len({term.suite for term in self.suites}) != len(self.suites):
            raise ValueError("contract: suites must name each accepted suite once")
        if not all(0 <= term.expires_ms <= MAX_TIME_MS for term in self.suites):
            raise ValueError(f"contract: expires_ms must be from 0 to {MAX_TIME_MS}")

    def accepts(self, suite: Suite, time_ms: int) -> bool:
        """Tell whether a suite is accepted at a broker time."""
        for term in self.suites:
            if term.suite is suite:
                return term.expires_ms == 0 or time_ms <= term.expires_ms
        return False

    def as_value(self) -> dict[str, Any]:
        """Return the Avro value."""
        value: dict[str, Any] = {
            field.name.removesuffix("_ms"): getattr(self, field.name) for field in fields(self)
        }
        value["suites"] = [{"suite": int(term.suite), "expires": term.expires_ms} for term in self.suites]
        return value

    def encode(self) -> bytes:
        """Return the Avro encoding."""
        return avro.encode(_CONTRACT, self.as_value())

    @property
    def hash(self) -> bytes:
        """Hash that block headers carry, 32 bytes."""
        return sha256(_HASH_PREFIX + self.encode()).digest()
