"""A site agent in a process of its own that is killed at random, on a chain log in a file.

Run as a program: ``site_process FOLDER LIVES SEED`` forks agents one after the other, kills each by SIGKILL after a
random time, and lets a last one live to its end. Only the log's file and the spool outlive an agent.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.adapters.spool import SqliteSpool
from pipeline.core.admission import TICK_VALUE
from pipeline.core.batching import Batching
from pipeline.core.delivery import Patience
from pipeline.core.names import SiteName
from pipeline.ports import Outgoing
from pipeline.services.site_agent import Collecting, Pace, Retry, SiteAgent
from tests.support.site_ledger import TOPIC, ListSource, SiteLedger, ledger_with, parts_of, terms_of

_LENGTH_BYTES = 4
RECORDS_A_LIFE = 40
_LONGEST_LIFE_S = 0.25
_PACE = Pace(
    Batching(max_records=10, linger_ms=0),
    Collecting(batch_rows=40),
    Patience(200, 400),
    head_poll_s=0.005,
    window=8,
)


class FileLog:
    """A chain log in a file, the same for every process; a record cut short by a kill never was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger, self.site = ledger_with()
        self._read = 0

    def follow(self) -> SiteLedger:
        """Derive what was appended since the last time."""
        data = self.path.read_bytes() if self.path.exists() else b""
        while (value := _record(data, self._read)) is not None:
            self._read += _LENGTH_BYTES + len(value)
            if value == TICK_VALUE:
                self.ledger.close_block()
            else:
                self.ledger.take(Outgoing(TOPIC, value, str(self.site.name).encode()))
        return self.ledger

    def append(self, values: Sequence[bytes]) -> None:
        """Append records, each by one system call, after cutting off a torn one."""
        self.follow()
        with self.path.open("ab") as file:
            file.truncate(self._read)
            for value in values:
                os.write(file.fileno(), len(value).to_bytes(_LENGTH_BYTES, "big") + value)

    async def send(self, batch: Sequence[Outgoing]) -> None:
        """Take packets."""
        self.append([record.value or b"" for record in batch])
        await asyncio.sleep(0)

    async def head(self, site: SiteName, *, with_packet: bool = False, since: int = 0) -> bytes:
        """Commit what is there and serve the head."""
        self.append([TICK_VALUE])
        return await self.follow().head(site, with_packet=with_packet, since=since)

    async def close(self) -> None:
        """Nothing to close."""


def _record(data: bytes, at: int) -> bytes | None:
    length = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
    body = data[at + _LENGTH_BYTES : at + _LENGTH_BYTES + length]
    return body if length and len(body) == length else None


async def deliver(folder: Path, records: int) -> None:
    """Run an agent until all records are committed."""
    log = FileLog(folder / "log")
    spool = SqliteSpool(folder / "spool.sqlite", bytes(32), terms_of(log.site).binding)
    parts = parts_of(log.site, log.ledger, spool, ListSource(list(range(records))))
    object.__setattr__(parts, "producer", log)
    object.__setattr__(parts, "heads", log)
    await SiteAgent(parts, Retry(0.005, 0.02, lambda delay: delay), _PACE).run(until_committed=True)
    spool.close()


def live(folder: Path, records: int) -> int:
    """Start an agent and return its process id."""
    child = os.fork()
    if child == 0:
        asyncio.run(deliver(folder, records))
        os._exit(0)
    return child


def main() -> None:
    """Give agents more and more records, kill each after a random time; let the last one live to its end."""
    folder, lives, dice = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    kills = 0
    for number in range(1, lives + 1):
        child = live(folder, number * RECORDS_A_LIFE)
        time.sleep(dice.uniform(0, _LONGEST_LIFE_S))
        os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    last = os.waitpid(live(folder, lives * RECORDS_A_LIFE), 0)[1]
    sys.stdout.write(json.dumps({"kills": kills, "exit": os.waitstatus_to_exitcode(last)}))


if __name__ == "__main__":
    main()
