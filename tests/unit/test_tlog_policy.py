"""Policy files of C2SP tlog-policy: which are read, and which notes they accept."""

import json
from base64 import b64encode
from itertools import pairwise
from typing import Any

import pytest

from pipeline.core.checkpoint import Checkpoint, sign_as_log
from pipeline.core.note import (
    COSIGNATURE_V1,
    MLDSA44,
    Note,
    VerifierKey,
    format_note,
    key_id,
    parse_note,
    parse_verifier_key,
)
from pipeline.core.policy_file import policy_text
from pipeline.core.tlog_policy import (
    MAX_OF_EACH,
    MAX_POLICY_BYTES,
    Group,
    PolicyFileProblem,
    PolicyReason,
    PolicyRefusal,
    TlogPolicy,
    Witnessed,
    check_note,
    parse_policy,
)
from tests.support.world import NOW_MS, World
from tests.vectors import generate_certificate as plain
from tests.vectors import generate_policy as made

GOLDEN: Any = json.loads((made.FOLDER / "tlog_policy.json").read_text())
KEYS = GOLDEN["keys"]
ORIGIN = made.ORIGIN


def good(text: str) -> TlogPolicy:
    policy = parse_policy(text.encode("latin-1"))
    assert isinstance(policy, TlogPolicy), policy
    return policy


def key(name: str) -> VerifierKey:
    found = parse_verifier_key(KEYS[name])
    assert isinstance(found, VerifierKey)
    return found


def note(*signers: str, lines: str = "") -> bytes:
    signatures = "".join(GOLDEN["signatures"][name] for name in signers)
    return f"{GOLDEN['body']}\n{signatures}{lines}".encode()


def refusal(policy: TlogPolicy, data: bytes) -> PolicyReason:
    found = check_note(policy, data)
    assert isinstance(found, PolicyRefusal)
    assert found.detail
    return found.reason


def test_the_vectors_are_what_their_generator_writes() -> None:
    for name, content in made.files().items():
        assert (made.FOLDER / name).read_text() == content


@pytest.mark.parametrize("case", GOLDEN["good"], ids=lambda case: case["comment"])
def test_a_good_policy_is_met_by_the_right_witnesses_alone(case: Any) -> None:
    policy = good(case["policy"])
    witness_of = {witness.key: witness.name for witness in policy.witnesses}
    for signers in case["met"]:
        found = check_note(policy, note("log", *signers))
        if not policy.logs and not witness_of.keys() & {key(name) for name in signers}:
            continue
        assert isinstance(found, Witnessed), signers
        assert found.checkpoint == Checkpoint(ORIGIN, 1, bytes(range(32)))
        assert found.log == (key("log") if policy.logs else None)
        names = [witness_of[key(name)] for name in signers if key(name) in witness_of]
        assert sorted(found.cosigners) == sorted((name, GOLDEN["time"]) for name in names)
    for signers in case["unmet"]:
        assert not policy.is_met([witness_of[key(name)] for name in signers if key(name) in witness_of])
        assert isinstance(check_note(policy, note("log", *signers)), PolicyRefusal)


@pytest.mark.parametrize("case", GOLDEN["bad"], ids=lambda case: case["comment"])
def test_a_bad_policy_is_refused_at_its_first_wrong_line(case: Any) -> None:
    problem = parse_policy(case["policy"].encode("latin-1"))
    assert isinstance(problem, PolicyFileProblem)
    assert problem.line == case["line"]
    assert problem.detail in str(problem)


def test_octets_of_names_stay_apart() -> None:
    names = [b"K", b"\xe2\x84\xaa", b"\xff", b"\\xff", b"\\\\xff", b"\xc3\xa9", b"e\xcc\x81"]
    lines = [b"witness %s %s\n" % (name, KEYS[k].encode()) for name, k in zip(names, "ABCDEF", strict=False)]
    policy = parse_policy(b"".join(lines) + b"group g all %s\nquorum g\n" % b" ".join(names[:6]))
    assert isinstance(policy, TlogPolicy)
    assert len({witness.name for witness in policy.witnesses}) == 6
    for witness in policy.witnesses:
        witness.name.encode()


