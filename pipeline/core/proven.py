"""Proven entries: a leaf of the chain's tree with its inclusion path, as JSON documents carry them.

What site heads and portable proofs have in common: the JSON of an entry, reading its fields, and checking an entry
and the header that places it against a certified root. Who certified the root is the caller's affair.
"""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.admission import is_issued, is_issued_by_roots
from pipeline.core.block import Header, Kind, leaf_bytes, parse_header
from pipeline.core.control import Control, RootBody, parse_control
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey
from pipeline.core.merkle import is_included, leaf_hash
from pipeline.core.names import MAX_LONG, is_time
from pipeline.core.note import decode_base64

MAX_PATH: Final = 64
_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Proven:
    """One entry with its proof: leaf fields, payload where the reader can't have it, path (lowest first).

    ``time_ms`` is the broker time in milliseconds; hashes of the path have 32 bytes.
    """

    kind: Kind
    payload: bytes | None
    leaf_index: int
    log_offset: int
    time_ms: int
    path: tuple[bytes, ...]

    def leaf(self, payload: bytes) -> bytes:
        """Return the leaf hash of the entry with this payload, 32 bytes."""
        return leaf_hash(leaf_bytes(self.kind, self.log_offset, self.time_ms, payload))


def proven_json(proven: Proven) -> dict[str, Any]:
    """Return the JSON value of one proven entry; bytes in base64."""
    return {
        "kind": proven.kind.name.lower(),
        "payload": None if proven.payload is None else base64_text(proven.payload),
        "leaf_index": proven.leaf_index,
        "log_offset": proven.log_offset,
        "broker_time": proven.time_ms,
        "path": [base64_text(item) for item in proven.path],
    }


def read_proven(value: dict[str, Any]) -> Proven:
    """Read what ``proven_json`` writes.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the value is none.
    """
    payload = value["payload"]
    time_ms = read_long(value["broker_time"])
    if not is_time(time_ms):
        raise ValueError("broker_time")
    return Proven(
        Kind[str(value["kind"]).upper()],
        None if payload is None else read_bytes(payload),
        read_long(value["leaf_index"]),
        read_long(value["log_offset"]),
        time_ms,
        read_path(value["path"]),
    )


def read_path(value: Any) -> tuple[bytes, ...]:
    """Read a list of base64 hashes.

    Raises:
        ValueError, TypeError: the value is none.
    """
    if not isinstance(value, list) or len(value) > MAX_PATH:
        raise ValueError("path")
    path = tuple(map(read_bytes, value))
    if any(len(item) != _HASH_BYTES for item in path):
        raise ValueError("path")
    return path


def read_long(value: Any) -> int:
    """Read a whole number of Avro's range from 0 on.

    Raises:
        ValueError: the value is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_LONG:
        raise ValueError("a number is not a whole number from 0 to 2^63-1")
    return value


def read_bytes(value: str) -> bytes:
    """Read canonical base64.

    Raises:
        ValueError, TypeError: the value is none.
    """
    data = decode_base64(value)
    if data is None:
        raise ValueError("base64")
    return data


def base64_text(data: bytes) -> str:
    """Return standard base64."""
    return b64encode(data).decode()


def is_proven(proven: Proven, payload: bytes, size: int, root: bytes) -> bool:
    """Tell whether the path proves the entry with this payload in the tree of this size and root."""
    return is_included(proven.leaf(payload), proven.leaf_index, size, proven.path, root)


def proven_header(data: bytes, path: tuple[bytes, ...], size: int, root: bytes) -> Header | None:
    """Return the block header that ``data`` canonically encodes, where the path proves its leaf; else None. Total."""
    header = parse_header(data)
    if header is None:
        return None
    leaf = leaf_hash(leaf_bytes(Kind.HEADER, header.source.next, header.period_end, data))
    return header if is_included(leaf, header.tree_size - 1, size, path, root) else None


def issued_control(
    genesis: Genesis, payload: bytes | None, registrars: Iterable[PublicKey] | None = None
) -> Control | None:
    """Return the control record of this chain that one of ``registrars`` signed, or None. Total.

    Without ``registrars`` those of the genesis file count, who may have been replaced since.
    """
    control = _control(genesis, payload)
    known = genesis.registrars if registrars is None else registrars
    return control if control is not None and any(is_issued(key, control) for key in known) else None


def root_control(genesis: Genesis, payload: bytes | None) -> Control | None:
    """Return the control record of this chain that enough root keys of the genesis file signed, or None. Total."""
    control = _control(genesis, payload)
    if control is None or not isinstance(control.body, RootBody):
        return None
    return control if is_issued_by_roots(genesis, control) else None


def _control(genesis: Genesis, payload: bytes | None) -> Control | None:
    control = parse_control(payload or b"")
    return control if isinstance(control, Control) and control.chain == genesis.chain else None
