"""Exported logs for tests: of any number of made-up entries, or of a test chain by the exporter."""

from pathlib import Path

from pipeline.adapters.sql.export_store import SqlExportStore
from pipeline.adapters.tile_files import TileFiles
from pipeline.core.checkpoint import Checkpoint, sign_as_log
from pipeline.core.keys import Use
from pipeline.core.note import ED25519, VerifierKey, format_note
from pipeline.core.signing import Ed25519Signer
from pipeline.core.tiles import Edge
from pipeline.services.export_sink import TileFolder
from pipeline.services.exporter import ExportParts, ExportPolicy, ExportWorker
from tests.support.chain import MemoryReader, MemoryTopic
from tests.support.world import World, secret

ORIGIN = "bkdms.local/tiles"
LOG = Ed25519Signer(secret("tiles-log"), Use.LOG)
VERIFIER = VerifierKey(ORIGIN, ED25519, LOG.public.raw)


def entries(count: int) -> list[bytes]:
    """Return made-up entries, of lengths from empty to some hundred bytes."""
    return [secret(f"entry-{i}", i % 97) for i in range(count)]


def write_log(folder: Path, count: int) -> Edge:
    """Write a log of made-up entries with a checkpoint signed by ``LOG``."""
    files = TileFiles(folder)
    edge, filled = Edge.EMPTY.grow(entries(count))
    files.write(filled)
    files.write(edge.partials())
    checkpoint = Checkpoint(ORIGIN, count, edge.frontier().root())
    files.write_checkpoint(format_note(checkpoint.body(), [sign_as_log(checkpoint, LOG)]))
    return edge


def exporter(
    folder: Path,
    world: World,
    topic: MemoryTopic,
    files: TileFolder | None = None,
    publishing: ExportPolicy | None = None,
    *,
    trusted: bool = False,
) -> ExportWorker:
    """Return an exporter of a test chain, as after a start of the process."""
    store = SqlExportStore(folder / ".state", world.genesis)
    folder_files = files or TileFiles(folder)
    parts = ExportParts(world.genesis, world.log_signer, MemoryReader(topic), folder_files, store, publishing)
    return ExportWorker(parts, trusted=trusted)


def exported_files(folder: Path) -> dict[str, bytes]:
    """Return every public file of an export by its path."""
    found = (path for path in folder.rglob("*") if path.is_file())
    places = {str(path.relative_to(folder)): path for path in found}
    return {place: path.read_bytes() for place, path in places.items() if not place.startswith(".state/")}
