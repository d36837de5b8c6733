"""Runs the real command line against the parts of a ``ChainRig``, with settings as an operator would write them."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.apps.local.settings_file import write_settings
from tests.support.nodes import ChainRig


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def settings_file(rig: ChainRig, folder: Path, role: str, **tables: dict[str, Any]) -> Path:
    """Write the settings of a program of a role, its data in ``folder``."""
    genesis = folder / "genesis.json"
    genesis.parent.mkdir(exist_ok=True)
    genesis.write_bytes(rig.world.genesis.raw)
    tls = rig.connection(role, f"{role}-command").tls
    kafka = {"bootstrap": rig.stack.kafka_bootstrap, "ca": tls.ca}
    kafka |= {"certificate": tls.certificate, "key": tls.key}
    common = {"data_dir": folder, "topic_prefix": rig.topics.prefix, "genesis": genesis, "kafka": kafka}
    return write_settings(folder / f"{role}.toml", {**common, **tables})


def redis_table(rig: ChainRig, user: str = "node") -> dict[str, Any]:
    """Return the settings table of a Redis user."""
    found = rig.redis(user)
    table: dict[str, Any] = {"username": found.username, "password_file": found.password_file}
    if found.unix_socket is not None:
        return table | {"unix_socket": found.unix_socket}
    assert found.tls is not None
    files = {"ca": found.tls.ca, "certificate": found.tls.certificate, "key": found.tls.key}
    return table | {"host": found.host, "port": found.port, **files}


async def bkdms(settings: Path, *arguments: str) -> Ended:
    """Run ``bkdms`` and wait for its end."""
    argv = ("-m", "pipeline.apps.cli", "--config", str(settings), *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return Ended(process.returncode or 0, out.decode(), err.decode())
