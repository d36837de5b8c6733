"""An agent for one Ed25519 key on a Unix socket, as much of the SSH agent protocol as a witness needs to sign."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pipeline.core.signing import Ed25519Signer

_KEY_TYPE: Final = b"ssh-ed25519"
_FAILURE: Final = 5
_LIST: Final = 11
_LISTED: Final = 12
_SIGN: Final = 13
_SIGNED: Final = 14


@asynccontextmanager
async def ssh_agent(socket: Path, signer: Ed25519Signer) -> AsyncIterator[None]:
    """Answer on a Unix socket with one key."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(_serve(reader, writer, signer)))

    server = await asyncio.start_unix_server(connected, socket)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, signer: Ed25519Signer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            size = int.from_bytes(await reader.readexactly(4), "big")
            writer.write(_string(_answer(await reader.readexactly(size), signer)))
            await writer.drain()


def _answer(request: bytes, signer: Ed25519Signer) -> bytes:
    blob = _string(_KEY_TYPE) + _string(signer.public.raw)
    if request[0] == _LIST:
        return bytes((_LISTED,)) + (1).to_bytes(4, "big") + _string(blob) + _string(b"witness")
    if request[0] == _SIGN and request[1:].startswith(_string(blob)):
        rest = request[1 + len(_string(blob)) :]
        message = rest[4 : 4 + int.from_bytes(rest[:4], "big")]
        return bytes((_SIGNED,)) + _string(_string(_KEY_TYPE) + _string(signer.sign(message)))
    return bytes((_FAILURE,))


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
