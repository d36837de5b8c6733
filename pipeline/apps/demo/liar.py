"""A lying accounting node: it holds a real node's key and certificate, and signs roots of no tree."""

import asyncio
from contextlib import suppress

from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.genesis import Genesis
from pipeline.core.signing import Signer
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing
from pipeline.services.accounting.votes import Candidate, Vote, parse_vote, vote_message

_FETCH = 500
_WAIT_MS = 200


class Liar:
    """Answers each honest vote with a vote of its own for another root at that height."""

    def __init__(
        self, genesis: Genesis, topics: Topics, connection: KafkaConnection, name: str, signer: Signer
    ) -> None:
        self._genesis, self._topics, self._name, self._signer = genesis, topics, name, signer
        self._votes = KafkaPartitionReader(connection, topics.cosignatures, genesis.partition)
        self._producer = IdempotentProducer(connection)
        self._answered: set[int] = set()

    @property
    def lies(self) -> int:
        """Number of heights lied about."""
        return len(self._answered)

    async def run(self) -> None:
        """Lie until cancelled."""
        with suppress(asyncio.CancelledError):
            _, end = await self._votes.bounds()
            await self._votes.seek(end)
            while True:
                for record in await self._votes.fetch(_FETCH, _WAIT_MS):
                    vote = parse_vote(self._genesis.chain, record.value)
                    if vote is not None and vote.height not in self._answered:
                        self._answered.add(vote.height)
                        await self._producer.send([self._lie(vote)])
        await self._votes.close()
        await self._producer.close()

    def _lie(self, vote: Vote) -> Outgoing:
        root = bytes(byte ^ 0xFF for byte in vote.root)
        lie = Candidate(vote.height, root, Checkpoint(self._genesis.origin, vote.tree_size, root))
        when = vote.cosignatures[0].timestamp
        value = vote_message(self._genesis.chain, lie, self._name, [self._signer], when)
        return Outgoing(self._topics.cosignatures, value, self._name.encode(), self._genesis.partition)
