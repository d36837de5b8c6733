"""Records of root keys: proposed from what is in force, and brought into the ledger when enough have signed.

Owns that nothing is sent which the chain would refuse, and when it counts as decided: in a verified block. Files and
keys are the callers' affair; a reanchor, which names a block and not a decision, is ``reanchor``'s.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from pipeline.core.admission import judge_authority
from pipeline.core.control import (
    Control,
    Nodes,
    Reanchor,
    Registrars,
    RootBody,
    Rules,
    describe,
    parse_control,
)
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey
from pipeline.core.outcome import Outcome
from pipeline.core.proposal import Proposal, proposal_problem, propose
from pipeline.core.state import START, ChainState
from pipeline.ports import Producer
from pipeline.services.carrying import USUAL_PATIENCE, Patience, outgoing
from pipeline.services.registrar import StateView, dry_run


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a proposal: signatures it has and needs, and whether it is in a verified block of ``height``."""

    signatures: int
    needed: int
    height: int | None = None


def proposed(state: ChainState, issuer: PublicKey, body: RootBody) -> Proposal:
    """Return a proposal of what follows on what is in force.

    Raises:
        ConfigError: it would change nothing, or the chain would refuse it (``config.refused``).
    """
    if _is_in_force(state, body):
        raise ConfigError(f"{describe(body)}: that is in force already; nothing is proposed")
    if issuer.fingerprint not in state.roots or isinstance(body, Reanchor):
        raise ConfigError("a root key of the genesis file issues, and reanchoring has a command of its own")
    found = propose(state.genesis, issuer, state.tables.issuers.get(issuer.fingerprint, START), body)
    if isinstance(found, str):
        raise ConfigError(f"{describe(body)}: {found}; make it smaller", code="config.refused")
    outcome = judge_authority(state, body)
    if outcome is not Outcome.ADMITTED:
        raise ConfigError(
            f"the chain would refuse this: {describe(body)}: {outcome.label.replace('_', ' ')} with what is in force; "
            "contract and rules need a higher version, and blocks room for the nodes' certificates",
            code="config.refused",
        )
    return found


def joined(genesis: Genesis, copies: Iterable[Proposal]) -> Proposal:
    """Return the copies of one proposal as one, every signature checked.

    Raises:
        ConfigError: they are of different proposals, or one of them is refused.
    """
    found = list(copies)
    for copy in found:
        problem = proposal_problem(genesis, copy)
        if problem is not None:
            raise ConfigError(f"the proposal is refused: {problem}; ask for it anew", code="config.proposal")
    try:
        return reduce(Proposal.joined, found)
    except ValueError as error:
        raise ConfigError(f"{error}; give the copies of one", code="config.proposal") from None


def missing(genesis: Genesis, proposal: Proposal) -> str | None:
    """Return who has yet to sign, for people, or None where enough have."""
    signers = {key for key, _ in proposal.signatures}
    if proposal.issuer not in signers:
        return f"its issuer, root key {root_number(genesis, proposal.issuer)}, has not signed"
    more = genesis.root_threshold - len(signers)
    return f"{more} more root key(s) must sign" if more > 0 else None


def root_number(genesis: Genesis, fingerprint: bytes) -> int:
    """Return the place of a root key in the genesis file, from 1."""
    return [key.fingerprint for key in genesis.root_keys].index(fingerprint) + 1


@dataclass(frozen=True, slots=True)
class RootDesk:
    """Brings what root keys decided into the ledger."""

    genesis: Genesis
    view: StateView
    producer: Producer
    patience: Patience = USUAL_PATIENCE

    async def submit(self, proposal: Proposal) -> Submitted:
        """Append a proposal that enough keys signed, and return when it is in a verified block. Can be repeated.

        Raises:
            ConfigError: the chain would refuse it (``config.refused``): something else was decided since.
            IntegrityError: the published blocks contradict one another.
            TransientError: the ledger is away or does not go on (``not_committed``); the same again sends the same.
        """
        signatures, needed = len(proposal.signatures), self.genesis.root_threshold
        if missing(self.genesis, proposal) is not None:
            return Submitted(signatures, needed)
        control = parse_control(proposal.record)
        assert isinstance(control, Control)  # noqa: S101  parsed before
        state = await self.view.refresh()
        if not _holds(state, control):
            refusal = dry_run(state, (control,))
            if refusal is not None:
                raise ConfigError(
                    f"the chain would refuse this: {refusal}; something was decided since, so propose anew",
                    code="config.refused",
                )
            await self.producer.send(outgoing(self.genesis, (control,)))
            state = await self.patience.until(
                self.view.refresh,
                lambda state: _holds(state, control),
                "The same command again sends the same record",
            )
        return Submitted(signatures, needed, state.head.height)


def _holds(state: ChainState, control: Control) -> bool:
    """Tell whether the ledger has this record as the issuer's last one."""
    return state.tables.issuers.get(control.issuer, START).last_id == control.control_id


def _is_in_force(state: ChainState, body: RootBody) -> bool:
    match body:
        case Registrars():
            return {key.fingerprint for key in body.keys} == set(state.registrars)
        case Nodes():
            return body.policy == state.policy
        case Rules():
            return body.version == state.rules_version
        case _:
            return False
