"""The envelope of access documents: small JSON files that people carry, signed over one fixed spelling.

A file is ``{format, content, signature}`` and what else its format allows beside them, all in hex. Whoever reads one
checks the signature against the ``message`` of the content that was read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, PublicKey, Use
from pipeline.core.signing import Signer

MAX_DOCUMENT_BYTES: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class Envelope:
    """A document that was read; none of its signatures is verified by construction."""

    kind: str
    fields: Mapping[str, Any]
    signature: bytes
    beside: Mapping[str, bytes]

    @property
    def message(self) -> bytes:
        """What is signed."""
        return message(self.kind, self.fields)

    @property
    def digest(self) -> bytes:
        """Names the document, 32 bytes: however its file is spelled, the same content has the same."""
        return sha256(self.message).digest()


def message(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Return what is signed: one fixed spelling of the fields behind a prefix of the document's own."""
    return f"{kind}\x00".encode() + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def sign_document(
    kind: str, fields: Mapping[str, Any], signer: Signer, beside: Mapping[str, bytes] | None = None
) -> bytes:
    """Return a signed document as a file; ``beside`` goes next to the signature."""
    others = {name: value.hex() for name, value in (beside or {}).items()}
    signature = signer.sign(message(kind, fields)).hex()
    document = {"format": kind, "content": fields, "signature": signature, **others}
    return (json.dumps(document, indent=2) + "\n").encode()


def open_document(kind: str, name: str, raw: bytes, beside: frozenset[str] = frozenset()) -> Envelope:
    """Return what a file holds, where it is of this format; ``name`` is the document's name for people.

    Raises:
        ConfigError: it is too large, damaged, of another format, or has more in it than the format allows.
    """
    try:
        document = json.loads(raw) if len(raw) <= MAX_DOCUMENT_BYTES else {}
        fields, signature = document["content"], bytes.fromhex(document["signature"])
        found = {key: bytes.fromhex(document[key]) for key in document.keys() & beside}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise refused(name, "it is no such file, or damaged") from None
    if document.get("format") != kind or not isinstance(fields, dict):
        raise refused(name, f"its format is not {kind}")
    if document.keys() - {"format", "content", "signature"} - beside:
        raise refused(name, "it holds more than its format has")
    return Envelope(kind, fields, signature, found)


def refused(name: str, problem: str, code: str = "config.access") -> ConfigError:
    """Return the refusal of a document."""
    return ConfigError(f"{name} refused: {problem}", code=code)


def key_fields(key: PublicKey) -> dict[str, str]:
    """Return how documents write a public key."""
    return {"algorithm": key.algorithm.name.lower(), "public": key.raw.hex()}


def read_key(use: Use, fields: Mapping[str, Any]) -> PublicKey:
    """Return the public key that a document names.

    Raises:
        ValueError: the key is weak, or not written as it should be.
        KeyError, TypeError, AttributeError: a field is missing or of another kind.
    """
    return PublicKey(use, Algorithm[fields["algorithm"].upper()], bytes.fromhex(fields["public"]))
