"""A folder of exported blocks: one file ``NNNNNNNN.block`` per height, the encoded block and its certificate."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.core.block import MAX_CERTIFIED_BYTES
from pipeline.core.errors import ConfigError

_NAME: Final = re.compile(r"([0-9]{8,19})\.block")


def block_file(folder: Path, height: int) -> Path:
    """Return the file of a block."""
    return folder / f"{height:08d}.block"


def block_files(folder: Path) -> list[tuple[int, Path]]:
    """Return the heights and files of a folder, in order; other files are left alone.

    Raises:
        ConfigError: there is no such folder, or no block in it (code ``block_folder``).
    """
    try:
        found = [(int(m[1]), path) for path in folder.iterdir() if (m := _NAME.fullmatch(path.name))]
    except OSError as error:
        raise ConfigError(f"folder of blocks {folder}: {error.strerror}", code="block_folder") from None
    if not found:
        raise ConfigError(
            f"folder {folder} holds no block files; they are named like 00000001.block", code="block_folder"
        )
    return sorted(found)


def read_blocks(files: list[tuple[int, Path]]) -> Iterator[tuple[int, Path, bytes]]:
    """Yield height, file and content, of which no more than a block may have and a byte are read.

    Raises:
        ConfigError: a file can't be read (code ``block_folder``).
    """
    for height, path in files:
        try:
            with path.open("rb") as file:
                content = file.read(MAX_CERTIFIED_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"block file {path}: {error.strerror}", code="block_folder") from None
        yield height, path, content
