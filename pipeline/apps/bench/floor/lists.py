"""The lists: which primitives a packet costs each stage, and how often. docs/performance.md explains every row.

Nothing is on a list that a stage could do without; where there are several ways to the same effect, the cheapest
counts. What is done once a block counts with the packet's part of a full block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipeline.apps.bench.floor.compute import CHECKPOINT_BYTES, NODE_BYTES, sizes
from pipeline.apps.bench.floor.shape import Shape
from pipeline.core.keys import Algorithm
from pipeline.core.sealing import SIGNING_ALGORITHM, Suite


class Stage(StrEnum):
    """A stage that has a list."""

    SITE = "site"
    VALIDATOR = "validator"
    NODE = "node"
    PLATFORM = "platform"
    EXPORT = "export"
    AUDIT = "audit"


class Database(StrEnum):
    """Where the platform keeps its store."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


@dataclass(frozen=True, slots=True)
class Use:
    """Ways to one effect, of which the cheapest counts, and how often a packet needs it."""

    ways: tuple[str, ...]
    count: float


def uses(stage: Stage, shape: Shape, database: Database = Database.SQLITE) -> tuple[Use, ...]:
    """Return the list of a stage for packets of a shape."""
    if stage is Stage.PLATFORM:
        return _platform(shape, database)
    return _LISTS[stage](shape)


def _site(shape: Shape) -> tuple[Use, ...]:
    values, hashed = shape.values, sizes(shape)
    return (
        Use(("source row",), values),
        Use(("record encode by our writer", "record encode by fastavro"), values),
        Use(
            (f"{_cipher(shape)} seal {len(shape.packet.encrypted)}",), 2
        ),  # into the spool, and for the readers
        Use(("append and fsync records",), 1),
        *_digest(shape),
        Use(("records array encode",), 1),
        Use((f"kem seal {shape.suite.name.lower()}",), 1),
        Use((f"{_signature(shape)} sign {len(shape.packet.signed)}",), 1),
        Use(("packet encode by fastavro",), 1),
        Use((f"sha256 {hashed['packet']}",), 1),  # the identifier, which the next packet names
        Use(("append and fsync packet",), 1),
        _produce("packet to the packets topic"),
    )


def _validator(shape: Shape) -> tuple[Use, ...]:
    return (_fetch("packet"), *_checked(shape), _produce("packet"))


def _node(shape: Shape) -> tuple[Use, ...]:
    hashed, share = sizes(shape), 1 / shape.packets_per_block
    return (
        _fetch("packet"),
        *_checked(shape),
        Use((f"sha256 {hashed['packet']}",), 2),  # the identifier; the value in the log digest
        Use((f"sha256 {NODE_BYTES}",), 3),  # the log digest, a node in either tree
        Use((f"sha256 {hashed['leaf']}",), 1),
        Use(("block encode by fastavro",), share),
        Use((f"ed25519 sign {CHECKPOINT_BYTES}",), share),
        Use((f"mldsa44 sign {CHECKPOINT_BYTES}",), share),
        *_certificate(shape, share),
        Use(("append and fsync block",), share),
        Use(("redis commit",), share / shape.nodes),  # one node of all commits a block, and one publishes it
        Use(("redis mark",), share / shape.nodes),
        _produce("block", share / shape.nodes),
        _fetch("block", share),
    )


def _platform(shape: Shape, database: Database) -> tuple[Use, ...]:
    values, share = shape.values, 1 / shape.packets_per_block
    return (
        _fetch("block", share),
        *_block_read(shape, share),
        *_checked(shape),
        *_placed(shape),
        Use((f"kem open {shape.suite.name.lower()}",), 1),
        Use((f"{_cipher(shape)} open {len(shape.packet.encrypted)}",), 1),
        Use(("records array decode",), 1),
        *_digest(shape),
        Use(("record decode by our reader", "record decode by fastavro"), values),
        Use((f"{database} insert observation",), values),
        Use((f"{database} insert record",), 1),
        Use((f"{database} commit",), share),
        Use(("observations message encode by our writer", "observations message encode by fastavro"), 1),
        _produce("message"),
    )


def _export(shape: Shape) -> tuple[Use, ...]:
    """Blocks from files to tiles, the sites' signatures left to the certificates."""
    share = 1 / shape.packets_per_block
    return (
        *_block_read(shape, share),
        Use((f"sha256 {sizes(shape)['leaf']}",), 1),
        Use((f"sha256 {NODE_BYTES}",), 1),
        Use(("append and fsync block",), share),
    )


def _audit(shape: Shape) -> tuple[Use, ...]:
    """Blocks from files, everything in them checked."""
    return (*_block_read(shape, 1 / shape.packets_per_block), *_checked(shape), *_placed(shape))


_LISTS: Final[dict[Stage, Callable[[Shape], tuple[Use, ...]]]] = {
    Stage.SITE: _site,
    Stage.VALIDATOR: _validator,
    Stage.NODE: _node,
    Stage.EXPORT: _export,
    Stage.AUDIT: _audit,
}


def _checked(shape: Shape) -> tuple[Use, ...]:
    """Reading a packet and checking its signature."""
    return (
        Use(("packet decode by our reader", "packet decode by fastavro"), 1),
        Use((f"{_signature(shape)} verify {len(shape.packet.signed)}",), 1),
    )


def _placed(shape: Shape) -> tuple[Use, ...]:
    """What finds a packet in its block and tree: identifier, leaf, a node in either tree."""
    hashed = sizes(shape)
    return (
        Use((f"sha256 {hashed['packet']}",), 1),
        Use((f"sha256 {hashed['leaf']}",), 1),
        Use((f"sha256 {NODE_BYTES}",), 2),
    )


def _block_read(shape: Shape, share: float) -> tuple[Use, ...]:
    """Taking a block apart and checking its certificate."""
    return (
        Use(("block decode by our reader", "block decode by fastavro"), share),
        *_certificate(shape, share),
    )


def _digest(shape: Shape) -> tuple[Use, ...]:
    """The salted digest over a packet's records."""
    return (
        Use(("salt by shared states", "salt by hmac"), shape.values),
        Use((f"sha256 {sizes(shape)['record']}",), shape.values),
        Use((f"sha256 {NODE_BYTES}",), shape.values - 1),
    )


def _certificate(shape: Shape, share: float) -> tuple[Use, ...]:
    """Checking the cosignatures that certify a block, two keys a node."""
    return (
        Use((f"ed25519 verify {CHECKPOINT_BYTES}",), share * shape.quorum),
        Use((f"mldsa44 verify {CHECKPOINT_BYTES}",), share * shape.quorum),
    )


def _fetch(what: str, count: float = 1) -> Use:
    return Use((f"kafka fetch {what}",), count)


def _produce(what: str, count: float = 1) -> Use:
    return Use((f"kafka send_batch {what}", f"kafka send {what}"), count)


def _signature(shape: Shape) -> str:
    return "ed25519" if SIGNING_ALGORITHM[shape.suite] is Algorithm.ED25519 else "p256"


def _cipher(shape: Shape) -> str:
    return "chacha20" if shape.suite is Suite.LIGHT else "aes256gcm"
