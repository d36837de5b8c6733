"""The disk of a local stack: what its parts take, and how long it lasts."""

import shutil
import time
from pathlib import Path
from typing import Final

from ops.kafka.topic_table import FOREVER, topic_table
from ops.local_servers import KAFKA, POSTGRES
from pipeline.adapters.sql.growth import read_growth
from pipeline.apps.local.deployment import SETTINGS_NAME
from pipeline.config import Settings, load_settings
from pipeline.core.disk_forecast import DiskForecast, Passing, forecast
from pipeline.core.errors import BkdmsError

# They keep what follows from each block for ever.
_LASTING: Final = ("platform", POSTGRES, "nodes", "api")


def disk_forecast(data_dir: Path) -> DiskForecast | None:
    """Return how long the disk under a data folder lasts; None for a young chain, or where its store can't be read."""
    try:
        settings = load_settings(data_dir / SETTINGS_NAME)
        growth = read_growth(settings.store.url, time.time_ns() // 1_000_000)
    except BkdmsError:
        return None
    lasting = sum(folder_bytes(data_dir / name) for name in _LASTING)
    lasting += _topic_bytes(data_dir, settings.topics.blocks)
    return forecast(shutil.disk_usage(data_dir).free, lasting, _passing(data_dir, settings), growth)


def folder_bytes(folder: Path) -> int:
    """Return what the files under a folder take on disk; what vanishes meanwhile counts nothing."""
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.lstat().st_blocks * 512
        except OSError:
            continue
    return found


def _passing(data_dir: Path, settings: Settings) -> list[Passing]:
    kept = {spec.name: int(spec.settings["retention.ms"]) for spec in topic_table(settings.topics)}
    return [
        Passing(_topic_bytes(data_dir, name), kept_ms) for name, kept_ms in kept.items() if kept_ms != FOREVER
    ]


def _topic_bytes(data_dir: Path, topic: str) -> int:
    """Return what the partitions of a topic take, on all brokers."""
    return sum(map(folder_bytes, data_dir.glob(f"{KAFKA}*/data/{topic}-[0-9]*")))
