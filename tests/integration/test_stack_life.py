"""A stack that is killed leaves nothing running, and the next start finds everything again."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka.structs import TopicPartition

from ops.lock import holder, stop_holder
from ops.redis import server
from ops.stack import EmbeddedStack
from ops.supervisor import read_children
from pipeline.core.errors import ConfigError
from tests.integration.kafka_clients import consumer, producer
from tests.integration.test_supervisor import is_alive, until

pytestmark = pytest.mark.stack

PATIENCE_S = 30


@contextmanager
def stack_program(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, object]]]:
    """Another process that runs a stack, and what it said about itself."""
    program = [sys.executable, "-m", "tests.integration.run_stack", str(folder)]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def child_pids(said: dict[str, object]) -> list[int]:
    """The processes that the program started."""
    pids = said["pids"]
    assert isinstance(pids, list)
    assert len(pids) == 2
    return pids


@pytest.mark.faults
async def test_data_and_addresses_outlive_a_kill(tmp_path: Path) -> None:
    """Record and key that were acknowledged are there after SIGKILL of everything, at the same address."""
    folder = tmp_path / "data"
    with EmbeddedStack(folder, is_short_lived=True) as stack:
        address = stack.kafka_bootstrap
        async with producer(stack, "node", "n1") as node:
            await node.send_and_wait(stack.topics.chain, b"kept", partition=0)
        with server.client(stack.redis_address("node", stack.credentials("node", "n1"))) as redis:
            redis.set("bkdms:x", b"kept")
        for name in ("kafka", "redis"):
            stack.supervisor.kill(name)
    with stack_program(folder) as (process, said):
        assert said["bootstrap"] == address
        with pytest.raises(ConfigError, match=f"in use by process {process.pid}"):
            EmbeddedStack(folder).start()
        process.kill()
        process.wait()
        until(lambda: not any(is_alive(pid) for pid in child_pids(said)))
    with EmbeddedStack(folder, is_short_lived=True) as stack:
        assert stack.kafka_bootstrap == address
        async with consumer(stack, "node", "n1") as node:
            node.assign([TopicPartition(stack.topics.chain, 0)])
            assert (await asyncio.wait_for(node.getone(), PATIENCE_S)).value == b"kept"
        with server.client(stack.redis_address("node", stack.credentials("node", "n1"))) as redis:
            assert redis.get("bkdms:x") == b"kept"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """The program ends with 0 and its children end before it."""
    with stack_program(tmp_path) as (process, said):
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
        assert not any(is_alive(pid) for pid in child_pids(said))
    assert read_children(tmp_path) == ()


def test_a_signal_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C before anything is ready ends what was begun."""
    program = [sys.executable, "-m", "tests.integration.run_stack", str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        until(lambda: len(read_children(tmp_path)) == 2)
        pids = [child.pid for child in read_children(tmp_path)]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    assert not any(pid is not None and is_alive(pid) for pid in pids)


def test_another_process_can_stop_it(tmp_path: Path) -> None:
    """What `bkdms down` does: ask the holder of the folder to end and wait for it."""
    assert stop_holder(tmp_path, PATIENCE_S) is False
    with stack_program(tmp_path) as (process, _):
        assert holder(tmp_path) == process.pid
        began = time.monotonic()
        assert stop_holder(tmp_path, PATIENCE_S) is True
        assert time.monotonic() - began < PATIENCE_S
        assert holder(tmp_path) is None
