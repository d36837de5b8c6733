"""Signature checks on all cores: optimistic while blocks are applied, settled before anything counts.

Ed25519 and ECDSA verification release the interpreter's lock, so threads suffice. Checks are handed out in
chunks, because handing out one costs a tenth of checking it.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from pipeline.core.admission import is_signed
from pipeline.core.keys import PublicKey
from pipeline.core.packet import Packet

_CHUNK: Final = 32
_Pair = tuple[PublicKey, Packet]


class DeferredChecks:
    """A ``SignatureCheck`` that says yes and asks a pool; only ``settle`` tells whether yes was right."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._waiting: list[_Pair] = []
        self._running: list[Future[bool]] = []
        self.count = 0

    def check(self, key: PublicKey, packet: Packet) -> bool:
        """Take a signature for checking and suppose that it is good."""
        self.count += 1
        self._waiting.append((key, packet))
        if len(self._waiting) >= _CHUNK:
            self._hand_out()
        return True

    def settle(self) -> bool:
        """Wait for all checks since the last call; say whether every signature was good."""
        self._hand_out()
        running, self._running = self._running, []
        return all(future.result() for future in running)

    def _hand_out(self) -> None:
        if self._waiting:
            chunk, self._waiting = self._waiting, []
            self._running.append(self._pool.submit(_all_signed, chunk))


def _all_signed(chunk: Sequence[_Pair]) -> bool:
    return all(is_signed(key, packet) for key, packet in chunk)
