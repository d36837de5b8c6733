"""The access log's head in a real ledger, by commands alone: named, anchored, confirmed, and missed after an edit."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.access_log_files import AccessLogFiles, log_files
from tests.integration.test_registrar import Authority, authority
from tests.unit.test_access_log import access

__all__ = ["authority"]
pytestmark = pytest.mark.stack


async def code_of(authority: Authority, *arguments: str) -> int | None:
    command = [sys.executable, "-m", "pipeline.apps.cli", "--config", str(authority.folder / "bkdms.toml")]
    program = await asyncio.create_subprocess_exec(
        *command, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await asyncio.wait_for(program.wait(), 90)


async def told(authority: Authority, *arguments: str) -> dict[str, Any]:
    """Run a bkdms command and return the JSON that it prints."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pipeline.apps.cli", "--config", str(authority.folder / "bkdms.toml"), *arguments, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(program.communicate(), 90)
    assert program.returncode == 0, err.decode()
    found: dict[str, Any] = json.loads(out)
    return found


async def test_the_ledger_confirms_the_log_and_tells_an_edit(authority: Authority) -> None:
    folder: Path = authority.folder / "data" / "access-log"
    log = AccessLogFiles(folder, authority.rig.world.genesis.chain, max_bytes=5_000, keep=64)
    for number in range(50):
        log.append(access(number))
    log.close()
    assert (await told(authority, "access-log", "anchor", "--appoint"))["anchored"] == 50
    found = await told(authority, "access-log", "verify")
    assert (found["lines"], found["confirmed"], found["problem"]) == (50, 50, None)
    assert (await told(authority, "access-log", "anchor", "--due"))["anchored"] == 0
    for file in log_files(folder):
        file.unlink()
    log = AccessLogFiles(folder, authority.rig.world.genesis.chain, max_bytes=5_000, keep=64)
    for number in range(50):
        log.append(access(number, "somebody:else"))
    log.close()
    assert await code_of(authority, "access-log", "verify", "--alone") == 0
    assert await code_of(authority, "access-log", "verify") == 1
