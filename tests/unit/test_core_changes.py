"""Changes of rights and authorities in the ledger: from where on each counts, and what stays as it was."""

import json
from dataclasses import replace

import pytest

from pipeline.core.block import encode_certified
from pipeline.core.control import (
    AccessLogHead,
    AccessLogKey,
    Action,
    Amend,
    Body,
    Control,
    NewContract,
    Nodes,
    Registrars,
    Resume,
    Rules,
    Suspend,
    action_of,
    encode_body,
    parse_control,
    possession_message,
)
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import IntegrityError
from pipeline.core.genesis import parse_genesis
from pipeline.core.keys import Use
from pipeline.core.note import MLDSA44
from pipeline.core.outcome import Outcome
from pipeline.core.quorum import NodeKey, Policy
from pipeline.core.replica import BlockProblem, Extended, extend
from pipeline.core.signing import Ed25519Signer, MlDsa44Signer, Signer
from pipeline.core.state import ChainState
from tests.support.admission_case import Case
from tests.support.world import NOW_MS, TestSite, control_value, packet_value, secret
from tests.vectors import generate_changes
from tests.vectors.core_world import FOLDER

NEW = Ed25519Signer(secret("new hardware"), Use.SITE)
THIEF_FREE = Ed25519Signer(secret("second registrar"), Use.REGISTRAR)


def key_of(site: TestSite) -> bytes:
    return site.signer.public.fingerprint


def change(case: Case, body: Body) -> Outcome:
    return case.feed(control_value(case.world.control(body)))


def by_roots(case: Case, body: Body, *signers: Signer) -> Outcome:
    return case.feed(control_value(case.world.by_roots(case.deriver.state, body, *signers)))


def amendment(case: Case, signer: Signer, until_ms: int, **changes: object) -> Amend:
    site = case.site
    possession = signer.sign(
        possession_message(case.world.genesis.chain, site.name, signer.public.fingerprint)
    )
    public = signer.public
    body = Amend(
        site.name,
        key_of(site),
        until_ms,
        public.algorithm,
        public.raw,
        possession,
        (site.suite,),
        ("LOCAL:X",),
    )
    return replace(body, **changes)  # type: ignore[arg-type]


def test_a_suspended_site_goes_on_where_it_was_once_resumed() -> None:
    case = Case()
    assert change(case, Suspend(case.site.name, key_of(case.site), "audit")) is Outcome.ADMITTED
    waiting = packet_value(case.site.packet([2]))
    assert case.feed(waiting) is Outcome.SUSPENDED_SITE
    assert change(case, Resume(case.site.name, key_of(case.site), "audited")) is Outcome.ADMITTED
    assert case.feed(waiting) is Outcome.ADMITTED


@pytest.mark.parametrize("kind", [Suspend, Resume])
def test_suspending_and_resuming_fit_the_state_and_the_key(kind: type[Suspend | Resume]) -> None:
    case = Case()
    other = kind(case.site.name, bytes(32), "x")
    assert change(case, other) is Outcome.CONFLICTING
    twice = [change_unissued(case, kind(case.site.name, key_of(case.site), "x")) for _ in range(2)]
    assert twice == ([Outcome.ADMITTED] if kind is Suspend else [Outcome.CONFLICTING]) + [Outcome.CONFLICTING]


def change_unissued(case: Case, body: Body) -> Outcome:
    """Feed a record that continues the registrar's last admitted one."""
    position = case.deriver.state.tables.issuers[case.world.registrar.public.fingerprint]
    case.world.sequence, case.world.previous = position
    return change(case, body)


def test_packets_of_a_replaced_key_are_admitted_until_the_end_of_the_overlap() -> None:
    case = Case()
    assert change(case, amendment(case, NEW, NOW_MS + 500)) is Outcome.ADMITTED
    assert case.feed(packet_value(case.site.packet([2])), NOW_MS + 500) is Outcome.ADMITTED
    assert case.feed(packet_value(case.site.packet([3], advance=False)), NOW_MS + 501) is Outcome.WRONG_KEY
    case.site.signer = NEW
    assert case.feed(packet_value(case.site.packet([3])), NOW_MS + 501) is Outcome.ADMITTED


def test_without_overlap_a_replaced_key_is_nothing_from_the_record_on() -> None:
    case = Case()
    assert change(case, amendment(case, NEW, 0)) is Outcome.ADMITTED
    assert case.feed(packet_value(case.site.packet([2], advance=False))) is Outcome.WRONG_KEY
    case.site.signer = NEW
    assert case.feed(packet_value(case.site.packet([2]))) is Outcome.ADMITTED


