"""Decisions of root keys: proposed from what is in force, signed apart, brought into the ledger once."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from pipeline.core.contract import Contract
from pipeline.core.control import (
    BackfillGrant,
    NewContract,
    Nodes,
    Reanchor,
    Registrars,
    RootBody,
    Rules,
    parse_control,
)
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.genesis import contract_fields, read_contract
from pipeline.core.issuing import Journal
from pipeline.core.keys import Use
from pipeline.core.proposal import Proposal, parse_proposal, proposal_problem
from pipeline.core.quorum import Policy
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import ChainState
from pipeline.ports import Outgoing
from pipeline.services.carrying import Patience
from pipeline.services.registrar import RegistrarDesk
from pipeline.services.registry_view import RegistryView
from pipeline.services.root_records import RootDesk, joined, missing, proposed
from tests.support.chain import Chain, MemoryProducer, MemoryReader, MemoryTopic
from tests.support.world import PERIOD_MS, World, control_value, secret

LATER = Ed25519Signer(secret("later registrar"), Use.REGISTRAR)
STRANGER = Ed25519Signer(secret("stranger"), Use.ROOT)
REPLACED = Registrars((LATER.public,))


class Ledger(MemoryProducer):
    """A chain whose nodes seal what is sent to it at once, unless they are ``away``."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = Chain()
        self.topic = MemoryTopic()
        self.away = False
        self.seal(self.chain.world.enrolment(self.chain.world.site(1)))
        self.desk = RootDesk(
            self.chain.world.genesis,
            RegistryView(self.chain.world.genesis, MemoryReader(self.topic)),
            self,
            Patience(0),
        )

    def seal(self, raws: list[bytes]) -> None:
        """Put control records into a block."""
        self.publish([control_value(raw) for raw in raws])

    def publish(self, values: list[bytes]) -> None:
        """Put values of the chain log into a block, and it on the topic."""
        known = len(self.chain.blocks)
        for value in values:
            self.chain.add(value)
        if self.chain.deriver.open_entries:  # a change of terms closed it
            self.chain.close()
        self.topic.publish(self.chain.certified[known:])

    async def send(self, batch: Sequence[Outgoing]) -> None:
        """Take what is sent."""
        await super().send(batch)
        if not self.away:
            self.publish([self.sent[-1].value or b""])

    @property
    def world(self) -> World:
        return self.chain.world

    @property
    def state(self) -> ChainState:
        return self.chain.deriver.state

    def proposal(self, body: RootBody = REPLACED, *signers: Ed25519Signer, issuer: int = 0) -> Proposal:
        """Return a proposal, signed by these."""
        made = proposed(self.state, self.world.roots[issuer].public, body)
        for signer in signers:
            made = made.signed_by(signer)
        return made


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def contract(version: int = 2, max_age_ms: int = Contract().max_age_ms) -> NewContract:
    return NewContract(Contract(version, period_ms=PERIOD_MS, max_age_ms=max_age_ms))


def fewer_nodes(ledger: Ledger) -> Nodes:
    return Nodes(Policy(ledger.state.policy.nodes[:3], 2))


DECISIONS: dict[str, Callable[[Ledger], RootBody]] = {
    "registrars": lambda _: REPLACED,
    "nodes": fewer_nodes,
    "contract": lambda _: contract(max_age_ms=1000),
    "rules": lambda _: Rules(2),
}


@pytest.mark.parametrize("what", DECISIONS)
async def test_enough_signatures_bring_a_decision_into_force(ledger: Ledger, what: str) -> None:
    body = DECISIONS[what](ledger)
    made = ledger.proposal(body, *ledger.world.roots[:2])
    done = await ledger.desk.submit(made)
    assert (done.signatures, done.needed, done.height) == (2, 2, 2)
    state = await ledger.desk.view.refresh()
    in_force = {
        "registrars": Registrars(tuple(state.registrars.values())),
        "nodes": Nodes(state.policy),
        "contract": NewContract(state.contract),
        "rules": Rules(state.rules_version),
    }
    assert in_force[what] == body


async def test_too_few_signatures_send_nothing_and_say_whose_are_missing(ledger: Ledger) -> None:
    roots = ledger.world.roots
    for signers, said in (((), "root key 1"), ((roots[1], roots[2]), "root key 1"), ((roots[0],), "1 more")):
        made = ledger.proposal(REPLACED, *signers)
        done = await ledger.desk.submit(made)
        assert (done.height, ledger.sent) == (None, [])
        assert said in (missing(ledger.world.genesis, made) or "")


async def test_copies_signed_side_by_side_are_joined(ledger: Ledger) -> None:
    """The issuer's signature comes first in the record, whoever signed when; one key counts once."""
    blank, roots = ledger.proposal(), ledger.world.roots
    copies = [blank.signed_by(roots[2]), blank.signed_by(roots[0]), blank.signed_by(roots[2])]
    made = joined(ledger.world.genesis, copies)
    control = parse_control(made.record)
    assert [key for key, _ in control.signatures] == [  # type: ignore[union-attr]
        roots[0].public.fingerprint,
        roots[2].public.fingerprint,
    ]
    assert (await ledger.desk.submit(made)).height == 2


