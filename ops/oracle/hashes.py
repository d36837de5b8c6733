"""Every hash of the ledger's format, computed from the specification with hashlib and hmac only."""

import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

PACKET_ENTRY: Final = 1
CONTROL_ENTRY: Final = 2
HEADER_LEAF: Final = 3
SIGNATURE_BYTES: Final = 64
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ISO_7064: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Tree:
    """The growing Merkle tree of RFC 6962 2.1: complete subtrees as (level, hash), largest first."""

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []
        for leaf in leaf_hashes:
            self.add(leaf)

    def add(self, leaf_hash: bytes) -> None:
        """Append one leaf's hash."""
        level, node = 0, leaf_hash
        while self._peaks and self._peaks[-1][0] == level:
            node = sha256(b"\x01" + self._peaks.pop()[1] + node).digest()
            level += 1
        self._peaks.append((level, node))
        self.size += 1

    def root(self) -> bytes:
        """Return the root over all leaves."""
        if not self._peaks:
            return sha256(b"").digest()
        *left, (_, node) = self._peaks
        for _, peak in reversed(left):
            node = sha256(b"\x01" + peak + node).digest()
        return node

    def copy(self) -> "Tree":
        """Return a tree that grows on its own."""
        other = Tree()
        other.size, other._peaks = self.size, list(self._peaks)
        return other


def leaf_hash(kind: int, offset: int, time_ms: int, payload: bytes) -> bytes:
    """Return the hash of a leaf of the ledger's tree."""
    place = offset.to_bytes(8, "big") + time_ms.to_bytes(8, "big")
    return sha256(b"\x00" + bytes((kind,)) + place + payload).digest()


def block_hash(header: bytes) -> bytes:
    """Return the hash of an encoded header."""
    return sha256(b"bkdms/block/v1\x00" + header).digest()


def packet_id(packet: bytes) -> bytes:
    """Return the identifier of an encoded packet: over all of it but the signature."""
    return sha256(b"bkdms/packet-id/v1\x00" + packet[:-SIGNATURE_BYTES]).digest()


def records_digest(
    chain: bytes, site_id: bytes, site_key: bytes, sequence: int, *, seed: bytes, records: Sequence[bytes]
) -> bytes:
    """Return the salted digest over a packet's unified records, as its site signed it (Y.4907 10.2)."""
    numbers = sequence.to_bytes(8, "big") + len(records).to_bytes(4, "big")
    context = sha256(b"bkdms/record-ctx/v1\x00" + chain + site_id + site_key + numbers).digest()
    tree = Tree()
    for index, record in enumerate(records):
        number = index.to_bytes(4, "big")
        salt = hmac.new(seed, b"bkdms/leaf-salt/v1\x00" + number, sha256).digest()
        tree.add(sha256(b"\x00bkdms/record/v1\x00" + context + number + salt + record).digest())
    return tree.root()


def tracing_code(chain: bytes, height: int, entry: int) -> str:
    """Return the code of a packet: 40 bits of the chain, height and entry in base 32, and an ISO/IEC 7064 check."""
    parts = [_base32(int.from_bytes(chain[:5], "big")).rjust(8, "0"), _base32(height), _base32(entry)]
    check = 36
    for symbol in "".join(parts):  # MOD 37,36, the hybrid system
        check = (check + _ISO_7064.index(symbol)) % 36 or 36
        check = check * 2 % 37
    return "-".join([*parts, _ISO_7064[(37 - check) % 36]])


def _base32(number: int) -> str:
    digits = [_CROCKFORD[number & 31]]
    while number := number >> 5:
        digits.append(_CROCKFORD[number & 31])
    return "".join(reversed(digits))