def test_an_amendment_that_keeps_the_key_keeps_the_overlap_and_the_suspension() -> None:
    case = Case()
    change(case, amendment(case, NEW, NOW_MS + 500))
    case.site.signer = NEW
    change(case, Suspend(case.site.name, key_of(case.site), "audit"))
    assert change(case, amendment(case, NEW, 0, indicators=("LOCAL:Y",))) is Outcome.ADMITTED
    site = case.deriver.state.tables.sites[case.site.name]
    assert (site.indicators, site.suspended, site.previous_until_ms) == (("LOCAL:Y",), True, NOW_MS + 500)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"site_key": bytes(32)}, Outcome.CONFLICTING),
        ({"possession": bytes(64)}, Outcome.BAD_POSSESSION),
        ({"signing_key": b"\1" + bytes(31)}, Outcome.WEAK_KEY),
    ],
)
def test_an_amendment_names_the_key_in_force_and_proves_the_new_one(
    changes: dict[str, object], outcome: Outcome
) -> None:
    case = Case()
    assert change(case, replace(amendment(case, NEW, 0), **changes)) is outcome  # type: ignore[arg-type]


def test_a_replaced_registrar_issues_no_more_and_what_it_issued_stays() -> None:
    case = Case()
    assert by_roots(case, Registrars((THIEF_FREE.public,))) is Outcome.ADMITTED
    assert change(case, case.revoke()) is Outcome.UNKNOWN_ISSUER
    assert case.feed(packet_value(case.site.packet([2]))) is Outcome.ADMITTED
    assert case.feed(case.issue(case.revoke(), THIEF_FREE)) is Outcome.BROKEN_LINK
    case.world.registrar, case.world.sequence, case.world.previous = THIEF_FREE, 0, bytes(32)
    assert change(case, case.revoke()) is Outcome.ADMITTED


@pytest.mark.parametrize("signers", [1, 0])
def test_authorities_are_changed_by_enough_root_keys_alone(signers: int) -> None:
    case = Case()
    body = Registrars((THIEF_FREE.public,))
    if signers:
        assert by_roots(case, body, case.world.roots[0]) is Outcome.BAD_SIGNATURE
    else:
        assert change(case, body) is Outcome.UNKNOWN_ISSUER


def other_policy(case: Case) -> Policy:
    """Return the policy with another key for the first node."""
    first, *others = case.world.genesis.policy.nodes
    key = Ed25519Signer(secret("replaced"), Use.NODE).public.raw
    return Policy((NodeKey(first.name, key), *others), case.world.genesis.policy.quorum)


def changed_terms(case: Case, body: Body) -> Derived:
    """Feed a change of terms; return the block that it ended."""
    fed = case.fed(control_value(case.world.by_roots(case.deriver.state, body)))
    assert fed.outcome is Outcome.ADMITTED
    (closed,) = fed.closed
    return closed


def test_other_nodes_certify_from_the_next_block_on() -> None:
    case, replica = Case(), Case().world.state()
    policy = other_policy(case)
    block = changed_terms(case, Nodes(policy))
    assert block.policy == case.world.genesis.policy
    size = block.checkpoint.size
    state = case.deriver.state
    assert (state.policy_at(size), state.policy_at(size + 1)) == (block.policy, policy)
    case.feed(packet_value(case.site.packet([2])))
    (following,) = case.deriver.close()
    assert following.policy == policy
    assert isinstance(extended(case, replica, block, ["node-0", "node-1", "node-2"]), Extended)
    refused = extended(case, replica, following, ["node-0", "node-1", "node-2"])
    assert isinstance(refused, BlockProblem)
    assert isinstance(extended(case, replica, following, ["node-1", "node-2", "node-3"]), Extended)
    assert replica.tables == case.deriver.state.tables


def extended(case: Case, replica: ChainState, block: Derived, names: list[str]) -> Extended | BlockProblem:
    certificate = case.world.certificate(block.checkpoint, names)
    return extend(replica, encode_certified(block.block, certificate))


def test_a_contract_counts_from_the_next_block_on_and_its_version_grows() -> None:
    case = Case()
    stricter = replace(case.world.contract, version=2, max_packet=1024)
    block = changed_terms(case, NewContract(stricter))
    assert block.block.header.contract_hash == case.world.contract.hash
    assert case.feed(packet_value(case.site.packet(records=[bytes(2000)]))) is Outcome.OVERSIZED
    assert by_roots(case, NewContract(stricter)) is Outcome.CONFLICTING


