"""A test chain exported under a policy of outside witnesses."""

from pathlib import Path
from typing import Protocol

import pytest

from pipeline.adapters.witness_client import HttpWitnessClient
from pipeline.core.checkpoint import Checkpoint, parse_checkpoint
from pipeline.core.errors import TransientError
from pipeline.core.note import parse_note
from pipeline.core.policy_file import log_verifier, policy_text
from pipeline.core.tiles import tiles_of
from pipeline.core.tlog_policy import TlogPolicy, parse_policy
from pipeline.services.exporter import ExportPolicy, ExportWorker
from pipeline.services.witnessing import Pace
from tests.support.chain import Chain, MemoryTopic
from tests.support.tiles import exported_files, exporter
from tests.support.world import World


class ListedWitness(Protocol):
    """A witness that a policy can list."""

    name: str

    @property
    def line(self) -> str:
        """Its line in a policy, under ``name``."""


PACE = Pace(between=0.02, longest=2.0, grace=0.05, first_pause=0.02, longest_pause=0.02, patience=0.1)
TIMEOUT_S = 0.3
"""Of a request to a witness that will not answer it."""
PATIENT_S = 60.0
BRIEF_S = 0.4


def policy_of(world: World, *witnesses: ListedWitness, needed: int = 1) -> TlogPolicy:
    """Return the chain's policy and, of these witnesses, some number."""
    lines = "".join(witness.line for witness in witnesses)
    names = " ".join(witness.name for witness in witnesses)
    chain = policy_text(world.genesis).replace("quorum accounting-nodes\n", "")
    text = (
        f"{chain}{lines}group outside {needed} {names}\ngroup all all accounting-nodes outside\nquorum all\n"
    )
    policy = parse_policy(text.encode())
    assert isinstance(policy, TlogPolicy), policy
    return policy


class WitnessCase:
    """A chain of some 300 leaves in six blocks and another history under the same keys."""

    def __init__(self, *, mldsa44: bool = False) -> None:
        self.chain = self._chain(World(mldsa44=mldsa44), [1])
        self.other = self._chain(World(mldsa44=mldsa44), [2])
        self.world = self.chain.world
        self.log = log_verifier(self.world.genesis)

    @staticmethod
    def _chain(world: World, values: list[int]) -> Chain:
        chain = Chain(world)
        sites = [world.site(i) for i in (1, 2)]
        chain.enrol(*sites)
        for _ in range(5):
            chain.packets(*(site.packet(values) for site in sites for _ in range(30)))
        return chain

    def topic(self, blocks: int | None = None, chain: Chain | None = None) -> MemoryTopic:
        """Return a blocks topic with the first blocks of the chain, or of another one."""
        topic = MemoryTopic()
        topic.publish((chain or self.chain).certified[:blocks])
        return topic

    def size(self, blocks: int) -> int:
        """Return the leaves of the first blocks."""
        return self.chain.blocks[blocks - 1].block.header.tree_size


def worker(
    case: WitnessCase,
    folder: Path,
    topic: MemoryTopic,
    policy: TlogPolicy,
    pace: Pace = PACE,
    finish_s: float = PATIENT_S,
    timeout_s: float = PATIENT_S,
) -> ExportWorker:
    """Return an exporter under a policy, as after a start of the process."""
    publishing = ExportPolicy(policy, HttpWitnessClient(timeout_s), pace, finish_s)
    return exporter(folder, case.world, topic, publishing=publishing)


async def export(made: ExportWorker) -> None:
    """Export to the end, publish, and close."""
    try:
        await made.finish()
    finally:
        await made.close()


def published(folder: Path) -> Checkpoint | None:
    """Return the checkpoint that is published."""
    files = exported_files(folder)
    if "checkpoint" not in files:
        return None
    note = parse_note(files["checkpoint"])
    assert not isinstance(note, str)
    found = parse_checkpoint(note.text)
    assert isinstance(found, Checkpoint)
    assert {tile.path for tile in tiles_of(found.size)} <= files.keys()
    return found


def size_of(folder: Path) -> int:
    """Return the leaves under the published checkpoint; 0 where there is none."""
    found = published(folder)
    return found.size if found is not None else 0


async def stays_unpublished(case: WitnessCase, folder: Path, topic: MemoryTopic, policy: TlogPolicy) -> str:
    """Export while a witness does not answer: the checkpoint stays; return what the exporter said."""
    before = exported_files(folder).get("checkpoint")
    with pytest.raises(TransientError) as failed:
        await export(worker(case, folder, topic, policy, finish_s=BRIEF_S, timeout_s=TIMEOUT_S))
    assert failed.value.code == "no_quorum"
    assert exported_files(folder).get("checkpoint") == before
    return str(failed.value)
