"""Measures the cipher suites: bytes of a packet, and what each step of its life costs one core, side by side.

Packets are really sealed, signed, checked and opened, with fresh random bytes, by one thread bound to one core.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pipeline.apps.bench.figures import spread
from pipeline.apps.bench.plan import (
    MODULE,
    START_MS,
    platform_key,
    sample_record,
    secret,
    site_name,
    site_signer,
)
from pipeline.core.admission import is_signed
from pipeline.core.errors import IntegrityError
from pipeline.core.packet import (
    FIRST_PREVIOUS,
    SEED_BYTES,
    Opened,
    Packet,
    PacketDraft,
    open_packet,
    parse_packet,
    seal_packet,
)
from pipeline.core.record import encode_record
from pipeline.core.sealing import CONTENT_KEY_BYTES, Suite

_SITE: Final = 1
_US: Final = 1e6
_ROUNDS: Final = 5
"""Of which the fastest median counts: other programs only ever make a step slower."""


@dataclass(frozen=True, slots=True)
class SuiteCase:
    """A suite with its keys and so many records a packet."""

    suite: Suite
    records: tuple[bytes, ...]

    def seal(self) -> bytes:
        """Return a fresh packet, as a site makes it."""
        draft = PacketDraft(
            secret("suites"), site_name(_SITE), MODULE, 1, FIRST_PREVIOUS, START_MS, START_MS, self.suite
        )
        return seal_packet(
            draft,
            self.records,
            [platform_key(_SITE, self.suite).public],
            site_signer(_SITE, self.suite),
            seed=os.urandom(SEED_BYTES),
            content_key=os.urandom(CONTENT_KEY_BYTES),
        )

    def check(self, raw: bytes) -> Packet:
        """Read a packet and check its signature, as validator and node each do.

        Raises:
            IntegrityError: it is not good.
        """
        packet = parse_packet(raw)
        if not isinstance(packet, Packet) or not is_signed(site_signer(_SITE, self.suite).public, packet):
            raise IntegrityError("a packet that was just made is not good")
        return packet

    def open(self, packet: Packet) -> None:
        """Open a packet and check it against its signed fields, as the platform does.

        Raises:
            IntegrityError: it does not open.
        """
        if not isinstance(open_packet(packet, platform_key(_SITE, self.suite)), Opened):
            raise IntegrityError("a packet that was just made does not open")


def measure_suites(
    sizes: Sequence[int], samples: int, progress: Callable[[int], None]
) -> dict[str, dict[str, Any]]:
    """Return by suite and records a packet: bytes, and median microseconds of the core's time for each step."""
    record = encode_record(sample_record(site_name(_SITE)))
    found: dict[str, dict[str, Any]] = {}
    with one_core():
        for suite in Suite:
            for size in sizes:
                case = SuiteCase(suite, (record,) * size)
                found[f"{suite.name.lower()} {size}"] = _measure(case, samples)
                progress(1)
    return found


@contextmanager
def one_core() -> Iterator[None]:
    """Bind this process to one of its cores while the block runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _measure(case: SuiteCase, samples: int) -> dict[str, Any]:
    raws = [case.seal() for _ in range(samples)]
    packets = [case.check(raw) for raw in raws]
    return {
        "packet_bytes": len(raws[0]),
        "seal_us": _median_us([case.seal] * samples),
        "check_us": _median_us([partial(case.check, raw) for raw in raws]),
        "open_us": _median_us([partial(case.open, packet) for packet in packets]),
    }


def _median_us(steps: Sequence[Callable[[], object]]) -> float:
    return min(spread([_cpu_us(step) for step in steps])["median"] for _ in range(_ROUNDS))


def _cpu_us(step: Callable[[], object]) -> float:
    begun = time.process_time_ns()
    step()
    return (time.process_time_ns() - begun) * _US / 1e9
