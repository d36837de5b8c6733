"""ML-DSA-44 cosignatures (C2SP tlog-cosignature, type 06) against the golden vector, and nodes with two keys."""

import json
from typing import Any

import pytest

from pipeline.core import avro
from pipeline.core.block import MAX_CERTIFIED_BYTES, encode_certified
from pipeline.core.checkpoint import Checkpoint, assemble_certificate, cosign
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import largest_block, parse_genesis
from pipeline.core.keys import Use
from pipeline.core.note import MLDSA44, NoteSignature, VerifierKey, format_note, open_note, subtree_message
from pipeline.core.policy_file import policy_text
from pipeline.core.quorum import Certified, NodeKey, Policy, certificate_room, check_certificate
from pipeline.core.signing import MlDsa44Signer
from pipeline.services.accounting.votes import Ballot, Candidate, VoteOutcome, parse_vote, vote_message
from tests.support.chain import Chain
from tests.support.world import World
from tests.vectors import generate_mldsa44

GOLDEN: Any = json.loads(generate_mldsa44.FILE.read_text())
TEXT = GOLDEN["text"].encode()
KEY = VerifierKey(GOLDEN["name"], MLDSA44, MlDsa44Signer(bytes.fromhex(GOLDEN["seed"]), Use.NODE).public.raw)
SIGNATURE = bytes.fromhex(GOLDEN["signature"])


def test_the_vector_file_is_what_its_generator_writes() -> None:
    assert {name: GOLDEN[name] for name in generate_mldsa44.fixed()} == generate_mldsa44.fixed()


def test_key_and_message_are_those_of_the_vector() -> None:
    assert str(KEY) == GOLDEN["key"]
    message = subtree_message(GOLDEN["name"], GOLDEN["time"], TEXT)
    assert message is not None
    assert message.hex() == GOLDEN["message"]


def test_the_golden_signature_is_accepted_and_no_byte_of_it_can_change() -> None:
    assert KEY.is_signature(SIGNATURE, TEXT)
    for at in (0, 7, 8, 500, len(SIGNATURE) - 1):
        changed = bytearray(SIGNATURE)
        changed[at] ^= 1
        assert not KEY.is_signature(bytes(changed), TEXT)
    assert not KEY.is_signature(SIGNATURE[:-1], TEXT)
    assert not KEY.is_signature(SIGNATURE + b"\x00", TEXT)


def test_extension_lines_are_not_covered() -> None:
    assert subtree_message("n", 1, TEXT + b"extension\n") == subtree_message("n", 1, TEXT)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"a\n1\n",
        b"a\nx\n" + b"A" * 43 + b"=\n",
        b"a\n01\n" + b"A" * 43 + b"=\n",
        b"a\n1\nAAAA\n",
        b"a\n1\n\xff\n",
        b"\n1\n" + b"A" * 43 + b"=\n",
    ],
)
def test_what_is_no_checkpoint_has_no_message(text: bytes) -> None:
    assert subtree_message("n", 1, text) is None


def test_a_text_that_is_no_checkpoint_is_never_signed() -> None:
    note = format_note(b"text\n", [NoteSignature(KEY.name, KEY.key_id, SIGNATURE)])
    assert open_note(note, [KEY]) == "bad_signature"


def _certified(world: World, chosen: list[tuple[str, int]]) -> Any:
    checkpoint = Checkpoint(world.genesis.origin, 3, b"r" * 32)
    lines = [cosign(checkpoint, name, world.signers(name)[number], 5) for name, number in chosen]
    return check_certificate(
        assemble_certificate(checkpoint, lines), world.genesis.origin, world.genesis.policy
    )


def test_a_node_with_two_keys_has_one_voice() -> None:
    world = World(mldsa44=True)
    two = [("node-0", 0), ("node-0", 1), ("node-1", 0), ("node-1", 1)]
    assert _certified(world, two).reason == "too_few_nodes"
    certified = _certified(world, [*two, ("node-2", 1)])
    assert isinstance(certified, Certified)
    assert certified.signers == ("node-0", "node-1", "node-2")


def test_a_vote_carries_both_cosignatures_and_counts_once() -> None:
    chain = Chain(World(mldsa44=True))
    chain.enrol(chain.world.site(1))
    derived, genesis = chain.blocks[-1], chain.world.genesis
    ballot = Ballot(genesis.origin, lambda _size: genesis.policy, derived.block.header.height - 1)
    ballot.add_derived(derived)
    about = Candidate(derived.block.header.height, derived.block.hash, derived.checkpoint)
    for name in ("node-0", "node-1", "node-2"):
        vote = parse_vote(
            genesis.chain, vote_message(genesis.chain, about, name, chain.world.signers(name), 7)
        )
        assert vote is not None
        assert [len(line.signature) for line in vote.cosignatures] == [64, 2420]
        assert ballot.certificate(about.height) is None
        assert ballot.add_vote(vote) is VoteOutcome.COUNTED
        assert ballot.add_vote(vote) is VoteOutcome.REPEATED
    certificate = ballot.certificate(about.height)
    assert certificate is not None
    checked = check_certificate(certificate, genesis.origin, genesis.policy)
    assert isinstance(checked, Certified)
    assert certificate.count("\u2014".encode()) == 6


def test_the_genesis_file_names_both_keys() -> None:
    world = World(mldsa44=True)
    assert parse_genesis(world.genesis.raw).policy == world.genesis.policy
    assert len(world.genesis.policy.nodes) == 8


def test_the_policy_text_gives_a_node_one_voice() -> None:
    text = policy_text(World(mldsa44=True).genesis)
    assert "\ngroup node-1 any node-1-ed25519 node-1-mldsa44\n" in text
    assert "\ngroup accounting-nodes 3 node-0 node-1 node-2 node-3\nquorum accounting-nodes\n" in text


def _policy(nodes: int) -> Policy:
    keys = [
        NodeKey(f"node-{i}", MlDsa44Signer(i.to_bytes(32, "big"), Use.NODE).public.raw, algorithm=MLDSA44)
        for i in range(nodes)
    ]
    return Policy(tuple(keys), nodes)


def test_a_certificate_of_all_keys_fits_the_room_for_it() -> None:
    policy = _policy(4)
    checkpoint = Checkpoint("x" * 200, 2**63 - 1, b"r" * 32)
    lines = [
        cosign(checkpoint, f"node-{i}", MlDsa44Signer(i.to_bytes(32, "big"), Use.NODE), 1) for i in range(4)
    ]
    assert len(assemble_certificate(checkpoint, lines)) <= certificate_room(policy)


def test_a_contract_leaves_room_for_certificates() -> None:
    with pytest.raises(ConfigError, match="max_block"):
        World(nodes=16, quorum=11, mldsa44=True)


def test_the_largest_block_and_certificate_fit_a_record() -> None:
    """Framing: schema id, then the certificate after its length."""
    policy, chain = _policy(8), Chain()
    chain.enrol(chain.world.site(1))
    block = chain.blocks[-1].block
    framing = len(encode_certified(block, bytes(certificate_room(policy)))) - len(block.encoded)
    assert largest_block(policy) + framing + avro.FRAME_BYTES <= MAX_CERTIFIED_BYTES
