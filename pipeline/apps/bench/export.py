"""Measures the exporter: a made chain, through the real follower, to tiles on the disk."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.adapters.keystore import load_signer
from pipeline.adapters.sql.export_store import SqlExportStore
from pipeline.adapters.tile_files import TileFiles
from pipeline.apps.bench.chain_maker import BenchChain
from pipeline.apps.bench.folder_topic import FolderTopic
from pipeline.apps.workers.export import STATE_FOLDER
from pipeline.core.keys import Use
from pipeline.services.exporter import ExportParts, ExportWorker


def measure_export(
    chain: BenchChain, progress: Callable[[int], None], *, trusted: bool = False
) -> dict[str, Any]:
    """Export a made chain into an empty folder beside it and return how fast that was.

    Every block is verified as in production, with ``trusted`` but for the sites' signatures; tiles are written through
    to the disk. The blocks come from files.

    Raises:
        TransientError: the disk refuses.
    """
    with tempfile.TemporaryDirectory(dir=chain.folder, prefix="export-") as name:
        before = time.process_time(), time.perf_counter()
        leaves = asyncio.run(_export(chain, Path(name), progress, trusted=trusted))
        cpu_s, wall_s = time.process_time() - before[0], time.perf_counter() - before[1]
    return {
        "leaves": leaves,
        "packets": chain.plan.entries,
        "blocks": chain.block_count,
        "seconds": round(wall_s, 2),
        "cpu_seconds": round(cpu_s, 2),
        "entries_per_second": round(leaves / wall_s),
        "cpu_us_per_packet": round(cpu_s * 1e6 / chain.plan.entries, 1),
    }


def kept_tiles(chain: BenchChain, progress: Callable[[int], None]) -> Path:
    """Return the folder with the chain's tiles, made by the exporter where it is not there.

    Raises:
        TransientError: the disk refuses.
    """
    if not chain.tiles_folder.exists():
        draft = chain.tiles_folder.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        asyncio.run(_export(chain, draft, progress, trusted=True))
        draft.replace(chain.tiles_folder)
    return chain.tiles_folder


async def _export(chain: BenchChain, folder: Path, progress: Callable[[int], None], *, trusted: bool) -> int:
    """Export the whole chain; return the number of leaves. ``progress`` hears of blocks."""
    genesis, signer = chain.genesis, load_signer(chain.files.log_key, Use.LOG)
    store = SqlExportStore(folder / STATE_FOLDER, genesis)
    parts = ExportParts(genesis, signer, FolderTopic(chain), TileFiles(folder), store)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        worker = ExportWorker(parts, pool, trusted=trusted)
        try:
            await worker.open()
            while worker.follower.height < chain.block_count:
                progress(await worker.step())
            return store.load()[0].head.frontier.size
        finally:
            await worker.close()
