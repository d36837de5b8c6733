"""Any bytes get an answer from a policy, and a quorum is what counting by hand makes it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.tlog_policy import PolicyFileProblem, TlogPolicy, Witnessed, check_note, parse_policy
from tests.vectors.generate_policy import FOLDER, SEEDS, text

GOLDEN: Any = json.loads((FOLDER / "tlog_policy.json").read_text())
POLICIES = [case["policy"].encode("latin-1") for case in GOLDEN["good"]]
TWO_OF_THREE = text("group g 2 A B C", "quorum g", witnesses="ABC").encode()
NOTE = (
    GOLDEN["body"] + "\n" + "".join(GOLDEN["signatures"][name] for name in ("log", "A", "B", "D"))
).encode()
PIECES = st.one_of(
    st.binary(max_size=3), st.sampled_from([b"\n", b" ", b"\t", b"#", b"quorum ", b"group ", b" A"])
)
Tree = str | tuple[int, list["Tree"]]


@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    found = parse_policy(data)
    if isinstance(found, PolicyFileProblem):
        assert 0 <= found.line <= data.count(b"\n") + 1


@given(st.sampled_from(POLICIES), st.data())
def test_a_changed_policy_gets_an_answer_and_names_only_what_it_defines(
    policy: bytes, data: st.DataObject
) -> None:
    at, gone = data.draw(st.integers(0, len(policy))), data.draw(st.integers(0, 3))
    found = parse_policy(policy[:at] + data.draw(PIECES) + policy[at + gone :])
    if isinstance(found, TlogPolicy):
        defined = {witness.name for witness in found.witnesses} | {group.name for group in found.groups}
        members = [member for group in found.groups for member in group.members]
        assert found.quorum in defined | {"none"}
        assert set(members) <= defined
        assert len(set(members)) == len(members)
        assert len(defined) == len(found.witnesses) + len(found.groups)


@given(st.integers(0, len(NOTE)), st.integers(0, 3), PIECES)
def test_a_changed_note_is_accepted_for_the_same_checkpoint_and_quorum_or_refused(
    at: int, gone: int, new: bytes
) -> None:
    policy = parse_policy(TWO_OF_THREE)
    assert isinstance(policy, TlogPolicy)
    found = check_note(policy, NOTE[:at] + new + NOTE[at + gone :])
    if isinstance(found, Witnessed):
        assert found.checkpoint.body().decode() == GOLDEN["body"]
        assert {name for name, _ in found.cosigners} >= {"A", "B"}


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Return groups of groups, in which each witness stands once."""
    nodes: list[Tree] = list(draw(st.permutations(sorted(SEEDS))))
    while len(nodes) > 1:
        count = len(nodes) - draw(st.integers(0, len(nodes) - 2))
        members, nodes = nodes[:count], nodes[count:]
        nodes.append((draw(st.integers(1, count)), members))
    return nodes[0]


def lines_of(tree: Tree, lines: list[str]) -> str:
    """Append the group lines of a tree, inner ones first; return the name of the whole."""
    if isinstance(tree, str):
        return tree
    members = [lines_of(member, lines) for member in tree[1]]
    lines.append(f"group g{len(lines)} {tree[0]} {' '.join(members)}")
    return f"g{len(lines) - 1}"


def holds(tree: Tree, signers: frozenset[str]) -> bool:
    """Say by recursion what the policy says by its file."""
    if isinstance(tree, str):
        return tree in signers
    return sum(holds(member, signers) for member in tree[1]) >= tree[0]


@given(trees(), st.frozensets(st.sampled_from(sorted(SEEDS))))
def test_a_quorum_is_what_counting_says(tree: Tree, signers: frozenset[str]) -> None:
    lines: list[str] = []
    name = lines_of(tree, lines)
    policy = parse_policy(text(*lines, f"quorum {name}", witnesses="".join(SEEDS)).encode())
    assert isinstance(policy, TlogPolicy)
    assert policy.is_met(signers) == holds(tree, signers)
