"""Standing: what the ledger lets the site do now, and with which key, suite and signer it seals its next packet.

Starts from the registrar's answer, follows what verified heads bring, and is kept in the spool, so that an agent that
starts while the API is away goes on with what it knew. Believes records of the registrar alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipeline.core.agreement import Agreed, Entitlement, Hold, agree
from pipeline.core.authorities import authorities_of
from pipeline.core.batching import Terms
from pipeline.core.control import Control, SiteBody
from pipeline.core.entitlement import Placed, entitlement_after, needed
from pipeline.core.errors import IntegrityError
from pipeline.core.genesis import Genesis
from pipeline.core.keys import Algorithm, PublicKey
from pipeline.core.names import MAX_LONG, SiteName
from pipeline.core.proven import issued_control, root_control
from pipeline.core.receipt import Receipt
from pipeline.core.sealing import SEALING_ALGORITHM
from pipeline.core.signing import Signer
from pipeline.services.site_agent.needs import Spool


@dataclass(frozen=True, slots=True)
class Sealing:
    """How the next packet is sealed: terms of its bytes, the site's signer, and what was agreed."""

    terms: Terms
    signer: Signer
    agreed: Agreed


class SiteStanding:
    """The standing of one site. ``learn`` and ``load`` are called by one thread at a time; ``agree`` by any.

    ``terms`` and ``entitlement`` are those of the answer; ``signers`` the site's own keys, the answer's first;
    ``own_readers`` the site's keys to read its packets with, by algorithm; ``yields`` the indicators that its source
    gives.
    """

    def __init__(
        self,
        genesis: Genesis,
        terms: Terms,
        entitlement: Entitlement,
        signers: tuple[Signer, ...],
        spool: Spool,
        *,
        own_readers: Mapping[Algorithm, PublicKey] | None = None,
        yields: frozenset[str] = frozenset(),
    ) -> None:
        self._genesis, self._terms, self._spool = genesis, terms, spool
        self._start, self._yields = entitlement, yields
        self._signers = {signer.public.fingerprint: signer for signer in signers}
        self._own_readers = own_readers or {}
        self._records: tuple[Placed, ...] = ()
        self._contract = genesis.contract
        self.entitlement = entitlement
        self.seen = 0

    def load(self) -> None:
        """Take up what earlier runs learned.

        Raises:
            IntegrityError: code ``standing``: the spool holds a record that no registrar issued about this site.
            TransientError: the disk fails.
        """
        self._take(stored_records(self._genesis, self._terms.site, self._spool.standing()))

    def learn(self, receipt: Receipt) -> bool:
        """Take up the registrar's records in a verified head, on disk before they count; tell whether any was new.

        Raises:
            TransientError: the disk fails; nothing changed.
        """
        known = {placed.leaf_index for placed in self._records}
        shown = (*receipt.records, *receipt.authorities)
        fresh = [placed for placed in shown if placed.leaf_index not in known]
        self.seen = max(self.seen, receipt.tree_size)
        kept = needed((*self._records, *fresh))
        if kept == self._records:
            return False
        self._spool.keep_standing([(placed.leaf_index, placed.control.raw) for placed in kept])
        self._take(kept)
        return True

    @property
    def authorities(self) -> tuple[Placed, ...]:
        """Changes of registrars, nodes and contract that were verified."""
        return tuple(placed for placed in self._records if not isinstance(placed.control.body, SiteBody))

    def _take(self, records: tuple[Placed, ...]) -> None:
        self._records = records
        self._contract = authorities_of(self._genesis, records).contract_at(MAX_LONG)
        self.entitlement = entitlement_after(self._start, records)

    def agree(self, now_ms: int) -> Sealing | Hold:
        """Return how to seal at ``now_ms``, or why not to."""
        found, floor = self.entitlement, self._terms.suite
        signer = self._signers.get(found.site_key)
        if signer is None:
            return Hold.OTHER_KEY
        if not self._yields <= frozenset(found.indicators):
            return Hold.NOT_GRANTED
        agreed = agree(found, self._contract, signer.public.algorithm, floor, now_ms)
        if isinstance(agreed, Hold):
            return agreed
        own = self._own_readers.get(SEALING_ALGORITHM[agreed.suite])
        readers = (agreed.offer.key,) if own is None else (agreed.offer.key, own)
        terms = replace(self._terms, suite=agreed.suite, readers=readers)
        return Sealing(terms, signer, agreed)


def stored_records(genesis: Genesis, site: SiteName, rows: Iterable[tuple[int, bytes]]) -> tuple[Placed, ...]:
    """Return the records about a site and its authorities that a spool holds, their signatures checked again.

    Raises:
        IntegrityError: code ``standing``: one of them is none.
    """
    held = list(rows)
    by_roots = [(leaf_index, root_control(genesis, raw)) for leaf_index, raw in held]
    found = [Placed(leaf_index, control) for leaf_index, control in by_roots if control is not None]
    authorities, roots = authorities_of(genesis, found), {placed.leaf_index for placed in found}
    for leaf_index, raw in held:
        if leaf_index in roots:
            continue
        control = issued_control(genesis, raw, authorities.registrars_at(leaf_index))
        if not isinstance(control, Control) or not _is_about(control, site):
            raise IntegrityError(
                "the spool holds a record about this site's rights that no registrar issued; the spool was changed, or "
                "the genesis file is of another chain: put the right files back, then run 'bkdms site verify'",
                code="standing",
            )
        found.append(Placed(leaf_index, control))
    return tuple(sorted(found, key=lambda placed: placed.leaf_index))


def _is_about(control: Control, site: SiteName) -> bool:
    return isinstance(control.body, SiteBody) and control.body.site == site
