"""C2SP signed notes: text under signature lines, the keys that verify them, and opening a note.

Owns the note format, verifier key strings and the table of signature types; what the text says is
``checkpoint``'s affair and how many signatures suffice is ``quorum``'s. Bytes from outside never raise: each
refusal is a ``NoteProblem``.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from pipeline.core.signing import MLDSA44_SIGNATURE_BYTES, SIGNATURE_BYTES, ed25519_verify, mldsa44_verify

ED25519: Final = 0x01
"""Signature type of a log's own signature over the note text."""
COSIGNATURE_V1: Final = 0x04
"""Signature type of a timestamped Ed25519 cosignature (C2SP tlog-cosignature)."""
MLDSA44: Final = 0x06
"""Signature type of a timestamped ML-DSA-44 cosignature (C2SP tlog-cosignature)."""
MAX_SIGNATURES: Final = 64
MAX_NOTE_BYTES: Final = 256 * 1024
"""Room for MAX_SIGNATURES lines of the longest kind, post-quantum ones included."""
MAX_NAME_BYTES: Final = 255
"""Cosigned messages carry a name's length in one byte (C2SP tlog-cosignature)."""
TIMESTAMP_BYTES: Final = 8
MAX_TIMESTAMP: Final = 2**63 - 1
"""Latest time of a cosignature, in seconds since 1970 (C2SP tlog-cosignature)."""

_KEY_ID_BYTES: Final = 4
_HASH_BYTES: Final = 32
_SUBTREE_LABEL: Final = b"subtree/v1\n\x00"
_TREE_SIZE: Final = re.compile(rb"0|[1-9][0-9]{0,18}")
_LINE_START: Final = "— "
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SPACE_OR_PLUS: Final = re.compile(r"[\s+]")


class NoteProblem(StrEnum):
    """Why a note or a verifier key string is refused."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    CONTROL_CHARACTER = "control_character"
    NO_SIGNATURE_BLOCK = "no_signature_block"
    BAD_SIGNATURE_LINE = "bad_signature_line"
    TOO_MANY_SIGNATURES = "too_many_signatures"
    AMBIGUOUS_KEY = "ambiguous_key"
    BAD_SIGNATURE = "bad_signature"
    NO_KNOWN_SIGNATURE = "no_known_signature"
    BAD_VERIFIER_KEY = "bad_verifier_key"
    UNKNOWN_ALGORITHM = "unknown_algorithm"
    KEY_ID_MISMATCH = "key_id_mismatch"


@dataclass(frozen=True, slots=True)
class SignatureType:
    """One signature type of C2SP signed notes.

    ``message`` makes the signed bytes of key name, timestamp (seconds, 0 where not ``timestamped``) and note text;
    None where there are none. ``verify`` takes public key, signature of any length, without timestamp, and message.
    """

    code: int
    key_bytes: int
    signature_bytes: int
    timestamped: bool
    message: Callable[[str, int, bytes], bytes | None]
    verify: Callable[[bytes, bytes, bytes], bool]


def cosignature_message(timestamp: int, body: bytes) -> bytes:
    """Return the bytes that a ``cosignature/v1`` signs over a checkpoint's body; time in seconds."""
    return b"cosignature/v1\ntime %d\n" % timestamp + body


def subtree_message(name: str, timestamp: int, body: bytes) -> bytes | None:
    """Return the bytes that an ML-DSA-44 cosigner of this name signs over a checkpoint's body; time in seconds.

    Extension lines are not covered (C2SP tlog-cosignature). None where the body is no checkpoint.
    """
    origin, *rest = body.split(b"\n")
    if len(rest) < 3 or not 0 < len(origin) <= MAX_NAME_BYTES or not _TREE_SIZE.fullmatch(rest[0]):
        return None
    size, root = int(rest[0]), decode_base64(rest[1].decode(errors="replace"))
    if root is None or len(root) != _HASH_BYTES:
        return None
    cosigner = name.encode()
    numbers = [number.to_bytes(8, "big") for number in (timestamp, 0, size)]
    named = bytes((len(cosigner),)) + cosigner + numbers[0] + bytes((len(origin),)) + origin
    return _SUBTREE_LABEL + named + numbers[1] + numbers[2] + root


