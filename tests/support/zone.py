"""Which files of a data folder may hold plain values, and where known ones stand elsewhere."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

# Only some roles read these.
ZONE_TOPICS: Final = ("kpi.observations", "kpi.assessments")
# The store's files: its SQLite file, or PostgreSQL's.
ZONE_FOLDERS: Final = ("platform", "postgres")


def files_outside_the_platform_zone(folder: Path) -> Iterator[Path]:
    """Yield every file but those of the platform zone, and settings, which a site's source is named in."""
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        in_zone = parts[0] in ZONE_FOLDERS or any(part.startswith(ZONE_TOPICS) for part in parts)
        is_told = path.suffix == ".toml" or path.name == "plan.json"
        if path.is_file() and not in_zone and not is_told:
            yield path


def leaks(folder: Path, words: Sequence[bytes]) -> list[str]:
    """Return the files outside the platform zone that hold one of ``words``."""
    return [
        str(path)
        for path in files_outside_the_platform_zone(folder)
        if any(word in path.read_bytes() for word in words)
    ]
