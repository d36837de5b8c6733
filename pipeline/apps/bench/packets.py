"""Packets of a made-up chain, signed by processes of their own, each for its share of the sites.

Headers, links and signatures are real. Digest and sealed bytes are made up, of the right lengths, where nobody opens
them; where the platform is to open them, all is real.
"""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import shake_256
from queue import Empty
from typing import Any, Final

from pipeline.apps.bench.plan import (
    MODULE,
    PERIOD_MS,
    START_MS,
    BenchPlan,
    platform_key,
    sample_record,
    secret,
    site_name,
    site_signer,
)
from pipeline.core import avro
from pipeline.core.admission import PACKET_SCHEMA
from pipeline.core.errors import TransientError
from pipeline.core.packet import SEED_BYTES, PacketDraft, packet_id, seal_packet
from pipeline.core.record import encode_record
from pipeline.core.sealing import CONTENT_KEY_BYTES
from pipeline.core.signing import PACKET_PREFIX, SIGNATURE_BYTES
from pipeline.core.state import Position

_QUEUED_BATCHES: Final = 3
_BATCH: Final = 256
_ALIVE_EVERY_S: Final = 5.0
_NO_SIGNATURE: Final = bytes(SIGNATURE_BYTES)
_DIGEST_BYTES: Final = 32
_RECORD_EVERY_MS: Final = 1000
_VALUES: Final = 8000
"""How many different values the records hold: speeds of 0.00 to 79.99 km/h."""


@dataclass
class BenchSite:
    """A site that goes on where its last packet ended."""

    number: int
    plan: BenchPlan
    chain: bytes
    position: Position

    def __post_init__(self) -> None:
        self._signer = site_signer(self.number, self.plan.suite)
        name = site_name(self.number)
        self._fields: dict[str, Any] = {
            "version": 1,
            "chain": self.chain,
            "country": name.country,
            "city": name.city,
            "site_id": name.site_id,
            "site_key": self._signer.public.fingerprint,
            "module_id": MODULE,
            "record_count": self.plan.values,
            "suite": int(self.plan.suite),
            "signature": _NO_SIGNATURE,
        }
        self._reader = platform_key(self.number, self.plan.suite).public.fingerprint

    def packet(self, index: int) -> bytes:
        """Return the next packet, which is entry ``index`` of the plan."""
        sizes = (_DIGEST_BYTES, self.plan.sealed_key_bytes, self.plan.content_bytes)
        made_up = shake_256(index.to_bytes(8, "big")).digest(sum(sizes))
        sealed_at, content_at = sizes[0], sizes[0] + sizes[1]
        time_ms = entry_time(self.plan, index)
        fields = self._fields | {
            "sequence": self.position.sequence + 1,
            "previous_packet": self.position.last_id,
            "collected_from": time_ms,
            "collected_to": time_ms,
            "digest": made_up[:sealed_at],
            "recipients": [{"key": self._reader, "sealed_key": made_up[sealed_at:content_at]}],
            "encrypted_kpi_data": made_up[content_at:],
        }
        signed = avro.encode(PACKET_SCHEMA, fields)[:-SIGNATURE_BYTES]
        raw = signed + self._signer.sign(PACKET_PREFIX + signed)
        self.position = Position(self.position.sequence + 1, packet_id(raw))
        return raw


class SealingSite(BenchSite):
    """A site that seals real records to the platform, each with a value and a time of its own."""

    def packet(self, index: int) -> bytes:
        """Return the next packet, which is entry ``index`` of the plan."""
        plan, site, last_ms = self.plan, site_name(self.number), entry_time(self.plan, index)
        times = range(last_ms - _RECORD_EVERY_MS * (plan.values - 1), last_ms + 1, _RECORD_EVERY_MS)
        records = [
            encode_record(sample_record(site, time_ms, (index + number) % _VALUES))
            for number, time_ms in enumerate(times)
        ]
        sequence = self.position.sequence + 1
        draft = PacketDraft(
            self.chain,
            site,
            MODULE,
            sequence,
            self.position.last_id,
            times[0],
            times[-1],
            plan.suite,
        )
        raw = seal_packet(
            draft,
            records,
            [platform_key(self.number, plan.suite).public],
            site_signer(self.number, plan.suite),
            seed=secret(f"seed {index}", SEED_BYTES),
            content_key=secret(f"content {index}", CONTENT_KEY_BYTES),
        )
        self.position = Position(sequence, packet_id(raw))
        return raw


def entry_time(plan: BenchPlan, index: int) -> int:
    """Return the broker time of entry ``index``, ms; the first period is that of the enrolments."""
    return START_MS + (1 + index // plan.block_entries) * PERIOD_MS


def made_packets(
    plan: BenchPlan, chain: bytes, positions: dict[int, Position], first: int, processes: int
) -> Iterator[bytes]:
    """Yield the packets of entries ``first`` to the last, in order, signed by ``processes`` processes.

    ``positions`` says by site number where each site's packets before ``first`` ended.
    """
    context = multiprocessing.get_context("spawn")
    processes = min(processes, plan.sites)
    shares = [range(share, plan.sites, processes) for share in range(processes)]
    queues: list[Any] = [context.Queue(_QUEUED_BATCHES) for _ in range(processes)]
    workers = [
        context.Process(
            target=_make, args=(plan, chain, positions, range(first, plan.entries), own, queue), daemon=True
        )
        for own, queue in zip(shares, queues, strict=True)
    ]
    for worker in workers:
        worker.start()
    try:
        streams = [_unpacked(queue, worker) for queue, worker in zip(queues, workers, strict=True)]
        for index in range(first, plan.entries):
            yield next(streams[index % plan.sites % processes])
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _unpacked(queue: Any, worker: Any) -> Iterator[bytes]:
    """Yield what a worker puts into its queue.

    Raises:
        TransientError: the worker is gone.
    """
    while True:
        try:
            yield from queue.get(timeout=_ALIVE_EVERY_S)
        except Empty:
            if not worker.is_alive():
                raise TransientError("a process that makes packets ended before its work did") from None


def _make(  # noqa: PLR0917  what a process is started with
    plan: BenchPlan, chain: bytes, positions: dict[int, Position], indexes: range, share: range, queue: Any
) -> None:
    """Put the packets of a share of the sites into a queue, in batches."""
    kind = SealingSite if plan.is_sealed else BenchSite
    sites = {number: kind(number, plan, chain, positions[number]) for number in share}
    batch: list[bytes] = []
    for index in indexes:
        site = sites.get(index % plan.sites)
        if site is not None:
            batch.append(site.packet(index))
        if len(batch) == _BATCH:
            queue.put(batch)
            batch = []
    queue.put(batch)
