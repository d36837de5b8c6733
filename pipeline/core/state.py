"""Chain state: registry, positions and head. A function of the blocks alone.

Changes are journalled, so that a block can be undone and what it changed can be stored.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from pipeline.core.block import Block
from pipeline.core.contract import Contract
from pipeline.core.control import BackfillGrant
from pipeline.core.genesis import RULES_VERSION, Genesis
from pipeline.core.keys import PublicKey
from pipeline.core.merkle import Frontier
from pipeline.core.names import SiteName
from pipeline.core.quorum import Policy
from pipeline.core.sealing import Suite

_MISSING = object()


class Position(NamedTuple):
    """Last admitted sequence and identifier (32 bytes) of a site or an authority."""

    sequence: int
    last_id: bytes


START = Position(0, bytes(32))


@dataclass(frozen=True, slots=True)
class Site:
    """Registry entry of a sampling site."""

    name: SiteName
    key: PublicKey
    suites: tuple[Suite, ...]
    indicators: tuple[str, ...]
    equipment: tuple[bytes, ...]
    active: bool = True
    suspended: bool = False
    previous: PublicKey | None = None
    previous_until_ms: int = 0

    def key_of(self, fingerprint: bytes, time_ms: int) -> PublicKey | None:
        """Return the key of this fingerprint if the site may sign with it at broker time ``time_ms``."""
        if fingerprint == self.key.fingerprint:
            return self.key
        previous = self.previous
        if previous is None or fingerprint != previous.fingerprint or time_ms > self.previous_until_ms:
            return None
        return previous


@dataclass(frozen=True, slots=True)
class Offer:
    """A sealing key that the platform offered to a site."""

    epoch: int
    key: PublicKey
    valid_to: int


@dataclass(frozen=True, slots=True)
class Terms:
    """Who certifies blocks and by which rules they are made; changed at the end of a block only."""

    policy: Policy
    contract: Contract
    rules_version: int


class Office(StrEnum):
    """What authorities other than nodes and roots are for."""

    REGISTRARS = "registrars"
    ACCESS_LOG = "access_log"


@dataclass(frozen=True, slots=True)
class Head:
    """End of the chain: last block, tree, and where the chain log goes on.

    ``chain_bytes`` is the sum of the lengths of all encoded blocks (Table 10-3 block recorder).
    """

    height: int
    block_hash: bytes
    frontier: Frontier
    incarnation: int
    next_offset: int
    period_start: int
    part: int
    chain_bytes: int


@dataclass(slots=True)
class Tables:
    """The keyed parts of the state.

    ``terms`` are in force for blocks that end beyond the tree size which is their key; before the first and where an
    office has no row, what the genesis file says holds.
    """

    sites: dict[SiteName, Site] = field(default_factory=dict)
    positions: dict[SiteName, Position] = field(default_factory=dict)
    grants: dict[SiteName, tuple[BackfillGrant, ...]] = field(default_factory=dict)
    offers: dict[SiteName, tuple[Offer, ...]] = field(default_factory=dict)
    issuers: dict[bytes, Position] = field(default_factory=dict)
    offices: dict[Office, tuple[PublicKey, ...]] = field(default_factory=dict)
    terms: dict[int, Terms] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """What one block changed: new rows by table, and the head after it."""

    tables: Tables
    head: Head


def in_one(changes: Iterable[Changes]) -> Changes | None:
    """Return what consecutive blocks changed together; None where there are none."""
    tables, head = Tables(), None
    for each in changes:
        for name in Tables.__slots__:
            getattr(tables, name).update(getattr(each.tables, name))
        head = each.head
    return None if head is None else Changes(tables, head)


class ChainState:
    """State after a block; mutable, with a journal since the last ``take_changes``.

    ``contract``, ``policy`` and ``rules_version`` are those of the block that comes next, ``registrars`` those of the
    record that comes next.
    """

    contract: Contract
    policy: Policy
    rules_version: int
    registrars: dict[bytes, PublicKey]

    def __init__(self, genesis: Genesis, tables: Tables | None = None, head: Head | None = None) -> None:
        self.genesis = genesis
        self.chain = genesis.chain
        self.roots = {key.fingerprint: key for key in genesis.root_keys}
        self.tables = tables if tables is not None else Tables()
        self.head = head if head is not None else genesis_head(genesis)
        self._journal: list[tuple[str, Hashable, object]] = []
        self._head_before = self.head
        self._pending: Terms | None = None
        self.refresh()

    def refresh(self) -> None:
        """Take what is in force from the tables, after they were written to from outside."""
        offices, terms = self.tables.offices, self.terms
        self.contract, self.policy, self.rules_version = terms.contract, terms.policy, terms.rules_version
        registrars = offices.get(Office.REGISTRARS, self.genesis.registrars)
        self.registrars = {key.fingerprint: key for key in registrars}

    @property
    def terms(self) -> Terms:
        """The terms in force for the block that comes next."""
        changed = self.tables.terms
        return changed[max(changed)] if changed else self.first_terms

    @property
    def first_terms(self) -> Terms:
        """The terms of the genesis file."""
        return Terms(self.genesis.policy, self.genesis.contract, RULES_VERSION)

    @property
    def access_log_key(self) -> PublicKey | None:
        """The key that may anchor the log of API requests, if one was named."""
        return next(iter(self.tables.offices.get(Office.ACCESS_LOG, ())), None)

    @property
    def has_new_terms(self) -> bool:
        """Whether an enacted record changes the terms, so that its block ends with it."""
        return self._pending is not None

    def policy_at(self, tree_size: int) -> Policy:
        """Return the policy that certifies the block which ends, or would end, at this tree size."""
        below = [size for size in self.tables.terms if size < tree_size]
        return self.tables.terms[max(below)].policy if below else self.genesis.policy

    def appoint(self, office: Office, keys: tuple[PublicKey, ...]) -> None:
        """Give an office to other keys, from here on."""
        self.put("offices", office, keys)
        self.refresh()

    def decide(self, terms: Terms) -> None:
        """Note the terms that come into force when the block is sealed."""
        self._pending = terms

    def copy(self) -> "ChainState":
        """Return a state that goes its own way from here."""
        tables = Tables(**{name: dict(getattr(self.tables, name)) for name in Tables.__slots__})
        return ChainState(self.genesis, tables, self.head)

    def put(self, table: str, key: Hashable, value: object) -> None:
        """Set one row of a table of ``Tables``."""
        rows: dict[Any, Any] = getattr(self.tables, table)
        self._journal.append((table, key, rows.get(key, _MISSING)))
        rows[key] = value

    def seal(self, block: Block) -> Frontier:
        """Advance the head by a block whose entries have been enacted; return the new frontier."""
        header = block.header
        frontier = self.head.frontier.extend(block.leaf_hashes)
        self.head = Head(
            header.height,
            block.hash,
            frontier,
            header.source.incarnation,
            header.source.next,
            header.period_start,
            header.part,
            self.head.chain_bytes + len(block.encoded),
        )
        if self._pending is not None:
            self.put("terms", frontier.size, self._pending)
            self._pending = None
            self.refresh()
        return frontier

    def take_changes(self) -> Changes:
        """Return what changed since the last call and forget how to undo it."""
        changes = Changes(self.changed(), self.head)
        self._journal.clear()
        self._head_before = self.head
        return changes

    def changed(self) -> Tables:
        """Return the rows that changed since the last ``take_changes``, as they are now."""
        tables = Tables()
        for name, key, _ in self._journal:
            getattr(tables, name)[key] = getattr(self.tables, name)[key]
        return tables

    def adopt(self, changes: Changes) -> None:
        """Go on to where a block leads whose changes were found elsewhere; nothing waits to be undone."""
        for name in Tables.__slots__:
            getattr(self.tables, name).update(getattr(changes.tables, name))
        self.head = self._head_before = changes.head
        self.refresh()

    def undo(self) -> None:
        """Go back to the state at the last ``take_changes``."""
        for name, key, old in reversed(self._journal):
            rows: dict[Any, Any] = getattr(self.tables, name)
            if old is _MISSING:
                del rows[key]
            else:
                rows[key] = old
        self._journal.clear()
        self.head = self._head_before
        self._pending = None
        self.refresh()


def genesis_head(genesis: Genesis) -> Head:
    """Return the head before block 1: the genesis hash as block hash, an empty tree."""
    return Head(0, genesis.chain, Frontier.EMPTY, genesis.incarnation, 0, -1, 0, 0)
