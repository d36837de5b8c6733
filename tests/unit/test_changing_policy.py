"""Accounting under a policy that the ledger changes: whose signature counts for which block."""

import pytest

from pipeline.core.checkpoint import Checkpoint
from pipeline.core.control import Nodes
from pipeline.core.derive import Derived
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Use
from pipeline.core.quorum import Certified, NodeKey, Policy, check_stated
from pipeline.core.signing import Ed25519Signer, Signer
from pipeline.services.accounting.forks import ForkWatch
from pipeline.services.accounting.memory import NodeIdentity, identity_in
from pipeline.services.accounting.votes import Ballot, Candidate, VoteOutcome, parse_vote, vote_message
from tests.support.admission_case import Case
from tests.support.world import control_value, packet_value, secret

NEW = Ed25519Signer(secret("replaced"), Use.NODE)
LOST = "node-0"


class Changed:
    """A chain whose first node got another key at the end of its first block."""

    def __init__(self) -> None:
        self.case = Case()
        genesis = self.case.world.genesis
        first, *others = genesis.policy.nodes
        self.policy = Policy((NodeKey(first.name, NEW.public.raw), *others), genesis.policy.quorum)
        state = self.case.deriver.state
        (self.first,) = self.case.fed(
            control_value(self.case.world.by_roots(state, Nodes(self.policy)))
        ).closed
        self.case.feed(packet_value(self.case.site.packet([2])))
        (self.second,) = self.case.deriver.close()
        self.policy_at = state.policy_at
        self.origin = genesis.origin

    def vote(self, block: Derived, name: str, signer: Signer) -> bytes:
        header = block.block.header
        about = Candidate(header.height, block.block.hash, block.checkpoint)
        return vote_message(self.case.world.genesis.chain, about, name, [signer], 1)

    def counted(self, block: Derived, signer: Signer) -> VoteOutcome:
        ballot = Ballot(self.origin, self.policy_at, block.block.header.height - 1)
        ballot.add_derived(block)
        vote = parse_vote(self.case.world.genesis.chain, self.vote(block, LOST, signer))
        assert vote is not None
        return ballot.add_vote(vote)


@pytest.fixture
def changed() -> Changed:
    return Changed()


def test_a_vote_counts_by_the_policy_of_its_block(changed: Changed) -> None:
    old = changed.case.world.node_signers[LOST]
    assert [changed.counted(changed.first, signer) for signer in (old, NEW)] == [
        VoteOutcome.COUNTED,
        VoteOutcome.INVALID,
    ]
    assert [changed.counted(changed.second, signer) for signer in (old, NEW)] == [
        VoteOutcome.INVALID,
        VoteOutcome.COUNTED,
    ]


def test_a_certificate_is_checked_by_the_policy_of_the_tree_that_it_states(changed: Changed) -> None:
    world = changed.case.world
    old = [
        world.certificate(b.checkpoint, [LOST, "node-1", "node-2"]) for b in (changed.first, changed.second)
    ]
    found = [check_stated(item, changed.origin, changed.policy_at) for item in old]
    assert [isinstance(item, Certified) for item in found] == [True, False]


def test_retired_keys_can_not_accuse_the_chain_of_a_fork(changed: Changed) -> None:
    """Who stole a replaced node's key together with others' old ones could stop every node by it."""
    world, frontier = changed.case.world, changed.case.deriver.state.head.frontier
    watch = ForkWatch(changed.origin, changed.policy_at, frontier)
    forged = Checkpoint(changed.origin, frontier.size, secret("another root"))
    assert watch.check(world.certificate(forged, [LOST, "node-1", "node-2"])) is None


def test_a_node_signs_with_the_keys_that_the_policy_in_force_names(changed: Changed) -> None:
    old = changed.case.world.node_signers[LOST]
    identity = identity_in(NodeIdentity(LOST, (NEW, old), 0), changed.policy)
    assert (identity.signers, identity.rank) == ((NEW,), 0)


@pytest.mark.parametrize(("name", "text"), [(LOST, "another key"), ("node-9", "no node node-9")])
def test_a_node_that_the_policy_in_force_does_not_name_is_told_what_to_do(
    changed: Changed, name: str, text: str
) -> None:
    old = changed.case.world.node_signers[LOST]
    with pytest.raises(ConfigError, match=text) as refused:
        identity_in(NodeIdentity(name, (old,), 0), changed.policy)
    assert "root propose nodes" in str(refused.value)