def test_nodes_whose_certificates_find_no_room_beside_a_block_are_refused() -> None:
    keys = [MlDsa44Signer(secret(f"many{number}"), Use.NODE).public.raw for number in range(8)]
    nodes = tuple(NodeKey(f"node-{n}", key, algorithm=MLDSA44) for n, key in enumerate(keys))
    assert by_roots(Case(), Nodes(Policy(nodes, 5))) is Outcome.CONFLICTING


def test_rules_that_this_release_does_not_know_stop_it_before_the_next_block() -> None:
    case = Case()
    changed_terms(case, Rules(2))
    with pytest.raises(IntegrityError, match="upgrade bkdms") as stopped:
        case.feed(packet_value(case.site.packet([2])))
    assert stopped.value.code == "upgrade_needed"


def test_rules_do_not_go_back() -> None:
    assert by_roots(Case(), Rules(1)) is Outcome.CONFLICTING


def test_only_the_named_key_anchors_the_access_log() -> None:
    case = Case()
    key = Ed25519Signer(secret("api"), Use.ACCESS_LOG)
    head = AccessLogHead(5, secret("line"), NOW_MS)
    chain = case.world.genesis.chain
    assert case.feed(case.issue(head, key, step=1, chain=chain)) is Outcome.UNKNOWN_ISSUER
    assert change(case, head) is Outcome.UNKNOWN_ISSUER
    assert change_unissued(case, AccessLogKey(key.public)) is Outcome.ADMITTED
    case.world.registrar, case.world.sequence, case.world.previous = key, 0, bytes(32)
    assert change(case, head) is Outcome.ADMITTED
    assert change(case, AccessLogKey(key.public)) is Outcome.UNKNOWN_ISSUER


def test_undoing_a_change_of_authorities_leaves_nothing_of_it() -> None:
    case = Case()
    case.deriver.close()
    state = case.deriver.state
    before = (dict(state.registrars), state.terms, state.tables)
    for body in (Registrars((THIEF_FREE.public,)), Nodes(other_policy(case))):
        deriver = Deriver(state.copy())
        offset = deriver.next_offset
        deriver.feed(LogRecord(offset, NOW_MS, control_value(case.world.by_roots(state, body))))
        if deriver.open_entries:
            deriver.state.undo()
            assert (deriver.state.registrars, deriver.state.terms, deriver.state.tables) == before
    assert (state.registrars, state.terms, state.tables) == before


def test_nothing_follows_a_change_of_terms_in_its_block() -> None:
    """Otherwise a quorum could make blocks that no chain log gives."""
    case, replica = Case(), Case().world.state()
    value = case.world.by_roots(case.deriver.state, Rules(2))
    state = case.deriver.state
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChainState, "has_new_terms", property(lambda _self: False))
        assert case.feed(control_value(value)) is Outcome.ADMITTED
        assert case.feed(packet_value(case.site.packet([2]))) is Outcome.ADMITTED
        (block,) = case.deriver.close()
    refused = extended(case, replica, block, ["node-0", "node-1", "node-2"])
    assert isinstance(refused, BlockProblem)
    assert "after a change of terms" in refused.detail
    assert state.rules_version == 2


VECTORS = json.loads((FOLDER / generate_changes.NAME).read_text())


def test_the_stored_vectors_of_changes_are_those_of_the_generator() -> None:
    assert (FOLDER / generate_changes.NAME).read_text() == generate_changes.content()


def test_the_stored_changes_are_admitted_in_turn_and_encoded_to_the_same_bytes() -> None:
    deriver = Deriver(ChainState(parse_genesis(VECTORS["genesis"].encode())))
    for offset, item in enumerate(VECTORS["records"]):
        raw = bytes.fromhex(item["raw"])
        control = parse_control(raw)
        assert isinstance(control, Control)
        assert encode_body(control.body) in control.clear
        assert (action_of(control.body), control.control_id.hex()) == (item["action"], item["id"])
        fed = deriver.feed(LogRecord(offset, VECTORS["time"], control_value(raw)))
        assert fed.outcome is Outcome.ADMITTED
    kinds = {item["action"] for item in VECTORS["records"]}
    assert kinds == {Action.ENROL, *range(Action.SUSPEND, Action.ACCESS_LOG_HEAD + 1)}
    assert deriver.state.rules_version == 2
