"""Targets for what exported logs, witnesses, sites and auditors hand around: notes, policies, tiles, proofs, heads."""

import importlib.util
import json
from base64 import b64decode
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from pipeline.core.anchor import Anchor, parse_anchor
from pipeline.core.block import Kind
from pipeline.core.checkpoint import Checkpoint, parse_checkpoint
from pipeline.core.evidence import Evidence, parse_evidence
from pipeline.core.note import (
    MLDSA44,
    Note,
    OpenedNote,
    VerifierKey,
    format_note,
    open_note,
    parse_note,
    parse_verifier_key,
)
from pipeline.core.policy_file import log_verifier, node_verifiers
from pipeline.core.proof import Proof, verify_proof
from pipeline.core.quorum import Certified, check_certificate
from pipeline.core.receipt import Receipt, verify_head
from pipeline.core.site_head import SiteHeadDocument, parse_site_head
from pipeline.core.tiles import (
    ENTRIES,
    TileId,
    decode_bundle,
    decode_tile,
    encode_bundle,
    parse_tile_path,
    tiles_of,
)
from pipeline.core.tlog_policy import TlogPolicy, Witnessed, check_note, parse_policy
from pipeline.core.tlog_proof import TlogProof, parse_tlog_proof
from pipeline.core.witness import WitnessOutcome, read_answer
from tests.fuzz.material import material
from tests.fuzz.target import Bytes, Target, text

_CHECKER = Path(__file__).parents[2] / "docs" / "check_proof.py"


