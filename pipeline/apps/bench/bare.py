"""The bare cost of what an audit can't do without: its signature checks and its hashes, on all cores.

What they are about is laid ready before the clock runs: keys, messages, leaves. Timed is the library's work alone.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, utils

from pipeline.adapters.block_folder import block_file, read_blocks
from pipeline.apps.bench.chain_maker import BenchChain
from pipeline.core.block import Block, header_leaf, parse_certified
from pipeline.core.control import Control
from pipeline.core.errors import IntegrityError
from pipeline.core.keys import Algorithm, PublicKey
from pipeline.core.merkle import Frontier, root_of
from pipeline.core.note import (
    ED25519,
    MLDSA44,
    SIGNATURE_TYPES,
    TIMESTAMP_BYTES,
    Note,
    VerifierKey,
    parse_note,
)
from pipeline.core.packet import Packet
from pipeline.core.replica import parse_entry
from pipeline.core.signing import SIGNATURE_BYTES

Check = tuple[Callable[..., None], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Bare:
    """Seconds that checks and hashes took: of the slowest process by the wall, of all by the processor; and counts."""

    seconds: float
    cpu_seconds: float
    signatures: int
    hashes: int


def measure_bare(chain: BenchChain, processes: int, progress: Callable[[int], None]) -> Bare:
    """Do every check and hash of the chain's blocks on ``processes`` processes, each on its share of them."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        shares = [(chain, share, processes) for share in range(processes)]
        found = list(pool.starmap(_share, shares))
    progress(chain.block_count)
    return Bare(
        max(each.seconds for each in found),
        sum(each.cpu_seconds for each in found),
        sum(each.signatures for each in found),
        sum(each.hashes for each in found),
    )


def _share(chain: BenchChain, share: int, processes: int) -> Bare:
    """Check and hash every ``processes``-th block."""
    genesis = chain.genesis
    nodes = {(key.name, key.key_id): key.verifier for key in genesis.policy.nodes}
    keys = {key.fingerprint: key for key in (*genesis.registrars, *chain.site_keys())}
    heights = range(1 + share, chain.block_count + 1, processes)
    frontier, spent, busy, signatures, count = Frontier.EMPTY, 0.0, 0.0, 0, 0
    for _, _, content in read_blocks([(h, block_file(chain.blocks_folder, h)) for h in heights]):
        parsed = parse_certified(content)
        if parsed is None:
            raise IntegrityError("a block of the bench chain is damaged")
        block, certificate = parsed
        checks = [*_entry_checks(block, keys), *_note_checks(certificate, nodes)]
        leaves = [b"\0" + entry.leaf for entry in block.entries]
        identified = [entry.payload[:-SIGNATURE_BYTES] for entry in block.entries]
        last = b"\0" + header_leaf(block.header)
        begun, cpu = time.perf_counter(), time.process_time()
        for verify, arguments in checks:
            verify(*arguments)
        hashed = [sha256(leaf).digest() for leaf in leaves]
        for signed in identified:
            sha256(signed).digest()
        root_of(hashed)
        frontier = frontier.extend([*hashed, sha256(last).digest()])
        spent, busy = spent + time.perf_counter() - begun, busy + time.process_time() - cpu
        signatures += len(checks)
        count += 4 * len(leaves) + 2  # leaf, identifier, and a node in each of both trees
    return Bare(spent, busy, signatures, count)


def _entry_checks(block: Block, keys: dict[bytes, PublicKey]) -> Iterator[Check]:
    for entry in block.entries:
        parsed = parse_entry(entry)
        if isinstance(parsed, Packet):
            yield _check(keys[parsed.site_key], parsed.signature, parsed.signed)
        elif isinstance(parsed, Control):
            yield _check(keys[parsed.issuer], parsed.signatures[0][1], parsed.signed)


def _note_checks(certificate: bytes, nodes: dict[tuple[str, bytes], VerifierKey]) -> Iterator[Check]:
    note = parse_note(certificate)
    if not isinstance(note, Note):
        raise IntegrityError("a certificate of the bench chain is damaged")
    for line in note.signatures:
        key = nodes[line.name, line.key_id]
        timestamp, signature = line.signature[:TIMESTAMP_BYTES], line.signature[TIMESTAMP_BYTES:]
        kind = SIGNATURE_TYPES[key.algorithm]
        message = kind.message(key.name, int.from_bytes(timestamp, "big"), note.text)
        if kind.code == MLDSA44:
            yield _mldsa44(key.public_key).verify, (signature, message)
        elif kind.code != ED25519:
            yield _ed25519(key.public_key).verify, (signature, message)


def _check(key: PublicKey, signature: bytes, message: bytes) -> Check:
    if key.algorithm is Algorithm.ED25519:
        return _ed25519(key.raw).verify, (signature, message)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    return _p256(key.raw).verify, (utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))


@cache
def _ed25519(raw: bytes) -> ed25519.Ed25519PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(raw)


@cache
def _mldsa44(raw: bytes) -> mldsa.MLDSA44PublicKey:
    return mldsa.MLDSA44PublicKey.from_public_bytes(raw)


@cache
def _p256(raw: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