def test_addresses_are_kept() -> None:
    policy = good(
        made.text(f"witness W {KEYS['A']} https://w.example/v1", f"witness B {KEYS['B']}", "quorum W")
    )
    assert [witness.url for witness in policy.witnesses] == ["https://w.example/v1", None]
    assert policy.logs[0].url is None


def test_a_file_that_is_too_large_is_refused() -> None:
    data = made.text("quorum none").encode()
    comment = b"#" * (MAX_POLICY_BYTES - len(data) - 1) + b"\n"
    assert isinstance(parse_policy(data + comment), TlogPolicy)
    assert parse_policy(data + b"#" + comment) == PolicyFileProblem(
        0, f"a policy file has at most {MAX_POLICY_BYTES} bytes"
    )


def test_there_is_a_limit_on_groups() -> None:
    names = ["A", *(f"g{i}" for i in range(MAX_OF_EACH))]
    lines = [f"group {name} all {member}" for member, name in pairwise(names)]
    policy = good(made.text(*lines, f"quorum {names[-1]}", witnesses="A"))
    assert policy.is_met(["A"])
    assert not policy.is_met([])
    problem = parse_policy(
        made.text(*lines, f"group one all {names[-1]}", "quorum one", witnesses="A").encode()
    )
    assert problem == PolicyFileProblem(MAX_OF_EACH + 3, f"there are more than {MAX_OF_EACH} groups")


@pytest.mark.parametrize("threshold", [0, 3])
def test_a_group_asks_for_some_of_its_members(threshold: int) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Group("g", threshold, ("A", "B"))


def test_names_that_are_no_witness_do_not_count() -> None:
    policy = good(made.text("group g all A", "quorum g", witnesses="A"))
    assert not policy.is_met(["g", "log", "none"])


def test_a_note_that_only_another_log_signed_is_refused() -> None:
    policy = good(made.text(f"log {KEYS['other']}", "quorum none", witnesses="A"))
    assert refusal(policy, note("other")) is PolicyReason.NOT_SIGNED_BY_LOG
    assert refusal(policy, note("A")) is PolicyReason.NOT_SIGNED_BY_LOG
    assert isinstance(check_note(policy, note("other", "log")), Witnessed)


def test_a_note_without_its_quorum_is_refused() -> None:
    policy = good(made.text("group g 2 A B C", "quorum g", witnesses="ABC"))
    assert refusal(policy, note("log", "A", "D")) is PolicyReason.NO_QUORUM


def test_a_cosignature_counts_once() -> None:
    policy = good(made.text("group g 2 A B", "quorum g", witnesses="AB"))
    assert refusal(policy, note("log", "A", "A")) is PolicyReason.NO_QUORUM


def test_a_bad_signature_of_a_listed_key_refuses_the_note() -> None:
    policy = good(made.text("quorum A", witnesses="AB"))
    wrong = plain.line(made.name_of("B"), 4, made.SEEDS["B"], b"something else", bytes(8))
    assert refusal(policy, note("log", "A", lines=wrong)) is PolicyReason.BAD_NOTE
    unlisted = plain.line(made.name_of("C"), 4, made.SEEDS["C"], b"something else", bytes(8))
    assert isinstance(check_note(policy, note("log", "A", lines=unlisted)), Witnessed)


def test_of_several_cosignatures_the_earliest_time_is_told() -> None:
    policy = good(made.text("quorum A", witnesses="A"))
    lines = ""
    for time in (made.TIME - 5, made.TIME + 3):
        message = f"cosignature/v1\ntime {time}\n{made.BODY}".encode()
        lines += plain.line(made.name_of("A"), 4, made.SEEDS["A"], message, time.to_bytes(8, "big"))
    found = check_note(policy, note("log", "A", lines=lines))
    assert isinstance(found, Witnessed)
    assert found.cosigners == (("A", made.TIME - 5),)