@cache
def checker() -> ModuleType:
    """Return the independent checker of docs/, loaded as a module."""
    spec = importlib.util.spec_from_file_location("check_proof", _CHECKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def known_keys() -> tuple[VerifierKey, ...]:
    """Return the keys of the log and of the nodes."""
    genesis = material().world.genesis
    return (log_verifier(genesis), *node_verifiers(genesis))


@cache
def stated() -> frozenset[bytes]:
    """Return what those keys really signed."""
    return frozenset(checkpoint.body() for checkpoint in material().checkpoints.values())


def note(data: bytes) -> bool:
    """A note has one form, and no known key vouches for a changed text."""
    found = parse_note(data)
    if not isinstance(found, Note):
        return False
    assert format_note(found.text, found.signatures) == data
    above, _, below = data.decode().rpartition("\n\n")
    assert found.text == f"{above}\n".encode()
    lines = [line.split(" ") for line in below.split("\n")[:-1]]
    assert [(s.name, s.key_id + s.signature) for s in found.signatures] == [
        (n, b64decode(m)) for _, n, m in lines
    ]
    opened = open_note(data, known_keys())
    if isinstance(opened, OpenedNote):
        all_mldsa = all(signature.key.algorithm == MLDSA44 for signature in opened.verified)
        assert (_without_extension(opened.text) if all_mldsa else opened.text) in stated()
    genesis = material().world.genesis
    certified = check_certificate(data, genesis.origin, genesis.policy)
    if isinstance(certified, Certified):
        assert certified.checkpoint.body() in stated()
        assert len(certified.signers) >= genesis.policy.quorum
    return isinstance(opened, OpenedNote)


def _without_extension(text: bytes) -> bytes:
    """Return a checkpoint less its extension lines, which ML-DSA cosignatures do not cover (C2SP tlog-cosignature)."""
    return b"".join(text.splitlines(keepends=True)[:3])


def checkpoint(data: bytes) -> bool:
    """A checkpoint has one form."""
    found = parse_checkpoint(data)
    assert not isinstance(found, Checkpoint) or found.body() == data
    return isinstance(found, Checkpoint)


def witnessed(data: bytes) -> bool:
    """The policy accepts of a note only what its keys signed, and so does the independent checker."""
    found = check_note(material().policy, data)
    accepted = isinstance(found, Witnessed)
    assert _accepts(lambda: checker().check_note(material().policy_file, data)) == accepted
    if isinstance(found, Witnessed):
        assert found.checkpoint.body() in stated()
        assert len(found.cosigners) >= material().world.quorum
    return accepted


def policy(data: bytes) -> bool:
    """A policy is lines that say something; with it we accept a note where the independent checker does."""
    found, given = parse_policy(data), material().notes[0]
    theirs = _accepts(lambda: checker().check_note(data, given))
    if not isinstance(found, TlogPolicy):
        assert not theirs, f"only the independent checker takes this policy: {found}"
        return False
    words = [line.split(maxsplit=1) for line in data.splitlines() if line.strip(b" \t")]
    assert {word[0] for word in words if not word[0].startswith(b"#")} <= {
        b"log",
        b"witness",
        b"group",
        b"quorum",
    }
    witnessed = check_note(found, given)
    ours = isinstance(witnessed, Witnessed) and witnessed.log is not None
    assert theirs == ours, f"the independent checker says {theirs}, we say {witnessed}"
    return True


def verifier_key(data: bytes) -> bool:
    """A verifier key has one form, and its id is the hash of its parts."""
    typed = text(data)
    found = parse_verifier_key(typed) if typed is not None else None
    if not isinstance(found, VerifierKey):
        return False
    assert str(found) == typed
    material_ = bytes([found.algorithm]) + found.public_key
    assert found.key_id == sha256(found.name.encode() + b"\n" + material_).digest()[:4]
    return True


def tile(data: bytes) -> bool:
    """A tile's hashes are its bytes."""
    found = decode_tile(data)
    assert found is None or (b"".join(found) == data and all(len(item) == 32 for item in found))
    return found is not None


def bundle(data: bytes) -> bool:
    """A bundle has one form."""
    found = decode_bundle(data)
    assert found is None or encode_bundle(found) == data
    return found is not None


def tile_path(data: bytes) -> bool:
    """A tile has one path, whose digits are its number."""
    typed = text(data)
    found = parse_tile_path(typed) if typed is not None else None
    if found is None or typed is None:
        return False
    assert found.path == typed
    parts = typed.split(".p/")[0].split("/")[2:]
    assert int("".join(part.removeprefix("x") for part in parts)) == found.index
    assert ("entries" if found.level == ENTRIES else str(found.level)) == typed.split("/")[1]
    return True


def tlog_proof(data: bytes) -> bool:
    """A proof has one form, and only genuine packets are proven, for us and for the independent checker."""
    found = parse_tlog_proof(data)
    if isinstance(found, TlogProof):
        assert found.encode() == data
    return _proven(data)


def evidence(data: bytes) -> bool:
    """Evidence under a genuine checkpoint, with whatever index and path it claims, proves genuine packets alone."""
    found = parse_evidence(data)
    if isinstance(found, Evidence):
        assert found.encode() == data
        index, path = found.entry.leaf_index, found.entry.path
    else:
        index, path = 0, ()
    try:
        proof = TlogProof(index, path, material().notes[0], data or b"{}").encode()
    except ValueError:
        return False
    return _proven(proof)


def _proven(data: bytes) -> bool:
    found = verify_proof(material().policy, data)
    accepted = isinstance(found, Proof)
    theirs = _accepts(lambda: checker().check(material().policy_file, data))
    assert theirs == accepted, f"the independent checker says {theirs}, we say {found}"
    if isinstance(found, Proof):
        block = material().history.chain.blocks[found.code.height - 1].block
        assert block.entries[found.code.entry].payload == found.packet.raw
        genuine = verify_proof(material().policy, material().proofs[found.code])
        assert isinstance(genuine, Proof)
        assert all(item in genuine.disclosed for item in found.disclosed)
    return accepted


def site_head(data: bytes) -> bool:
    """A head that holds is of a packet that is in the chain."""
    found = parse_site_head(data)
    if not isinstance(found, SiteHeadDocument):
        return False
    again = parse_site_head(json.dumps(found.as_json()).encode())
    assert again == found
    receipt = verify_head(material().world.genesis, None, found)
    if isinstance(receipt, Receipt):
        block = material().history.chain.blocks[receipt.tracing_code.height - 1].block
        entry = block.entries[receipt.tracing_code.entry]
        assert (entry.offset, entry.time_ms) == (receipt.log_offset, receipt.time_ms)
        assert entry.kind is Kind.CONTROL or found.head.payload in (None, entry.payload)
    return isinstance(receipt, Receipt)


def anchor(data: bytes) -> bool:
    """What is trusted to hold a chain against is a tree that was signed."""
    found = parse_anchor(material().world.genesis, data, "anchor")
    if isinstance(found, Anchor):
        assert material().checkpoints[found.size].root == found.root
    return isinstance(found, Anchor)


def witness_answer(data: bytes) -> bool:
    """A witness's answer counts only as far as its own key signed our checkpoint."""
    genesis, last = material().world.genesis, material().history.chain.blocks[-1].checkpoint
    keys = list(node_verifiers(genesis))
    for status in (200, 409):
        answer = read_answer(status, data, last, 2, keys)
        for line in answer.cosignatures:
            key = next(key for key in keys if (key.name, key.key_id) == (line.name, line.key_id))
            assert key.is_signature(line.signature, last.body())
        if status == 200 and answer.outcome is WitnessOutcome.COSIGNED:
            return True
    return False


def _accepts(check: object) -> bool:
    """Say whether the independent checker takes what it is given; it refuses by exceptions of any kind."""
    try:
        check()  # type: ignore[operator]
    except Exception:
        return False
    return True


def _answers() -> Bytes:
    return [material().notes[1].partition(b"\n\n")[2]]


def _evidences() -> Bytes:
    found = []
    for data in material().proofs.values():
        proof = parse_tlog_proof(data)
        assert isinstance(proof, TlogProof)
        found.append(proof.extra or b"")
    return found


def _paths() -> Bytes:
    tiles = [TileId(0, 1234067), TileId(ENTRIES, 5, 17), TileId(2, 0, 1), *list(tiles_of(70_000))[-4:]]
    return [item.path.encode() for item in tiles]


def _bundles() -> Bytes:
    return [encode_bundle(material().leaves[:3]), encode_bundle([b"", b"x" * 300]), b""]


def _proofs() -> Bytes:
    return list(material().proofs.values())


TARGETS = (
    Target("note", note, lambda: material().notes),
    Target("checkpoint", checkpoint, lambda: sorted(stated())),
    Target("witnessed", witnessed, lambda: material().notes[:1]),
    Target("policy", policy, lambda: [material().policy_file]),
    Target("verifier-key", verifier_key, lambda: [str(key).encode() for key in known_keys()]),
    Target("tile", tile, lambda: [b"", material().files["tile/0/000.p/15"]]),
    Target("bundle", bundle, _bundles),
    Target("tile-path", tile_path, _paths),
    Target("proof", tlog_proof, _proofs),
    Target("evidence", evidence, _evidences),
    Target("site-head", site_head, lambda: material().site_heads),
    Target("anchor", anchor, lambda: [*material().notes, *_proofs()[:1], *material().site_heads[:1]]),
    Target("witness-answer", witness_answer, _answers),
)
