"""What a fault is, and the table of all of them.

A fault is a context: entering it strikes, leaving it heals. What it yields says what was struck.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final

from pipeline.apps.chaos import ledger_faults, machine_faults, process_faults, server_faults
from pipeline.apps.chaos.stand import Stand
from pipeline.apps.chaos.steps import STEPS, Part
from pipeline.apps.local.deployment import API_NAME, PLATFORM_NAME

Strike = Callable[[Stand, Random], AbstractContextManager[str]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by name; ``touches`` are the kinds of programs that it takes, so that two faults don't take one.

    ``hold_s`` is how long it lasts at least and at most, beside what it takes by itself; ``needs`` a program that the
    machine must have.
    """

    name: str
    summary: str
    strike: Strike
    touches: frozenset[str]
    hold_s: tuple[float, float] = (0.5, 3.0)
    needs: str = ""

    @property
    def missing(self) -> str | None:
        """Return the program that this machine lacks for it."""
        return self.needs if self.needs and shutil.which(self.needs) is None else None


STEP: Final = "step."
"""What names of faults at a named step begin with."""
_OURS: Final = (Part.SITE, Part.VALIDATOR, Part.NODE, PLATFORM_NAME, API_NAME)
_SERVERS: Final = ("kafka", "redis")
# Who must work for blocks to be made meanwhile.
_ALL_OF_A_LEDGER: Final = (Part.SITE, Part.VALIDATOR, Part.NODE, *_SERVERS)
_WITH_FILES: Final = (Part.SITE, Part.NODE, PLATFORM_NAME)
_STRACE: Final = "strace"
_CC: Final = "cc"


def _all() -> list[Fault]:
    """Return every fault, those of processes first."""
    found: list[Fault] = []

    def add(
        name: str,
        summary: str,
        strike: Strike,
        *touches: str,
        hold_s: tuple[float, float] = (0.5, 3.0),
        needs: str = "",
    ) -> None:
        found.append(Fault(name, summary, strike, frozenset(touches), hold_s, needs))

    for kind in (*_OURS, *_SERVERS):
        add(f"kill.{kind}", f"SIGKILL of a {kind}", process_faults.kill(kind), kind)
        add(f"stop.{kind}", f"SIGSTOP of a {kind}, then SIGCONT", process_faults.stop(kind), kind)
    add("kill.quorum", "SIGKILL of two nodes: one too few is left", process_faults.kill(Part.NODE, 2), "node")
    add(
        "stop.quorum",
        "two nodes stand still for longer",
        process_faults.stop(Part.NODE, 2),
        "node",
        hold_s=(4, 8),
    )
    add("kill.ours", "SIGKILL of all programs but the servers at once", process_faults.kill_ours, *_OURS)
    add(
        "rebalance", "a validator leaves its group in order and comes back", process_faults.leave, "validator"
    )
    add("slow.platform", "the consumer of blocks gets a tenth of the time", process_faults.slow, "platform")
    add("burst", "ten times the load", process_faults.burst)
    for step in STEPS:
        add(f"{STEP}{step.name}", f"{step.part.value}: killed, stopped or failing at {step.name}",
            process_faults.at_step(step), step.part, hold_s=(0.0, 0.5))  # fmt: skip
    add("redis.wiped", "everything in Redis is deleted", server_faults.redis_wiped, "redis")
    add("redis.refuses", "Redis refuses writes", server_faults.redis_refuses, "redis")
    add("redis.old", "Redis is put back to an older copy", server_faults.redis_old_copy, "redis")
    add("redis.restart", "Redis ends and starts in order", server_faults.restart("redis"), "redis")
    add("kafka.restart", "the broker ends and starts in order", server_faults.restart("kafka"), "kafka")
    add("kafka.partitions", "the packets topic gets another partition", server_faults.more_partitions)
    add("log.repeated", "records of the chain log come again, in another order", ledger_faults.repeated)
    add("log.cut", "the chain log is cut ahead of a node that is behind, which must catch up from the blocks",
        ledger_faults.log_cut, *_ALL_OF_A_LEDGER, hold_s=(0.0, 1.0))  # fmt: skip
    add("forged.head", "the head in Redis is one that nobody certified", ledger_faults.forged_head, "redis")
    add("forged.block", "false blocks on the blocks topic", ledger_faults.forged_block)
    add("node.lies", "a node signs other roots", ledger_faults.lying_node, "node")
    add("node.key", "a node comes back with a key that is not its own", ledger_faults.wrong_key, "node")
    for kind in _WITH_FILES:
        add(
            f"disk.full.{kind}",
            f"a {kind} can write no byte to any file",
            machine_faults.disk_full(kind),
            kind,
        )
        add(f"disk.error.{kind}", f"writes and syncs of a {kind} fail with EIO",
            machine_faults.disk_error(kind), kind, needs=_STRACE)  # fmt: skip
        add(f"disk.kill.{kind}", f"SIGKILL of a {kind} inside a write or sync of its files",
            machine_faults.killed_writing(kind), kind, needs=_STRACE)  # fmt: skip
    for kind in _OURS:
        add(f"net.cut.{kind}", f"every send and receive of a {kind} fails",
            machine_faults.network_cut(kind), kind, needs=_STRACE)  # fmt: skip
    for kind in (Part.SITE, Part.NODE, "kafka"):
        add(f"clock.{kind}", f"a {kind} runs with a clock an hour or a day off",
            machine_faults.wrong_clock(kind), kind, hold_s=(3, 6), needs=_CC)  # fmt: skip
    return found


FAULTS: Final[Mapping[str, Fault]] = MappingProxyType({fault.name: fault for fault in _all()})
