"""An outside witness on a loopback port: honest by the text of C2SP tlog-witness, or as a test spoils it."""

import asyncio
import contextlib
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pipeline.core.checkpoint import Checkpoint, cosign, parse_checkpoint
from pipeline.core.keys import Use
from pipeline.core.merkle import EMPTY_ROOT, is_consistent
from pipeline.core.note import COSIGNATURE_V1, Note, VerifierKey, open_note, parse_note
from pipeline.core.signing import Ed25519Signer
from tests.support.world import secret

TIME_S = 1_790_000_000
SIZE_TYPE = "text/x.tlog.size"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"


Raw = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Writes whatever it likes to the connection."""


@dataclass
class HonestWitness:
    """Remembers the last tree of one log. ``spoil`` answers instead, where it gives anything."""

    log: VerifierKey
    name: str = "w1.example/witness"
    size: int = 0
    root: bytes = EMPTY_ROOT
    spoil: Callable[[bytes], Answer | Raw | None] = lambda _request: None
    requests: list[bytes] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.signer = Ed25519Signer(secret(self.name), Use.NODE)

    @property
    def key(self) -> VerifierKey:
        """Its cosigning key."""
        return VerifierKey(self.name, COSIGNATURE_V1, self.signer.public.raw)

    @property
    def line(self) -> str:
        """Its line in a policy, under its key's name."""
        return f"witness {self.name} {self.key} {self.url}\n"

    def answer(self, request: bytes) -> Answer:
        """Do what the specification says."""
        head, _, data = request.partition(b"\n\n")
        first, *proof = head.decode().split("\n")
        old, path = int(first.removeprefix("old ")), [b64decode(line) for line in proof]
        note = parse_note(data)
        assert isinstance(note, Note)
        checkpoint = parse_checkpoint(note.text)
        assert isinstance(checkpoint, Checkpoint)
        if checkpoint.origin != self.log.name:
            return Answer(404)
        if isinstance(open_note(data, [self.log]), str):
            return Answer(403)
        if old > checkpoint.size:
            return Answer(400)
        if old != self.size:
            return Answer(409, f"{self.size}\n".encode(), SIZE_TYPE)
        if old == checkpoint.size and checkpoint.root != self.root:
            return Answer(409, f"{self.size}\n".encode(), SIZE_TYPE)
        if not is_consistent(old, checkpoint.size, self.root, checkpoint.root, path):
            return Answer(422)
        self.size, self.root = checkpoint.size, checkpoint.root
        return Answer(200, self.cosigned(checkpoint))

    def cosigned(self, checkpoint: Checkpoint) -> bytes:
        """Return the cosignature line."""
        return cosign(checkpoint, self.name, self.signer, TIME_S).as_note_signature().line.encode()

    @asynccontextmanager
    async def served(self, port: int = 0) -> AsyncIterator[str]:
        """Serve it on a port of the loopback interface, a free one by default; give its submission prefix."""
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.get_running_loop().create_task(self._serve(reader, writer)))

        server = await asyncio.start_server(connected, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/prefix/"
        try:
            yield self.url
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = head.decode().lower()
                assert fields.startswith("post /prefix/add-checkpoint http/1.1\r\n")
                length = int(fields.partition("content-length:")[2].split()[0])
                request = await reader.readexactly(length)
                self.requests.append(request)
                answer = self.spoil(request) or self.answer(request)
                if not isinstance(answer, Answer):
                    await answer(writer)
                    break
                writer.write(
                    f"HTTP/1.1 {answer.status} X\r\ncontent-type: {answer.content_type}\r\n"
                    f"content-length: {len(answer.body)}\r\n\r\n".encode()
                    + answer.body
                )
                await writer.drain()
        writer.close()


async def hang(_writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def reset(writer: asyncio.StreamWriter) -> None:
    """Drop the connection."""
    writer.transport.abort()


async def no_http(writer: asyncio.StreamWriter) -> None:
    """Speak something else."""
    writer.write(b"SSH-2.0-witness\r\n\r\n")
    await writer.drain()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Answer without an end, slowly."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        writer.write(b"-")
        await writer.drain()
        await asyncio.sleep(0.02)


async def flood(writer: asyncio.StreamWriter) -> None:
    """Answer without an end, fast."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"-" * 0x10000 + b"\r\n")
        await writer.drain()
