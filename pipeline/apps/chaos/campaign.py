"""A campaign: one stack that stays up, and round after round of load, fault, recovery and judgement."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil

from ops.child import ChildState
from pipeline.apps.chaos.deployment import ChaosDeployment
from pipeline.apps.chaos.judging import Judge, Verdict
from pipeline.apps.chaos.load import enrol, make_load
from pipeline.apps.chaos.rounds import Result, Round
from pipeline.apps.chaos.stand import POLL_S, Stand, in_loop, until
from pipeline.apps.local.status import read_status
from pipeline.core.errors import BkdmsError, TransientError
from pipeline.core.topics import Topics

Say = Callable[[str], None]
_START_S: Final = 300.0
_BEFORE_S: Final = (0.3, 1.0)
_AFTER_S: Final = 0.5
_FULL_EVERY: Final = 10
_RECOVERY_S: Final = 240.0


@contextmanager
def open_stand(folder: Path, say: Say, brokers: int = 1) -> Iterator[Stand]:
    """Start everything in an empty folder, with so many brokers; enrol the sites; and end it all again.

    Raises:
        TransientError: at the end something is still running.
    """
    deployment = ChaosDeployment(folder, brokers)
    say("starting Kafka, Redis, nodes, validators, platform, API")
    try:
        deployment.start()
        load = make_load(deployment.data_dir / "load")
        stand = Stand(deployment, load, deployment.genesis, Topics(deployment.plan.chain.topic_prefix))
        say("enrolling the sites")
        in_loop(enrol(deployment, load))
        load.start()
        try:
            load.first()
            until("the first values are stored", lambda: stand.stored() == load.told, _START_S)
            yield stand
        finally:
            load.end()
    finally:
        deployment.stop()
    left = left_behind(deployment.data_dir)
    if left:
        raise TransientError(f"still running after the end: {', '.join(left)}", code="chaos")


def left_behind(folder: Path) -> list[str]:
    """Return the processes whose arguments name a folder."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or ()):
            found.append(f"{process.info['pid']} {' '.join(process.info['cmdline'][:4])}")
    return found


def play(stand: Stand, judge: Judge, played: Round, seed: int, *, is_last: bool) -> Result:
    """Play one round and judge it, now and then and at the end in full. Whatever goes wrong is in the result."""
    began, restarts = time.monotonic(), unplanned_restarts(stand)
    problems: list[str] = []
    details: list[str] = []
    stand.load.on()
    time.sleep(played.dice.uniform(*_BEFORE_S))
    try:
        with ExitStack() as struck:
            for fault in played.faults:
                details.append(struck.enter_context(fault.strike(stand, played.dice)))
            time.sleep(max(played.dice.uniform(*fault.hold_s) for fault in played.faults))
    except BkdmsError as error:
        problems.append(str(error))
    healed = time.monotonic()
    time.sleep(_AFTER_S)
    stand.load.off()
    recovery_s = recovered(stand, healed)
    if recovery_s is None:
        problems.append(f"not recovered after {_RECOVERY_S:.0f} s: {standing(stand)}")
    verdict = judged(judge, is_full=is_last or played.number % _FULL_EVERY == 0)
    return Result(
        seed=seed,
        round=played.number,
        faults=tuple(fault.name for fault in played.faults),
        details=tuple(details),
        recovery_s=recovery_s,
        seconds=round(time.monotonic() - began, 2),
        values=verdict.values,
        height=verdict.height,
        lost=verdict.lost,
        doubled=verdict.doubled,
        altered=verdict.altered,
        restarts=unplanned_restarts(stand) - restarts,
        problems=(*problems, *verdict.problems),
        brokers=stand.deployment.stack.brokers,
    )


def judged(judge: Judge, *, is_full: bool) -> Verdict:
    """Return the judgement; that there can be none is a problem of it."""
    try:
        return judge.judge(is_full=is_full)
    except BkdmsError as error:
        return Verdict(0, 0, 0, 0, judge.height, (f"no judgement: {error}",))


def recovered(stand: Stand, since: float) -> float | None:
    """Return how long it took until all that was told is stored and verified by its site, and all nodes agree."""
    deadline = since + _RECOVERY_S
    done: float | None = None
    while time.monotonic() < deadline:
        stand.revive()
        if done is None and stand.stored() >= stand.load.told and stand.unverified() == 0:
            done = time.monotonic() - since
        if done is not None and _is_whole(stand):
            return round(time.monotonic() - since, 2)
        time.sleep(POLL_S)
    return None


def _is_whole(stand: Stand) -> bool:
    """Tell whether every part runs, and every node has published and every broker holds what the others have."""
    parts = {part.name: part for part in read_status(stand.deployment.data_dir).parts}
    heights = {parts[name].heights.get("published", 0) for name in stand.names("node")}
    running = all(part.state == ChildState.RUNNING.value for part in parts.values())
    return running and len(heights) == 1 and 0 not in heights and stand.is_kafka_whole()


def standing(stand: Stand) -> str:
    """Say where everything stands, for people."""
    parts = read_status(stand.deployment.data_dir).parts
    found = "; ".join(
        f"{part.name} {part.state} {part.heights.get('published', '')}".strip() for part in parts
    )
    return f"{stand.stored()} of {stand.load.told} stored, {stand.unverified()} unverified; {found}"


def unplanned_restarts(stand: Stand) -> int:
    """Return how often the supervisor has restarted programs that ended by themselves."""
    return sum(child.restarts for child in stand.children())