SIGNATURE_TYPES: Final[Mapping[int, SignatureType]] = MappingProxyType(
    {
        kind.code: kind
        for kind in (
            SignatureType(
                ED25519,
                32,
                SIGNATURE_BYTES,
                timestamped=False,
                message=lambda _name, _time, text: text,
                verify=ed25519_verify,
            ),
            SignatureType(
                COSIGNATURE_V1,
                32,
                SIGNATURE_BYTES,
                timestamped=True,
                message=lambda _name, time, text: cosignature_message(time, text),
                verify=ed25519_verify,
            ),
            SignatureType(
                MLDSA44,
                1312,
                MLDSA44_SIGNATURE_BYTES,
                timestamped=True,
                message=subtree_message,
                verify=mldsa44_verify,
            ),
        )
    }
)
"""The signature types that we verify; any other counts as an unknown key."""


def is_name(name: str) -> bool:
    """Say whether a key name is allowed: 1 to 255 bytes, no space, no plus, no control character."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= MAX_NAME_BYTES and not _CONTROL.search(name) and not _SPACE_OR_PLUS.search(name)


def split_timestamp(signature: bytes) -> tuple[int, bytes]:
    """Return the time (seconds) ahead of a timestamped signature, and the signature itself. Total."""
    return int.from_bytes(signature[:TIMESTAMP_BYTES], "big"), signature[TIMESTAMP_BYTES:]


def key_id(name: str, algorithm: int, public_key: bytes) -> bytes:
    """Return the 4 bytes that name a key in signature lines (C2SP signed-note)."""
    return sha256(name.encode() + b"\n" + bytes((algorithm,)) + public_key).digest()[:_KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A key that signatures are checked with; ``algorithm`` is a code of SIGNATURE_TYPES.

    Raises:
        ValueError: the name is not allowed, the algorithm unknown, or the public key of the wrong length.
    """

    name: str
    algorithm: int
    public_key: bytes
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ValueError("a key name is 1 to 255 bytes without spaces and plus signs")
        kind = SIGNATURE_TYPES.get(self.algorithm)
        if kind is None:
            raise ValueError(f"signature type {self.algorithm} is unknown")
        if len(self.public_key) != kind.key_bytes:
            raise ValueError(f"a public key of signature type {self.algorithm} has {kind.key_bytes} bytes")
        object.__setattr__(self, "key_id", key_id(self.name, self.algorithm, self.public_key))

    def __str__(self) -> str:
        """Return the verifier key string ``name+hex(key id)+base64(type, public key)``."""
        material = b64encode(bytes((self.algorithm,)) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    def is_signature(self, signature: bytes, text: bytes) -> bool:
        """Say whether ``signature`` (with its timestamp, without key id) is this key's over ``text``."""
        kind, timestamp = SIGNATURE_TYPES[self.algorithm], 0
        if kind.timestamped:
            timestamp, signature = split_timestamp(signature)
        message = kind.message(self.name, timestamp, text) if timestamp <= MAX_TIMESTAMP else None
        return message is not None and kind.verify(self.public_key, signature, message)


def parse_verifier_key(text: str) -> VerifierKey | NoteProblem:
    """Read a verifier key string; only the form that ``str(key)`` writes is accepted."""
    name, _, rest = text.partition("+")
    key_hex, _, encoded = rest.partition("+")
    material = decode_base64(encoded)
    if not is_name(name) or not material:
        return NoteProblem.BAD_VERIFIER_KEY
    kind = SIGNATURE_TYPES.get(material[0])
    if kind is None:
        return NoteProblem.UNKNOWN_ALGORITHM
    if len(material) != 1 + kind.key_bytes:
        return NoteProblem.BAD_VERIFIER_KEY
    key = VerifierKey(name, kind.code, material[1:])
    return key if key.key_id.hex() == key_hex else NoteProblem.KEY_ID_MISMATCH


@dataclass(frozen=True, slots=True, order=True)
class NoteSignature:
    """One signature line; ``signature`` is what follows the key id, any timestamp included.

    Raises:
        ValueError: the name is not allowed, the key id not 4 bytes, or the signature empty.
    """

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if not is_name(self.name) or len(self.key_id) != _KEY_ID_BYTES or not self.signature:
            raise ValueError("a note signature has an allowed name, a key id of 4 bytes and a signature")

    @property
    def line(self) -> str:
        """The signature line, its newline included."""
        return f"{_LINE_START}{self.name} {b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note whose signatures nobody has checked yet; ``text`` ends in a newline."""

    text: bytes
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A signature that verified; ``timestamp`` is in seconds since 1970, 0 for types that carry none."""

    key: VerifierKey
    timestamp: int


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note with at least one verified signature; repeats of a key stay in, in the note's order."""

    text: bytes
    verified: tuple[VerifiedSignature, ...]


def format_note(text: bytes, signatures: Sequence[NoteSignature]) -> bytes:
    """Return the note's bytes, signatures in the order given.

    Raises:
        ValueError: the result would not be read back as the same note.
    """
    data = text + b"\n" + "".join(signature.line for signature in signatures).encode()
    if parse_note(data) != Note(text, tuple(signatures)):
        raise ValueError("text and signatures do not make a signed note")
    return data


def parse_note(data: bytes) -> Note | NoteProblem:
    """Split a note into text and signatures without checking any of them (C2SP signed-note)."""
    if len(data) > MAX_NOTE_BYTES:
        return NoteProblem.TOO_LARGE
    try:
        content = data.decode()
    except UnicodeDecodeError:
        return NoteProblem.NOT_UTF8
    if _CONTROL.search(content):
        return NoteProblem.CONTROL_CHARACTER
    head, blank, block = content.rpartition("\n\n")
    if not blank or not block.endswith("\n"):
        return NoteProblem.NO_SIGNATURE_BLOCK
    signatures = _parse_lines(block[:-1].split("\n"))
    return signatures if isinstance(signatures, NoteProblem) else Note(f"{head}\n".encode(), signatures)


def open_note(data: bytes, verifiers: Iterable[VerifierKey]) -> OpenedNote | NoteProblem:
    """Parse a note and check every signature of a known key.

    Signatures of unknown keys are ignored; one bad signature of a known key refuses the whole note.
    """
    note = parse_note(data)
    if isinstance(note, NoteProblem):
        return note
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in verifiers:
        if known.setdefault((key.name, key.key_id), key) != key:
            return NoteProblem.AMBIGUOUS_KEY
    verified: list[VerifiedSignature] = []
    for found in note.signatures:
        signer = known.get((found.name, found.key_id))
        if signer is None:
            continue
        if not signer.is_signature(found.signature, note.text):
            return NoteProblem.BAD_SIGNATURE
        verified.append(VerifiedSignature(signer, _timestamp_of(signer, found.signature)))
    return OpenedNote(note.text, tuple(verified)) if verified else NoteProblem.NO_KNOWN_SIGNATURE


def decode_base64(text: str) -> bytes | None:
    """Decode standard base64 (RFC 4648 4); None for anything but its one canonical form."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if b64encode(data).decode() == text else None


def _parse_lines(lines: list[str]) -> tuple[NoteSignature, ...] | NoteProblem:
    if len(lines) > MAX_SIGNATURES:
        return NoteProblem.TOO_MANY_SIGNATURES
    signatures: list[NoteSignature] = []
    for line in lines:
        signature = _parse_line(line)
        if signature is None:
            return NoteProblem.BAD_SIGNATURE_LINE
        signatures.append(signature)
    return tuple(signatures)


def _parse_line(line: str) -> NoteSignature | None:
    name, space, encoded = line.removeprefix(_LINE_START).partition(" ")
    material = decode_base64(encoded)
    if not line.startswith(_LINE_START) or not space or not is_name(name) or material is None:
        return None
    if len(material) <= _KEY_ID_BYTES:
        return None
    return NoteSignature(name, material[:_KEY_ID_BYTES], material[_KEY_ID_BYTES:])


def _timestamp_of(key: VerifierKey, signature: bytes) -> int:
    if not SIGNATURE_TYPES[key.algorithm].timestamped:
        return 0
    return split_timestamp(signature)[0]
