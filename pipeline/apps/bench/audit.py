"""Measures the audit of a chain against the bare cost of its signature checks and hashes, in the same run."""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import psutil

from pipeline.adapters.block_folder import block_file
from pipeline.apps.audit_run import audit_folder, cores
from pipeline.apps.bench.bare import Bare, measure_bare
from pipeline.apps.bench.chain_maker import BenchChain
from pipeline.core.errors import IntegrityError

_SAMPLE_EVERY_S: Final = 0.1


class ProcessorTime:
    """The processor time of this process and of all that it starts, seconds, between enter and exit.

    Children are asked again and again, because nothing tells of those that end; the last moments of one are lost.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._children: dict[int, float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "ProcessorTime":
        self._begun = time.process_time()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self.seconds = time.process_time() - self._begun + sum(self._children.values())

    def _sample(self) -> None:
        me = psutil.Process()
        while not self._end.wait(_SAMPLE_EVERY_S):
            for child in me.children(recursive=True):
                try:
                    times = child.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                self._children[child.pid] = times.user + times.system


def measure_audit(chain: BenchChain, rounds: int, progress: Callable[[int], None]) -> dict[str, Any]:
    """Audit the chain's blocks and do the same checks and hashes bare, in turn; return both and their ratio.

    The bare cost is measured before and after each audit, so that a change of the machine's load shows in both.

    Raises:
        IntegrityError: the audit finds something.
    """
    bare: list[Bare] = [measure_bare(chain, cores(), progress)]
    audits: list[tuple[float, float, int]] = []
    for _ in range(rounds):
        audits.append(_audit(chain))
        progress(chain.block_count)
        bare.append(measure_bare(chain, cores(), progress))
    wall, cpu, packets = (sum(each[part] for each in audits) / rounds for part in range(3))
    bare_wall = sum(each.seconds for each in bare) / len(bare)
    bare_cpu = sum(each.cpu_seconds for each in bare) / len(bare)
    return {
        "packets": round(packets),
        "blocks": chain.block_count,
        "signatures": bare[0].signatures,
        "hashes": bare[0].hashes,
        "processes": cores(),
        "audit_seconds": round(wall, 2),
        "bare_seconds": round(bare_wall, 2),
        "bare_runs": [round(each.seconds, 2) for each in bare],
        "audit_cpu_seconds": round(cpu, 2),
        "bare_cpu_seconds": round(bare_cpu, 2),
        "packets_per_second": round(packets / wall),
        "cpu_us_per_packet": round(cpu * 1e6 / packets, 1),
        "ratio": round(bare_wall / wall, 3),
        "cpu_ratio": round(bare_cpu / cpu, 3),
    }


def _audit(chain: BenchChain) -> tuple[float, float, int]:
    """Audit the plan's blocks as `bkdms verify --blocks` does.

    Return seconds by the wall and by the processor, and the number of packets.
    """
    with tempfile.TemporaryDirectory(dir=chain.folder, prefix="audit-") as name:
        for height in range(1, chain.block_count + 1):
            os.link(block_file(chain.blocks_folder, height), block_file(Path(name), height))
        begun = time.perf_counter()
        with ProcessorTime() as spent:
            report = audit_folder(chain.genesis, Path(name))
        wall = time.perf_counter() - begun
    if not report.is_good or report.height != chain.block_count:
        raise IntegrityError(f"the audit of the bench chain: {report.finding}")
    return wall, spent.seconds, report.packets