def test_a_note_that_is_no_checkpoint_is_refused() -> None:
    policy, body = good(made.text("quorum none")), f"{ORIGIN}\n1\nnot a root\n"
    data = body + "\n" + plain.line(ORIGIN, 1, made.LOG_SEED, body.encode())
    assert refusal(policy, data.encode()) is PolicyReason.BAD_CHECKPOINT
    assert refusal(policy, b"") is PolicyReason.BAD_NOTE


def one_of(world: World, algorithm: int, nodes: int) -> bytes:
    """Return a certificate of some nodes with their keys of one kind alone."""
    checkpoint = Checkpoint(world.genesis.origin, 1, bytes(range(32)))
    kept = {(k.name, k.key_id) for k in world.genesis.policy.nodes if k.algorithm == algorithm}
    whole = parse_note(world.certificate(checkpoint, [f"node-{number}" for number in range(nodes)]))
    assert isinstance(whole, Note)
    lines = [line for line in whole.signatures if (line.name, line.key_id) in kept]
    assert len(lines) == nodes
    return format_note(whole.text, [sign_as_log(checkpoint, world.log_signer), *lines])


@pytest.mark.parametrize("algorithm", [COSIGNATURE_V1, MLDSA44])
def test_any_key_of_a_node_is_its_voice(algorithm: int) -> None:
    world = World(mldsa44=True)
    policy = parse_policy(policy_text(world.genesis).encode())
    assert isinstance(policy, TlogPolicy)
    assert isinstance(check_note(policy, one_of(world, algorithm, 3)), Witnessed)
    assert refusal(policy, one_of(world, algorithm, 2)) is PolicyReason.NO_QUORUM


def test_two_keys_of_a_node_are_one_voice() -> None:
    world = World(mldsa44=True)
    policy = parse_policy(policy_text(world.genesis).encode())
    assert isinstance(policy, TlogPolicy)
    checkpoint = Checkpoint(world.genesis.origin, 1, bytes(range(32)))
    note = parse_note(world.certificate(checkpoint, ["node-0", "node-1"]))
    assert isinstance(note, Note)
    assert len(note.signatures) == 4
    signed = format_note(note.text, [sign_as_log(checkpoint, world.log_signer), *note.signatures])
    assert refusal(policy, signed) is PolicyReason.NO_QUORUM


def test_a_post_quantum_key_of_another_length_is_refused() -> None:
    public = bytes(32)
    encoded = f"w+{key_id('w', MLDSA44, public).hex()}+{b64encode(bytes([MLDSA44]) + public).decode()}"
    problem = parse_policy(f"witness w {encoded}\nquorum w\n".encode())
    assert isinstance(problem, PolicyFileProblem)
    assert problem.line == 1


def test_the_policy_of_a_chain_accepts_what_its_nodes_certify() -> None:
    world = World()
    policy = parse_policy(policy_text(world.genesis).encode())
    assert isinstance(policy, TlogPolicy)
    assert policy.logs[0].key.name == world.genesis.origin
    checkpoint = Checkpoint(world.genesis.origin, 1, bytes(range(32)))
    certificate = world.certificate(checkpoint)
    assert refusal(policy, certificate) is PolicyReason.NOT_SIGNED_BY_LOG
    assert refusal(TlogPolicy((), policy.witnesses, policy.groups, policy.quorum), certificate[:-1]) is (
        PolicyReason.BAD_NOTE
    )
    found = check_note(TlogPolicy((), policy.witnesses, policy.groups, policy.quorum), certificate)
    assert isinstance(found, Witnessed)
    assert {time for _, time in found.cosigners} == {NOW_MS // 1000}