async def test_the_same_again_sends_nothing_again(ledger: Ledger) -> None:
    made = ledger.proposal(REPLACED, *ledger.world.roots[:2])
    await ledger.desk.submit(made)
    assert (await ledger.desk.submit(made)).height == 2
    assert len(ledger.sent) == 1


async def test_what_was_sent_and_not_sealed_is_sent_again_as_it_is(ledger: Ledger) -> None:
    made = ledger.proposal(REPLACED, *ledger.world.roots[:2])
    ledger.away = True
    with pytest.raises(TransientError, match="not in a block"):
        await ledger.desk.submit(made)
    ledger.publish([ledger.sent[0].value or b""])
    assert (await ledger.desk.submit(made)).height == 2
    assert len(ledger.sent) == 1


async def test_of_two_proposals_side_by_side_the_second_is_refused(ledger: Ledger) -> None:
    first = ledger.proposal(REPLACED, *ledger.world.roots[:2])
    second = ledger.proposal(contract(), *ledger.world.roots[:2])
    await ledger.desk.submit(first)
    with pytest.raises(ConfigError, match="propose anew"):
        await ledger.desk.submit(second)
    assert len(ledger.sent) == 1


def test_what_changes_nothing_or_is_refused_is_not_proposed(ledger: Ledger) -> None:
    state = ledger.state
    for body in (Registrars((ledger.world.registrar.public,)), Nodes(state.policy), Rules(1)):
        with pytest.raises(ConfigError, match="in force already"):
            ledger.proposal(body)
    for same in (NewContract(state.contract), contract(1)):
        with pytest.raises(ConfigError, match="higher version"):
            ledger.proposal(same)
    with pytest.raises(ConfigError, match="a command of its own"):
        ledger.proposal(Reanchor(2, 1, bytes(32)))
    with pytest.raises(ConfigError, match="root key"):
        proposed(state, STRANGER.public, REPLACED)
    many = tuple(Ed25519Signer(secret(f"r{i}"), Use.REGISTRAR).public for i in range(65))
    with pytest.raises(ConfigError, match="out of range"):
        ledger.proposal(Registrars(many))


def test_a_file_reads_back_and_nothing_else_does(ledger: Ledger) -> None:
    made = ledger.proposal(REPLACED, *ledger.world.roots[:2])
    assert parse_proposal(made.encode()) == made
    data = made.encode()
    for wrong in (
        b"",
        b"[]",
        b"{}",
        data.replace(b"proposal/v1", b"proposal/v2"),
        data.replace(b'"record": "', b'"record": "AAAA'),
        data.replace(made.signatures[1][0].hex().encode(), made.signatures[0][0].hex().encode()),
        data + b" " * 70_000,
    ):
        assert isinstance(parse_proposal(wrong), str), wrong[:60]


def test_a_record_that_is_not_for_root_keys_is_no_proposal(ledger: Ledger) -> None:
    enrolment = parse_control(ledger.world.enrolment(ledger.world.site(2))[0])
    other = replace(ledger.proposal(), clear=enrolment.clear)  # type: ignore[union-attr]
    assert isinstance(parse_proposal(other.encode()), str)


def test_foreign_signatures_issuers_and_chains_are_refused(ledger: Ledger) -> None:
    genesis, roots = ledger.world.genesis, ledger.world.roots
    good = ledger.proposal(REPLACED, roots[0])
    assert proposal_problem(genesis, good) is None
    assert "root key" in (proposal_problem(genesis, good.signed_by(STRANGER)) or "")
    wrong = replace(good, signatures=((roots[0].public.fingerprint, bytes(64)),))
    assert "signature" in (proposal_problem(genesis, wrong) or "")
    other = World(nodes=3, quorum=2).genesis
    assert "another chain" in (proposal_problem(other, good) or "")
    with pytest.raises(ConfigError, match="refused"):
        joined(genesis, [good, wrong])
    with pytest.raises(ConfigError, match="different"):
        joined(genesis, [good, ledger.proposal(contract(), roots[0])])


def test_a_contract_reads_back_from_its_fields() -> None:
    made = contract(7, max_age_ms=12_345).contract
    assert read_contract(contract_fields(made)) == made


class Journals:
    """A journal in memory."""

    def __init__(self) -> None:
        self._journal = Journal()

    def load(self) -> Journal:
        """Return what was saved."""
        return self._journal

    def save(self, journal: Journal) -> None:
        """Keep it."""
        self._journal = journal


async def test_the_desk_of_a_replaced_registrar_is_closed_and_the_new_one_is_open(ledger: Ledger) -> None:
    genesis, view = ledger.world.genesis, ledger.desk.view
    old = RegistrarDesk(ledger.world.registrar, genesis, view, Journals(), ledger)
    new = RegistrarDesk(LATER, genesis, view, Journals(), ledger)
    grant = BackfillGrant(ledger.world.site(1).name, 0, 1, 2)
    with pytest.raises(ConfigError, match="root show"):
        await new.issue(grant)
    await old.issue(grant)
    await ledger.desk.submit(ledger.proposal(REPLACED, *ledger.world.roots[:2]))
    with pytest.raises(ConfigError, match="root keys replaced it"):
        await old.issue(grant)
    await new.issue(grant)
    state = await view.refresh()
    assert state.tables.grants[grant.site] == (grant, grant)
