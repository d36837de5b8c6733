"""A proposal to root keys: one control record as a file that people carry, with the signatures it has so far.

Owns the file's form, adding and joining signatures, and the record that follows. Copies may be signed side by side and
joined afterwards. What the record may say is ``admission``'s affair.
"""

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from pipeline.core import avro
from pipeline.core.control import Control, RootBody, parse_control, sign_control
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey
from pipeline.core.proven import base64_text, read_bytes
from pipeline.core.signing import SIGNATURE_BYTES, Signer, verify
from pipeline.core.state import Position
from schemas import schema

FORMAT: Final = "bkdms-root-proposal/v1"
MAX_PROPOSAL_BYTES: Final = 64 * 1024
_CONTROL: Final = schema("Control")
_NO_SIGNATURES: Final = b"\0"
_FINGERPRINT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Proposal:
    """What root keys are to sign: ``clear`` of a control record, its ``body`` and ``issuer`` (32 bytes).

    ``signatures`` are by fingerprint (32 bytes); the issuer's comes first in the record, whenever it was made.
    """

    clear: bytes
    chain: bytes
    issuer: bytes
    body: RootBody
    signatures: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def record(self) -> bytes:
        """The encoded control record with the signatures so far; none is good without its issuer's."""
        raw = _signed(self.clear, sorted(self.signatures, key=lambda item: (item[0] != self.issuer, item[0])))
        assert raw is not None  # noqa: S101  parsed before
        return raw

    def encode(self) -> bytes:
        """Return the file's bytes."""
        document = {
            "format": FORMAT,
            "record": base64_text(self.clear),
            "signatures": [
                {"key": key.hex(), "signature": base64_text(signature)} for key, signature in self.signatures
            ],
        }
        return (json.dumps(document, indent=2) + "\n").encode()

    def signed_by(self, signer: Signer) -> "Proposal":
        """Return it with a signature of this key, once."""
        control = _control(self.clear)
        assert control is not None  # noqa: S101  parsed before
        key = signer.public.fingerprint
        others = tuple(item for item in self.signatures if item[0] != key)
        return replace(self, signatures=(*others, (key, signer.sign(control.signed))))

    def joined(self, other: "Proposal") -> "Proposal":
        """Return it with the signatures of another copy, too.

        Raises:
            ValueError: the copies are of different records.
        """
        if other.clear != self.clear:
            raise ValueError("they are copies of different proposals")
        return replace(self, signatures=tuple((dict(self.signatures) | dict(other.signatures)).items()))


@dataclass(frozen=True, slots=True)
class _Nobody:
    """Stands where a signature will be, so that the record has its form."""

    public: PublicKey

    def sign(self, _message: bytes) -> bytes:
        """Return what is no signature."""
        return bytes(SIGNATURE_BYTES)


def propose(genesis: Genesis, issuer: PublicKey, last: Position, body: RootBody) -> Proposal | str:
    """Return a proposal that continues from an issuer's last record, or what is wrong with its body, for people."""
    control = parse_control(
        sign_control(genesis.chain, _Nobody(issuer), last.sequence + 1, last.last_id, body)
    )
    if not isinstance(control, Control):
        return control.label.replace("_", " ")
    return Proposal(control.clear, genesis.chain, issuer.fingerprint, body)


def parse_proposal(data: bytes) -> Proposal | str:
    """Return the proposal in a file, or what is wrong, for people. Total; no signature is verified."""
    if len(data) > MAX_PROPOSAL_BYTES:
        return f"more than {MAX_PROPOSAL_BYTES} bytes"
    try:
        return _read(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"no proposal to root keys ({type(error).__name__}: {error})"[:200]


def proposal_problem(genesis: Genesis, proposal: Proposal) -> str | None:
    """Return why nobody may sign or send a proposal: another chain's, or a signature that is none of a root key."""
    roots = {key.fingerprint: key for key in genesis.root_keys}
    control = _control(proposal.clear)
    if control is None or proposal.chain != genesis.chain:
        return "it is for another chain than the genesis file's"
    if proposal.issuer not in roots:
        return "its issuer is no root key of the genesis file"
    for key, signature in proposal.signatures:
        if key not in roots or not verify(roots[key], signature, control.signed):
            return f"the signature of {key.hex()[:16]} is not one of a root key over this record"
    return None


def _control(clear: bytes) -> Control | None:
    """Return the record with a signature that is none in its place; None for other bytes."""
    raw = _signed(clear, [(bytes(_FINGERPRINT_BYTES), bytes(SIGNATURE_BYTES))])
    control = None if raw is None else parse_control(raw)
    return control if isinstance(control, Control) else None


def _signed(clear: bytes, signatures: list[tuple[bytes, bytes]]) -> bytes | None:
    value = avro.decode(_CONTROL, clear + _NO_SIGNATURES)
    lines = [{"key": key, "signature": signature} for key, signature in signatures]
    return None if value is None else avro.encode(_CONTROL, value | {"signatures": lines})


def _read(value: dict[str, Any]) -> Proposal:
    if value["format"] != FORMAT:
        raise ValueError("of a version that this release does not know; upgrade bkdms")
    clear = read_bytes(value["record"])
    control = _control(clear)
    if control is None or control.clear != clear or not isinstance(control.body, RootBody):
        raise ValueError("record")
    found: dict[bytes, bytes] = {}
    for item in value["signatures"]:
        key, signature = bytes.fromhex(item["key"]), read_bytes(item["signature"])
        if len(key) != _FINGERPRINT_BYTES or len(signature) != SIGNATURE_BYTES or key in found:
            raise ValueError("signatures")
        found[key] = signature
    return Proposal(clear, control.chain, control.issuer, control.body, tuple(found.items()))
