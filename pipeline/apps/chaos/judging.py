"""The judgement after a round: oracle, audit, store and Redis must agree, and nothing certified may have changed."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ops.tls.principal import Role
from pipeline.apps.chaos.load import write_plan
from pipeline.apps.chaos.stand import Stand
from pipeline.apps.demo import commands
from schemas import schema_folder

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the oracle counted, in values, and a sentence for everything that is not as it must be."""

    lost: int
    doubled: int
    altered: int
    values: int
    height: int
    problems: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether everything holds."""
        return not (self.lost or self.doubled or self.altered or self.problems)


@dataclass
class Judge:
    """Judges a stand again and again; remembers what was certified, so that nothing of it may ever change."""

    stand: Stand
    _hashes: dict[int, bytes] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """The last height in the store."""
        return max(self._hashes, default=0)

    def judge(self, *, is_full: bool) -> Verdict:
        """Ask everybody, side by side; a question that can't be answered is a problem.

        A full judgement audits the whole chain and the store; any other what was not audited before.
        """
        with ThreadPoolExecutor() as pool:
            judging, auditing = pool.submit(self._oracle), pool.submit(self._audit, is_full)
            problems = [*self._blocks(), *self._redis()]
            oracle, audit = judging.result(), auditing.result()
        problems += [f"oracle: {text}" for text in oracle["problems"][:_NAMED]]
        problems += audit
        return Verdict(
            lost=oracle["missing"],
            doubled=oracle["doubled"] + oracle["unexpected"],
            altered=oracle["altered"],
            values=oracle["observations_stored"],
            height=self.height,
            problems=tuple(problems),
        )

    def _oracle(self) -> Mapping[str, Any]:
        deployment = self.stand.deployment
        files = deployment.stack.credentials(Role.AUDITOR, "oracle")
        plan = write_plan(self.stand.load, deployment.data_dir / "plan.json")
        answer = commands.oracle(
            *("--plan", str(plan), "--store", str(deployment.store_file)),
            *("--schemas", str(schema_folder()), "--genesis", str(deployment.chain.genesis_file)),
            *("--bootstrap", deployment.stack.kafka_bootstrap),
            *("--ca", str(files.ca), "--certificate", str(files.certificate), "--key", str(files.key)),
        )
        return answer.json()

    def _audit(self, is_full: bool) -> list[str]:
        """Run ``bkdms verify``: is the ledger good, and, in full, every row of the store what it says?"""
        progress = str(self.stand.deployment.data_dir / "audit-progress.json")
        depth = ("--against-store",) if is_full else ("--resume", progress)
        answer = commands.bkdms(self.stand.deployment.settings_file, "verify", *depth, "--json")
        if answer.code == 0:
            return []
        try:
            told = json.loads(answer.text)
        except ValueError:
            return [f"verify: {answer.talk.strip()[-300:]}"]
        return [f"verify: {told.get('problem') or told.get('store')}"]

    def _blocks(self) -> list[str]:
        """Hold the store's blocks, which the audit compares with the topic, against those of earlier rounds."""
        found = dict(self.stand.query("SELECT height, hash FROM blocks"))
        changed = [height for height, digest in self._hashes.items() if found.get(height) != digest]
        if changed:
            return [f"block {changed[0]} was certified before and is gone or another one"]
        self._hashes = found
        return []

    def _redis(self) -> list[str]:
        """Compare the head in Redis with the store."""
        with self.stand.redis() as client:
            head = client.hgetall(self.stand.head_key)
        height, digest = int(head.get(b"height", b"0")), head.get(b"hash", b"")
        if height < self.height or digest != self._hashes.get(height, digest):
            return [f"the head in Redis is {height}, in the store {self.height}"]
        return []
