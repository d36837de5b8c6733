"""Confirming: asks for the site's head, verifies it, and only then forgets.

An answer that proves nothing is a failure of whoever answers, and is asked for again. Only verified data
that contradict what this site made or verified before halt the agent; nothing is deleted then.
"""

from pipeline.core.delivery import (
    Confirms,
    Contradiction,
    StoredReceipt,
    Verdict,
    VerifiedHead,
    after_head,
)
from pipeline.core.entitlement import Placed
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.core.genesis import Genesis
from pipeline.core.names import SiteName
from pipeline.core.receipt import Receipt, verify_head
from pipeline.core.site_head import ReceiptProblem, parse_site_head
from pipeline.services.site_agent.needs import SiteParts
from pipeline.services.site_agent.retry import settled
from pipeline.telemetry import site_metrics, spans


class Confirmer:
    """Confirms for one site."""

    def __init__(self, parts: SiteParts) -> None:
        self._genesis, self._terms, self._spool = parts.genesis, parts.terms, parts.spool
        self._heads, self._clock, self._label = parts.heads, parts.clock, parts.label
        self._standing = parts.standing

    async def step(self, *, anew: bool = False) -> Verdict:
        """Ask once and act on the answer; ``anew`` asks for all records about the site again, not for later ones alone.

        Raises:
            TransientError: nobody answers, or the answer proves nothing (code ``head_unproven``).
            IntegrityError: the verified head contradicts this spool.
        """
        document = await self._document(0 if anew else self._standing.seen)
        verdict = await settled(lambda: self._apply(document))
        site_metrics.HEADS.labels(self._label, type(verdict).__name__.lower()).inc()
        return verdict

    async def adopt(self) -> None:
        """Take the ledger's verified head of this site as the place to go on from, whoever made its packet.

        Raises:
            TransientError: nobody answers, or the answer proves nothing.
        """
        document = await self._document(0)
        await settled(lambda: self._adopt(document))

    def check_stored(self) -> None:
        """Verify the receipt on disk again, at start, and take up what was learned of the site's rights.

        Raises:
            IntegrityError: code ``receipt``: it proves nothing; ``standing``: the rights are no registrar's.
        """
        self._standing.load()
        receipt = self._spool.receipt()
        if receipt is None:
            return
        problem = check_receipt(self._genesis, self._terms.site, receipt, self._standing.authorities)
        if isinstance(problem, str):
            raise IntegrityError(
                f"the last receipt in the spool does not verify ({problem}); the spool was changed, or the "
                "genesis file is of another chain: put the right files back, then run 'bkdms site verify'",
                code="receipt",
            )

    async def _document(self, since: int) -> bytes:
        document = await self._heads.head(self._terms.site, since=since)
        # A packet that this spool does not hold must come with its bytes, or nothing about it can be proven.
        if await settled(lambda: self._is_strange(document)):
            document = await self._heads.head(self._terms.site, with_packet=True, since=since)
        return document

    def _is_strange(self, document: bytes) -> bool:
        parsed = parse_site_head(document)
        if isinstance(parsed, ReceiptProblem) or not parsed.sequence:
            return False
        return self._spool.packet(parsed.packet_id) is None

    def _verified(self, document: bytes) -> tuple[VerifiedHead, bytes]:
        """Return what a document proves of this site, and the packet that it speaks of; learn its records."""
        parsed = parse_site_head(document)
        if isinstance(parsed, ReceiptProblem):
            raise _unproven(parsed)
        packet = self._spool.packet(parsed.packet_id) if parsed.sequence else None
        found = verify_head(self._genesis, packet, parsed, self._standing.authorities)
        if isinstance(found, ReceiptProblem):
            raise _unproven(found)
        if found.site != self._terms.site:
            raise TransientError(f"asked for {self._terms.site}, got {found.site}", code="head_unproven")
        self._standing.learn(found)
        return verified_head(found), packet or parsed.head.payload or b""

    def _apply(self, document: bytes) -> Verdict:
        head, packet = self._verified(document)
        verdict = after_head(self._spool.receipt(), self._spool.made(), head)
        if isinstance(verdict, Contradiction):
            raise IntegrityError(
                f"{verdict.detail}. Nothing was deleted. Stop any other agent with this site's key and put back "
                "the newest copy of the spool; if it is lost, run 'bkdms site resync --adopt'",
                code=verdict.code,
            )
        if isinstance(verdict, Confirms):
            self._confirm(verdict, head, packet, document)
        return verdict

    def _adopt(self, document: bytes) -> None:
        head, packet = self._verified(document)
        held = self._spool.receipt()
        if head.sequence and (held is None or head.sequence > held.head.sequence):
            last = 0 if held is None else held.last_record
            self._spool.adopt(StoredReceipt(head, last, self._clock.now_ms(), packet, document))

    def _confirm(self, verdict: Confirms, head: VerifiedHead, packet: bytes, document: bytes) -> None:
        now = self._clock.now_ms()
        receipt = StoredReceipt(head, verdict.last.last_record, now, packet, document)
        self._spool.confirm(receipt, verdict)
        records = verdict.last.last_record - verdict.committed[0].first_record + 1
        site_metrics.CONFIRMED.labels(self._label).inc(len(verdict.committed))
        site_metrics.CONFIRMED_RECORDS.labels(self._label).inc(records)
        for made in verdict.committed:
            site_metrics.COMMIT_SECONDS.labels(self._label).observe(max(0, now - made.oldest_ms) / 1000)
            spans.record(spans.ROOT, made.packet_id, made.oldest_ms, now)


def verified_head(receipt: Receipt) -> VerifiedHead:
    """Return what a verified head means for a spool."""
    return VerifiedHead(
        receipt.sequence, receipt.packet_id, receipt.tracing_code.height, receipt.tree_size, receipt.root
    )


def check_receipt(
    genesis: Genesis, site: SiteName, stored: StoredReceipt, known: tuple[Placed, ...] = ()
) -> Receipt | str:
    """Return what a stored receipt proves, or why it does not prove what it is stored for. Offline.

    ``known`` are changes of authorities that were verified before.
    """
    parsed = parse_site_head(stored.document)
    if isinstance(parsed, ReceiptProblem):
        return f"{parsed.reason}: {parsed.detail}"
    found = verify_head(genesis, stored.packet, parsed, known)
    if isinstance(found, ReceiptProblem):
        return f"{found.reason}: {found.detail}"
    if found.site != site or verified_head(found) != stored.head:
        return "it is of another site or packet"
    return found


def _unproven(problem: ReceiptProblem) -> TransientError:
    return TransientError(
        f"the API's head of this site proves nothing ({problem.reason}: {problem.detail})",
        code="head_unproven",
    )
