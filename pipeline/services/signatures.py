"""Checks many site signatures at once on all cores; the crypto library releases the GIL for it."""

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.core.admission import Parsed, SignatureCheck, is_signed
from pipeline.core.block import parse_certified
from pipeline.core.keys import PublicKey
from pipeline.core.packet import Packet
from pipeline.core.replica import parse_entry
from pipeline.core.state import ChainState

_CHUNK = 64


class SignaturePool:
    """A pool of threads that verifies ahead of the rules, which then only look results up."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="signatures")

    async def check(self, pairs: Sequence[tuple[PublicKey, Packet]]) -> SignatureCheck:
        """Return a check that knows the given pairs and verifies any other itself."""
        loop = asyncio.get_running_loop()
        chunks = [pairs[i : i + _CHUNK] for i in range(0, len(pairs), _CHUNK)]
        results = await asyncio.gather(
            *(loop.run_in_executor(self._threads, _verify_chunk, chunk) for chunk in chunks)
        )
        known = {packet.packet_id: (key, packet, good) for chunk in results for key, packet, good in chunk}

        def looked_up(key: PublicKey, packet: Packet) -> bool:
            found = known.get(packet.packet_id)
            # The identifier does not cover the signature, so all bytes are compared.
            if found is None or found[0].fingerprint != key.fingerprint or found[1].raw != packet.raw:
                return is_signed(key, packet)
            return found[2]

        return looked_up

    async def check_parsed(self, state: ChainState, parsed: Iterable[Parsed]) -> SignatureCheck:
        """Return a check that knows the packets of sites that the state knows."""
        pairs = []
        for item in parsed:
            if isinstance(item, Packet):
                site = state.tables.sites.get(item.site)
                key = site.key_of(item.site_key, 0) if site is not None else None
                if key is not None:
                    pairs.append((key, item))
        return await self.check(pairs)

    async def check_block(self, state: ChainState, data: bytes) -> SignatureCheck:
        """Return a check that knows the packets of an encoded certified block."""
        parsed = parse_certified(data)
        if parsed is None:
            return is_signed
        return await self.check_parsed(state, [parse_entry(entry) for entry in parsed[0].entries])

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _verify_chunk(pairs: Sequence[tuple[PublicKey, Packet]]) -> list[tuple[PublicKey, Packet, bool]]:
    return [(key, packet, is_signed(key, packet)) for key, packet in pairs]
