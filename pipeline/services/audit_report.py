"""What audits say: where they look, what is wrong first, and what they saw. Plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.core.anchor_check import NO_ANCHORS, AnchorReport
from pipeline.core.damage import Damage
from pipeline.core.merkle import leaf_hash

MAX_LISTED: Final = 100
NOT_EXCLUDED: Final = (
    "a history rewritten by a quorum of nodes together can't be excluded without an older checkpoint"
)
_COUNTS: Final = ("blocks", "packets", "controls", "signatures", "repeats", "skipped_count", "last_length")


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where a leaf is in an exported log: the bundle's path, the leaf's index in the tree, where its own bytes start.

    ``hash`` is what the tree holds for it.
    """

    file: str
    index: int
    start: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Source:
    """One block as found: its name for people, and its bytes; None where they are no block's record.

    ``data`` is an encoded certified block, or the leaves of one, with ``leaves`` saying where each is.
    ``height`` is what the place says it is (a file's name), 0 where the place does not say; ``position`` is where it
    stands in its source, in the source's own count, one more for each.
    """

    name: str
    data: bytes | tuple[bytes, ...] | None
    height: int = 0
    position: int = 0
    leaves: tuple[Leaf, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong first: source, height expected there (0: none), reason, and the bytes in the source if known."""

    source: str
    height: int
    reason: str
    detail: str
    damage: Damage | None = None

    def __str__(self) -> str:
        where = f" ({self.damage})" if self.damage is not None else ""
        block = f"block {self.height}: {self.reason}: " if self.height else ""
        return f"{self.source}: {block}{self.detail}{where}"

    def as_json(self) -> dict[str, Any]:
        """Return the finding as a JSON value."""
        damage = self.damage
        found = {"source": self.source, "height": self.height, "reason": self.reason, "detail": self.detail}
        if damage is None:
            return found
        return found | {
            "entry": damage.entry,
            "field": damage.field,
            "first_byte": damage.start,
            "last_byte": damage.end - 1,
            "damage": damage.detail,
        }

    @staticmethod
    def of_json(value: Mapping[str, Any]) -> "Finding":
        """Read what ``as_json`` gave."""
        names = ("field", "entry", "first_byte", "last_byte", "damage")
        damage = None
        if "damage" in value:
            name, entry, first, last, detail = (value[each] for each in names)
            damage = Damage(name, entry, first, last + 1, detail)
        return Finding(value["source"], value["height"], value["reason"], value["detail"], damage)


def misplaced_leaf(data: Sequence[bytes], leaves: Sequence[Leaf]) -> Finding | None:
    """Return the first of these leaves that is not the one in the tree, or None."""
    for held, leaf in zip(data, leaves, strict=True):
        if leaf_hash(held) != leaf.hash:
            start, end = leaf.start, leaf.start + len(held)
            where = f"leaf {leaf.index}, bytes {start} to {max(start, end - 1)}"
            return Finding(leaf.file, 0, "tree", f"{where}: not the entry in the tree")
    return None


class WrongError(Exception):
    """Ends the reading of a source at what is wrong with it."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


@dataclass(slots=True)
class AuditReport:
    """What an audit saw; ``finding`` is None for a good chain, ``skipped`` the first records that are no block.

    ``resumed_after`` is the height that an earlier run had reached, ``last_length`` the bytes of the last block,
    ``chain_bytes`` the sum of all (Table 10-3 block recorder). ``log_blocks`` counts the blocks that were derived
    again from the chain log, None where there is no log to look at, ``log_missing`` the offsets that the last block
    consumed and the log does not reach; ``certified_by`` names the nodes that certified
    an exported log; ``decisions`` are heights and what authorities decided there; ``topic_end`` is the offset after the
    last record of the topic, where it was one.
    """

    blocks: int = 0
    packets: int = 0
    controls: int = 0
    signatures: int = 0
    repeats: int = 0
    skipped_count: int = 0
    height: int = 0
    tree_size: int = 0
    root: bytes = b""
    block_hash: bytes = b""
    chain_bytes: int = 0
    last_length: int = 0
    resumed_after: int = 0
    log_blocks: int | None = None
    log_missing: int = 0
    certified_by: tuple[str, ...] = ()
    skipped: list[Finding] = field(default_factory=list)
    decisions: list[tuple[int, str]] = field(default_factory=list)
    finding: Finding | None = None
    anchors: AnchorReport = NO_ANCHORS
    topic_end: int | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing wrong was found."""
        return self.finding is None

    @property
    def not_excluded(self) -> str | None:
        """What this audit can't have noticed, for people; None where anchors confirm the whole chain."""
        agreed = self.anchors.agreed
        if not agreed:
            return NOT_EXCLUDED
        if agreed >= self.tree_size:
            return None
        return (
            f"a rewriting by a quorum of nodes together of what comes after leaf {agreed - 1} can't be excluded:"
            " no trusted file speaks of it"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON value."""
        return {
            "audit_ok": self.is_good,
            "problem": None if self.finding is None else str(self.finding),
            "blocks": self.blocks,
            "packets": self.packets,
            "controls": self.controls,
            "decisions": [{"height": height, "what": what} for height, what in self.decisions],
            "signatures": self.signatures,
            "height": self.height,
            "tree_size": self.tree_size,
            "root": self.root.hex(),
            "block_hash": self.block_hash.hex(),
            "chain_bytes": self.chain_bytes,
            "block_recorder": {"offset": self.chain_bytes - self.last_length, "length": self.last_length},
            "resumed_after": self.resumed_after,
            "log_blocks": self.log_blocks,
            "log_missing": self.log_missing,
            "certified_by": list(self.certified_by),
            "repeats": self.repeats,
            "skipped_records": self.skipped_count,
            "skipped": [item.as_json() for item in self.skipped],
            "finding": None if self.finding is None else self.finding.as_json(),
            **self.anchors.as_json(),
            "not_excluded": self.not_excluded,
        }

    def skip(self, finding: Finding) -> None:
        """Count a record that is no block of the chain, and list the first of them."""
        self.skipped_count += 1
        if len(self.skipped) < MAX_LISTED:
            self.skipped.append(finding)

    def progress(self) -> dict[str, Any]:
        """Return what a resumed audit has to know beside the chain's state, as a JSON value."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        listed = {"skipped": [item.as_json() for item in self.skipped], "decisions": self.decisions}
        return counts | listed

    def go_on_from(self, progress: Mapping[str, Any]) -> None:
        """Take up what ``progress`` gave."""
        for name in _COUNTS:
            setattr(self, name, progress[name])
        self.skipped = [Finding.of_json(item) for item in progress["skipped"]]
        self.decisions = [(height, what) for height, what in progress["decisions"]]
