"""Makes the chain of a plan in a folder, block by block: derived and certified as accounting nodes do it.

What is there is kept: a longer chain goes on from a shorter one, and from where making it was interrupted.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.block_folder import block_file, block_files, read_blocks
from pipeline.adapters.keystore import load_signer
from pipeline.apps.authority import ChainFiles, create_chain
from pipeline.apps.bench.enrolments import enrolments
from pipeline.apps.bench.packets import entry_time, made_packets
from pipeline.apps.bench.plan import (
    FORMAT,
    START_MS,
    BenchPlan,
    fixed_random,
    site_name,
    site_signer,
)
from pipeline.core import avro
from pipeline.core.admission import CONTROL_SCHEMA, PACKET_SCHEMA
from pipeline.core.block import encode_certified, parse_certified
from pipeline.core.checkpoint import assemble_certificate, cosign
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey, Use
from pipeline.core.outcome import Outcome
from pipeline.core.replica import Extended, assume_signed, extend
from pipeline.core.signing import Signer
from pipeline.core.state import START, ChainState

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class BenchChain:
    """A made chain in its folder; blocks are encoded certified blocks, one file each."""

    plan: BenchPlan
    files: ChainFiles
    folder: Path

    @property
    def genesis(self) -> Genesis:
        """The chain's genesis."""
        return self.files.genesis()

    @property
    def blocks_folder(self) -> Path:
        """Where the blocks are, as ``bkdms verify --blocks`` reads them."""
        return self.folder / "blocks"

    @property
    def tiles_folder(self) -> Path:
        """Where the exported tiles of the chain are kept, once made."""
        return self.folder / f"tiles-{self.plan.entries}"

    @property
    def block_count(self) -> int:
        """Blocks of the plan; there may be more in the folder, of a longer one."""
        return 1 + -(-self.plan.entries // self.plan.block_entries)

    def site_keys(self) -> list[PublicKey]:
        """Return the sites' verification keys."""
        return [site_signer(number, self.plan.suite).public for number in range(self.plan.sites)]

    def blocks(self) -> Iterator[bytes]:
        """Yield the plan's certified blocks in order."""
        files = [
            (height, block_file(self.blocks_folder, height)) for height in range(1, self.block_count + 1)
        ]
        return (content for _, _, content in read_blocks(files))


def open_chain(data: Path, plan: BenchPlan, progress: Progress = lambda _: None) -> BenchChain:
    """Return the chain of a plan, made in ``data`` as far as it is not there; ``progress`` hears of entries.

    Raises:
        ConfigError: the folder can't be used, or holds something else.
    """
    folder = data / f"{plan.name}-{FORMAT}"
    files = ChainFiles(folder / "chain")
    if not files.genesis_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        create_chain(files.folder, plan.chain_plan(), fixed_random(plan.name))
    chain = BenchChain(plan, files, folder)
    chain.blocks_folder.mkdir(exist_ok=True)
    if not block_file(chain.blocks_folder, chain.block_count).exists() or not _is_whole(chain):
        _Maker(chain, progress).make()
    return chain


def _is_whole(chain: BenchChain) -> bool:
    """Say whether the last block is as full as the plan wants it; one of a shorter plan may be less so."""
    _, _, last = next(read_blocks([(0, block_file(chain.blocks_folder, chain.block_count))]))
    from_block = chain.plan.entries - (chain.block_count - 2) * chain.plan.block_entries
    return _packets_in(last) >= from_block


class _Maker:
    """Feeds a chain log that is nowhere kept into a deriver, and writes what it closes."""

    def __init__(self, chain: BenchChain, progress: Progress) -> None:
        self._chain = chain
        self._plan = chain.plan
        self._progress = progress
        genesis = chain.genesis
        self._state = ChainState(genesis)
        self._signers: list[tuple[str, Signer]] = []
        for name in self._plan.node_names[: self._plan.quorum]:
            for file in (chain.files.node_key(name), chain.files.node_mldsa44_key(name)):
                self._signers.append((name, load_signer(file, Use.NODE)))

    def make(self) -> None:
        """Make the blocks that are not there."""
        done = self._resume()
        deriver = Deriver(self._state)
        if not self._state.head.height:
            registrar = load_signer(self._chain.files.registrar_key, Use.REGISTRAR)
            for raw in enrolments(self._plan, self._state.genesis.chain, registrar):
                self._feed(deriver, avro.frame(CONTROL_SCHEMA, raw), START_MS)
        positions = {
            number: self._state.tables.positions.get(site_name(number), START)
            for number in range(self._plan.sites)
        }
        chain = self._state.genesis.chain
        packets = made_packets(self._plan, chain, positions, done, os.cpu_count() or 1)
        for index, raw in enumerate(packets, done):
            self._feed(deriver, avro.frame(PACKET_SCHEMA, raw), entry_time(self._plan, index))
        for derived in deriver.close():
            self._write(derived)

    def _resume(self) -> int:
        """Take what is there into the state, whole blocks only; return how many packets that is."""
        done, per_block = 0, self._plan.block_entries
        try:
            files = block_files(self._chain.blocks_folder)
        except ConfigError:
            return 0
        for height, path, content in read_blocks(files):
            count = _packets_in(content)
            if height > 1 and count < per_block and done + count < self._plan.entries:
                break
            if not isinstance(extend(self._state, content, assume_signed), Extended):
                raise ConfigError(f"{path} is not the next block of the bench chain; remove the folder")
            done += count
            self._progress(count)
            if done >= self._plan.entries:
                break
        return done

    def _feed(self, deriver: Deriver, value: bytes, time_ms: int) -> None:
        fed = deriver.feed(LogRecord(deriver.next_offset, time_ms, value), check=assume_signed)
        if fed.outcome is not Outcome.ADMITTED:
            raise ConfigError(f"a made-up record is refused as {fed.outcome.label}")
        for derived in fed.closed:
            self._write(derived)

    def _write(self, derived: Derived) -> None:
        time_s = derived.block.header.period_end // 1000
        votes = [cosign(derived.checkpoint, name, signer, time_s) for name, signer in self._signers]
        certified = encode_certified(derived.block, assemble_certificate(derived.checkpoint, votes))
        path = block_file(self._chain.blocks_folder, derived.block.header.height)
        draft = path.with_suffix(".new")
        draft.write_bytes(certified)
        draft.replace(path)
        if derived.block.header.height > 1:
            self._progress(len(derived.block.entries))


def _packets_in(certified: bytes) -> int:
    """Return how many entries a block says that it has; none for the block of enrolments."""
    found = parse_certified(certified)
    return 0 if found is None or found[0].header.height == 1 else len(found[0].entries)
