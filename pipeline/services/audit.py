"""Audit of a whole chain from its genesis: every link, root, certificate, signature and admission again.

Reads what it is given and believes nothing; names the first bad bytes. Without an older checkpoint it can't know
whether all keys together rewrote history; its report says so. With helpers, blocks are surveyed on all cores and
joined in order; what does not join is judged in full, so that the result is the same without them.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from pipeline.core.anchor import Anchor
from pipeline.core.anchor_check import AnchorCheck
from pipeline.core.block import LogSource, parse_certified
from pipeline.core.damage import Damage, locate_damage
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.genesis import Genesis
from pipeline.core.leaf_damage import locate_leaf_damage
from pipeline.core.leaves import block_of_leaves
from pipeline.core.replica import BlockProblem, BlockReason, Extended, extend, extend_uncertified
from pipeline.core.state import ChainState
from pipeline.core.survey import Survey, join
from pipeline.services.anchored import first_finding
from pipeline.services.audit_progress import AuditProgress, AuditStore, RootsInMemory
from pipeline.services.audit_report import AuditReport, Finding, Source, WrongError, misplaced_leaf
from pipeline.services.certificate_watch import CertificateWatch
from pipeline.services.decisions import decisions
from pipeline.services.follower import in_thread
from pipeline.services.good_block import GoodBlock, is_placed, of_extended, of_survey
from pipeline.services.log_audit import LogStart
from pipeline.services.survey_pool import SurveyPool

OnBlock = Callable[[bytes, int], None]
"""Hears of each good block with a certificate, in order: its encoding, and its position in its source."""


class Auditor:
    """Audits one chain. ``strict`` takes any source that is not the next block for a finding, as in a folder.

    Otherwise (a topic) repeats are fine, and what is no block of the chain is listed and matters only where no good
    block of that height follows. ``pool`` surveys blocks ahead on its helpers; the caller ends it. ``anchors`` are
    older statements that the chain is held against. ``store`` is asked where an earlier audit stopped, and keeps how
    far this one came. With ``log_first``, the first offset that the chain log still holds, ``log_start`` becomes the
    point from which blocks can be derived again.
    """

    def __init__(
        self,
        genesis: Genesis,
        *,
        strict: bool,
        pool: SurveyPool | None = None,
        anchors: Sequence[Anchor] = (),
        store: AuditStore | None = None,
        on_block: OnBlock | None = None,
        log_first: int | None = None,
    ) -> None:
        self._strict = strict
        self._pool = pool
        self._anchors = AnchorCheck(anchors)
        self._on_block = on_block
        self._log_first = log_first
        self._pending: deque[tuple[Source, int]] = deque()
        self._state = ChainState(genesis)
        self._open: Finding | None = None
        self.report = AuditReport()
        self.position = 0
        self.settled = 0
        self.log_start: LogStart | None = None
        kept = store or RootsInMemory()
        self._progress = AuditProgress(kept)
        self._watch = CertificateWatch(genesis, kept.root_of_size)
        self._go_on_from(kept)
        if pool is not None:
            pool.begin(self._state.tables)

    @property
    def state(self) -> ChainState:
        """The state after the last good block; not to be changed."""
        return self._state

    def take(self, sources: Sequence[Source]) -> bool:
        """Audit the next sources, in order, some perhaps later; return whether to go on."""
        for source in sources:
            if self._pool is None:
                self._passed(source, self._judge(source))
            else:
                while self._pool.room <= 0 and self.report.finding is None:
                    self._settle(self._pool)
                self._pending.append((source, self._pool.submit(source.data or b"")))
            if self.report.finding is not None:
                return False
        return True

    def finish(self) -> AuditReport:
        """Audit what waits still, and return the report after the last source."""
        report = self.report
        while self._pending and self._pool is not None and report.finding is None:
            self._settle(self._pool)
        self.save()
        if report.finding is None:
            report.finding = self._open
        if report.finding is None and self._watch.ahead is not None:
            detail = f"the blocks end before the tree of {self._watch.ahead} leaves that the nodes certified"
            report.finding = Finding("end", report.height + 1, "block_gap", detail)
        report.anchors = self._anchors.report()
        return report

    def save(self) -> None:
        """Keep how far the audit has come, unless it has come to something wrong, which it has to find again.

        Raises:
            TransientError: the disk refuses.
        """
        if self.report.finding is not None:
            return
        document = self.report.progress() | {
            "ahead": [[size, root.hex()] for size, root in self._watch.claims.items()],
            "anchors": self._anchors.progress(),
            "open": None if self._open is None else self._open.as_json(),
        }
        self._progress.save(document, time.monotonic())
        self._watch.stored()

    def _go_on_from(self, store: AuditStore) -> None:
        point = store.load()
        if point is None:
            return
        self._state, self.position, report = point
        if not self._anchors.go_on_from(report["anchors"]):
            raise ConfigError(
                "the audit to go on with was begun with other trusted files; give the same ones, or name another file",
                code="audit_resume",
            )
        self.report.go_on_from(report)
        self._open = None if report["open"] is None else Finding.of_json(report["open"])
        self._note_head()
        self.report.resumed_after = self.report.height
        self._watch.expect({size: bytes.fromhex(root) for size, root in report["ahead"]})

    def _settle(self, pool: SurveyPool) -> None:
        """Settle the oldest source that was handed to the helpers."""
        source, number = self._pending.popleft()
        self._passed(source, self._judge_surveyed(source, pool.take(number)))

    def _passed(self, source: Source, go_on: bool) -> None:
        """Note that a source was judged."""
        self.settled += 1
        if go_on:
            self._progress.passed(source.position + 1)
            if self._progress.is_due(time.monotonic()):
                self.save()

    def _judge_surveyed(self, source: Source, found: Survey | None) -> bool:
        """Judge a source by the survey of it, where there is one; return whether to go on."""
        if found is not None and is_placed(source, found, self._state.head.height + 1):
            self._note_log(found.header.source, source)
            changes = join(self._state, found)
            if changes is not None:
                return self._accept(source, of_survey(found, changes))
        return self._judge(source)

    def _judge(self, source: Source) -> bool:
        """Judge a source in full, here and now; return whether to go on."""
        height = self._state.head.height + 1
        if source.height not in (0, height):
            self.report.finding = Finding(source.name, height, "missing", f"block {height} is not there")
            return False
        if isinstance(source.data, tuple):
            self.report.finding = misplaced_leaf(source.data, source.leaves)
            if self.report.finding is not None:
                return False
        result = self._extended(source)
        if isinstance(result, Extended):
            return self._accept(source, of_extended(result))
        try:
            self._weigh(source.data)
        except IntegrityError as error:
            return self._contradicted(error)
        if result.reason is BlockReason.REPEAT and not self._strict:
            self.report.repeats += 1
            return True
        finding = self._finding(source, height, result)
        if self._strict:
            self.report.finding = finding
        elif self._open is None:
            self._open = finding
        else:
            self.report.skip(finding)
        return not self._strict

    def _extended(self, source: Source) -> Extended | BlockProblem:
        data = source.data
        if isinstance(data, tuple):
            block = block_of_leaves(data)
            if block is None:
                return BlockProblem(BlockReason.MALFORMED, 0, "these leaves are no block")
            return extend_uncertified(self._state, block)
        if self._log_first is not None:
            parsed = parse_certified(data or b"")
            if parsed is not None:
                self._note_log(parsed[0].header.source, source)
        return extend(self._state, data or b"")

    def _finding(self, source: Source, height: int, problem: BlockProblem) -> Finding:
        data, damage, name = source.data, None, source.name
        if isinstance(data, tuple):
            number, found = locate_leaf_damage(self._state, data)
            leaf = source.leaves[number]
            name = leaf.file
            damage = Damage(
                found.field, found.entry, leaf.start + found.start, leaf.start + found.end, found.detail
            )
        else:
            damage = locate_damage(self._state, data or b"")
        return Finding(name, height, problem.reason.value, problem.detail, damage)

    def _accept(self, source: Source, good: GoodBlock) -> bool:
        """Count a block that extended the chain; return whether to go on."""
        report = self.report
        report.blocks += 1
        report.packets += good.packets
        report.controls += good.controls
        report.signatures += good.packets + good.controls
        report.last_length = good.length
        self._note_head()
        if self._open is not None:
            report.skip(self._open)
            self._open = None
        frontier = good.changes.head.frontier
        self._anchors.grow(good.height, good.block_hash, good.leaf_hashes)
        report.decisions += [(report.height, what) for what in decisions(self._state, good.changes)]
        self._progress.grown(good.changes, frontier)
        if self._pool is not None:
            self._pool.learn(good.changes)
        if self._on_block is not None and isinstance(source.data, bytes):
            self._on_block(source.data, source.position)
        try:
            self._watch.grown(frontier)
        except IntegrityError as error:
            return self._contradicted(error)
        return True

    def _note_head(self) -> None:
        report, head = self.report, self._state.head
        report.height, report.block_hash, report.chain_bytes = head.height, head.block_hash, head.chain_bytes
        report.tree_size, report.root = head.frontier.size, head.frontier.root()

    def _note_log(self, block: LogSource, source: Source) -> None:
        """Remember where derivation can begin: at a log of its own, or at what this log still holds first."""
        if self._log_first is None:
            return
        is_anew = block.incarnation != self._state.head.incarnation
        if is_anew or self.log_start is None:
            is_held = block.first >= self._log_first
            self.log_start = LogStart(self._state.copy(), source.position) if is_held else None

    def _contradicted(self, error: IntegrityError) -> bool:
        self.report.finding = Finding("certificates", self.report.height, error.code, str(error))
        return False

    def _weigh(self, data: bytes | tuple[bytes, ...] | None) -> None:
        """Note a valid certificate on what is no next block; it must fit the chain all the same."""
        if self._strict or not isinstance(data, bytes):
            return
        parsed = parse_certified(data)
        if parsed is not None:
            self._watch.check(parsed[1], self._state.policy_at, self._state.head.frontier.size)


async def audit(
    auditor: Auditor, windows: AsyncIterator[Sequence[Source]], progress: Callable[[int], None]
) -> AuditReport:
    """Audit all windows of sources; ``progress`` hears how many more sources are settled.

    However it ends, the auditor keeps how far it came.

    Raises:
        TransientError: the sources, a helper or the disk are away.
    """
    heard = 0
    wrong: Finding | None = None
    try:
        try:
            async for window in windows:
                go_on = await in_thread(partial(auditor.take, window))
                progress(auditor.settled - heard)
                heard = auditor.settled
                if not go_on:
                    break
        except WrongError as error:
            wrong = error.finding
        report = await in_thread(auditor.finish)
        progress(auditor.settled - heard)
    finally:
        await in_thread(auditor.save)
    # What comes before it in the source was settled first.
    report.finding = first_finding(report.finding or wrong, report.anchors, report.height)
    return report
