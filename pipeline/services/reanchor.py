"""Reanchoring: the record by which root keys let a chain go on in another copy of its log.

Owns what is signed and that it is signed by enough keys. Which copy of the log is the good one, and that no node holds
a newer block than the one named, people decide; a node that does hold one halts and forgets nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.control import Control, Reanchor, countersign, parse_control, sign_control
from pipeline.core.errors import ConfigError
from pipeline.core.signing import Signer, verify
from pipeline.core.state import START, ChainState
from pipeline.ports import PartitionReader, Producer
from pipeline.services.accounting.reanchoring import find_reanchor
from pipeline.services.carrying import outgoing


@dataclass(frozen=True, slots=True)
class Reanchored:
    """A reanchor of block ``height``: its encoded record, how many root keys signed it, and what became of it.

    ``offset`` is where the log holds a good one already, ``appended`` whether this one was put there now.
    """

    height: int
    incarnation: int
    raw: bytes
    signatures: int
    offset: int | None = None
    appended: bool = False


def reanchor_record(state: ChainState, signers: Sequence[Signer], draft: bytes | None = None) -> Control:
    """Return the reanchor of the head signed by root keys, beside those that signed ``draft`` before.

    Raises:
        ConfigError: there is neither key nor draft, a key is no root key, or the draft is not about the head.
    """
    for signer in signers:
        if signer.public.fingerprint not in state.roots:
            raise ConfigError(
                "a given key is no root key of the genesis file; name files like keys/root-1.json",
                code="config.root_key",
            )
    body = Reanchor(state.head.incarnation + 1, state.head.height, state.head.block_hash)
    if draft is None:
        if not signers:
            raise ConfigError("name the root keys' files by --root-key", code="config.root_key")
        first = signers[0].public.fingerprint
        last = state.tables.issuers.get(first, START)
        draft = sign_control(state.chain, signers[0], last.sequence + 1, last.last_id, body)
    control = _checked(state, draft, body)
    for signer in signers:
        if signer.public.fingerprint not in {key for key, _ in control.signatures}:
            control = _checked(state, countersign(control.raw, signer), body)
    return control


def _checked(state: ChainState, raw: bytes, body: Reanchor) -> Control:
    control = parse_control(raw)
    if (
        not isinstance(control, Control)
        or control.chain != state.chain
        or control.body != body
        or not all(
            key in state.roots and verify(state.roots[key], signature, control.signed)
            for key, signature in control.signatures
        )
    ):
        raise ConfigError(
            f"the draft is no reanchor of block {body.height}, the last one on the blocks topic, signed by root keys; "
            "remove the file and begin anew",
            code="config.draft",
        )
    return control


async def reanchor(
    state: ChainState,
    signers: Sequence[Signer],
    draft: bytes | None,
    log: PartitionReader,
    producer: Producer,
) -> Reanchored:
    """Sign the reanchor of the head, and append it to the chain log if enough keys have signed.

    Raises:
        ConfigError: see ``reanchor_record``.
        TransientError: Kafka is away.
    """
    height, incarnation, genesis = state.head.height, state.head.incarnation + 1, state.genesis
    offset = await find_reanchor(state, log)
    if offset is not None:
        return Reanchored(height, incarnation, b"", genesis.root_threshold, offset)
    control = reanchor_record(state, signers, draft)
    found = Reanchored(height, incarnation, control.raw, len(control.signatures))
    if found.signatures < genesis.root_threshold:
        return found
    await producer.send(outgoing(genesis, (control,)))
    return Reanchored(height, incarnation, control.raw, found.signatures, appended=True)
