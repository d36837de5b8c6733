"""An Avro object container file of CertifiedBlock records, which any Avro tool reads."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path
from typing import Final

from fastavro.read import reader
from fastavro.schema import to_parsing_canonical_form
from fastavro.write import Writer

from pipeline.core import avro
from pipeline.core.block import CERTIFIED_BLOCK, encode_certified
from pipeline.core.errors import ConfigError
from pipeline.core.followed import Applied
from pipeline.core.genesis import Genesis
from pipeline.core.state import ChainState

_SYNC_BYTES: Final = 16
_CANONICAL: Final = to_parsing_canonical_form(CERTIFIED_BLOCK.parsed)


class BlockContainer:
    """A ``BlockSink`` that writes the whole chain, from block 1 on, into a new file.

    The file appears under its name when ``finish`` succeeds. The same blocks give the same bytes.
    """

    def __init__(self, path: Path, genesis: Genesis) -> None:
        self._path = path
        self._draft = path.with_name(f".{path.name}.{os.getpid()}.new")
        self._genesis = genesis
        self._roots: dict[int, bytes] = {}
        self._file: BufferedWriter | None = None
        self._writer: Writer | None = None

    def load(self) -> tuple[ChainState, int]:
        """Begin the file; the state is that of the genesis file.

        Raises:
            ConfigError: the file can't be written (code ``config.file``).
        """
        self.discard()
        try:
            self._file = self._draft.open("wb")
        except OSError as error:
            raise self._refused(error) from None
        marker = self._genesis.chain[:_SYNC_BYTES]
        self._writer = Writer(self._file, CERTIFIED_BLOCK.parsed, codec="null", sync_marker=marker)
        return ChainState(self._genesis), 0

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the written block that ends at this tree size, or None."""
        return self._roots.get(size)

    def store(self, applied: Sequence[Applied], next_offset: int) -> None:
        """Write verified blocks.

        Raises:
            ConfigError: the disk refuses (code ``config.file``).
        """
        assert self._writer is not None  # noqa: S101  loaded first
        try:
            for item in applied:
                extended = item.extended
                certified = encode_certified(extended.block, extended.certificate)
                self._writer.write(avro.decode(CERTIFIED_BLOCK, certified))
                self._roots[extended.changes.head.frontier.size] = extended.changes.head.frontier.root()
        except OSError as error:
            raise self._refused(error) from None

    def finish(self) -> int:
        """Put the file in its place and return how many blocks are in it.

        Raises:
            ConfigError: the disk refuses (code ``config.file``).
        """
        assert self._file is not None  # noqa: S101  loaded first
        assert self._writer is not None  # noqa: S101  loaded first
        try:
            self._writer.flush()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._draft.replace(self._path)
        except OSError as error:
            raise self._refused(error) from None
        return len(self._roots)

    def discard(self) -> None:
        """Remove what is not finished."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._roots.clear()
        with suppress(OSError):
            self._draft.unlink(missing_ok=True)

    def _refused(self, error: OSError) -> ConfigError:
        return ConfigError(f"can't write {self._path}: {error.strerror}", code="config.file")


def read_container(path: Path) -> Iterator[bytes]:
    """Yield the encoded certified blocks of a container file, unverified, in its order.

    Raises:
        ConfigError: the file can't be read, or is no container file of such blocks or a damaged one; the blocks
            before the damage were given (code ``block_container``).
    """
    count = 0
    try:
        with path.open("rb") as file:
            found = reader(file)
            if found.codec != "null" or to_parsing_canonical_form(found.writer_schema) != _CANONICAL:
                # Any other schema could make the library count up to 2^63, and a codec unpack without end.
                raise ValueError("it holds other records, or packed ones")
            for value in found:
                yield avro.encode(CERTIFIED_BLOCK, value)  # type: ignore[arg-type]  # a record by its schema
                count += 1
    except OSError as error:
        raise ConfigError(f"file of blocks {path}: {error.strerror}", code="block_container") from None
    except Exception as error:
        # The library lets out whatever its parts raise on bytes that are no container.
        raise ConfigError(
            f"{path} is no Avro container file of blocks, or damaged after {count} of them: {error}",
            code="block_container",
        ) from None
