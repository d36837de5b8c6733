"""The API over a test chain: view on disk, topic in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ops.tls.principal import Principal, Role
from pipeline.adapters.sql.view import SqlLedgerView
from pipeline.apps.api import ApiParts, alarm, create_api
from pipeline.apps.certified_client import Client
from pipeline.apps.client_identity import as_client
from pipeline.core.topics import Topics
from pipeline.services.block_source import BlockSource
from pipeline.services.follower import Follower
from tests.support.chain import Chain, MemoryReader, MemoryTopic

OPERATOR = Principal(Role.REGISTRAR, "operator")
SERIAL = 17


def spoken_for(app: ASGIApp, principal: Principal | None, serial: int = SERIAL) -> ASGIApp:
    """The application as the holder of a certificate reaches it; None for somebody without one."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if principal is not None:
            scope.setdefault("state", {}).update(as_client(Client(principal, serial)))
        await app(scope, receive, send)

    return answer


class ApiCase:
    """A chain and the parts of an API that follows it when ``catch_up`` is called, or while it is served."""

    def __init__(self, folder: Path, chain: Chain) -> None:
        self.chain = chain
        self.folder = folder
        self.topic = MemoryTopic()
        self.parts = self.open()

    def open(self) -> ApiParts:
        """The parts as after a start of the process."""
        genesis = self.chain.world.genesis
        view = SqlLedgerView(self.folder, genesis)
        self.view = view
        follower = Follower(genesis, MemoryReader(self.topic), view, alarm=alarm)
        return ApiParts(genesis, Topics(), view, follower, BlockSource(MemoryReader(self.topic)))

    @property
    def app(self) -> FastAPI:
        """The application."""
        return create_api(self.parts)

    async def catch_up(self) -> None:
        """Publish what the chain has more and follow it."""
        self.topic.publish(self.chain.certified[len(self.topic.values) :])
        while await self.parts.follower.step(0):
            pass
        self.parts.is_ready = True

    @asynccontextmanager
    async def client(self, principal: Principal | None = OPERATOR) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the application with a certificate, without a network."""
        transport = httpx.ASGITransport(spoken_for(self.app, principal))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            yield client

    def close(self) -> None:
        """Let the folder go."""
        self.view.close()
