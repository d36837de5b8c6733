"""The registrar: control records that change who is allowed what, issued one after the other.

``Registrar`` signs records that continue from a position; ``RegistrarDesk`` brings them into the ledger so that a
crash at any moment neither loses one nor issues two at one sequence. What was signed is kept until it is seen in a
verified block, and is sent again, byte for byte, before anything new.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from pipeline.core.admission import enact, judge
from pipeline.core.control import (
    BackfillGrant,
    Body,
    Control,
    Enrol,
    KeyOffer,
    Revoke,
    describe,
    parse_control,
    sign_control,
)
from pipeline.core.errors import ConfigError, ConflictError
from pipeline.core.genesis import Genesis
from pipeline.core.issuing import Journal, unseen
from pipeline.core.keys import PublicKey
from pipeline.core.names import SiteName
from pipeline.core.outcome import Outcome
from pipeline.core.signing import Signer
from pipeline.core.state import START, ChainState, Position
from pipeline.ports import Producer
from pipeline.services.access import AccessRequest
from pipeline.services.carrying import USUAL_PATIENCE, Patience, outgoing


class Registrar:
    """Signs control records, each continuing from the one before.

    ``registrars`` are the fingerprints of those in force; without them those of the genesis file are.

    Raises:
        ConfigError: the key is not that of a registrar of this chain.
    """

    def __init__(
        self,
        signer: Signer,
        genesis: Genesis,
        position: Position = START,
        registrars: Collection[bytes] | None = None,
    ) -> None:
        known = {key.fingerprint for key in genesis.registrars} if registrars is None else registrars
        if signer.public.fingerprint not in known:
            raise ConfigError(
                "the registrar's key is not in the genesis file, or root keys replaced it; set registrar.key to one "
                "that `bkdms root show` names",
                code="config.registrar_key",
            )
        self._signer = signer
        self._chain = genesis.chain
        self.position = position

    def issue(self, body: Body) -> Control:
        """Return the next control record with this body; ``raw`` of it is what goes into the log.

        Raises:
            ConfigError: a field of the body is out of its bounds.
        """
        sequence, previous = self.position.sequence + 1, self.position.last_id
        control = parse_control(sign_control(self._chain, self._signer, sequence, previous, body))
        if isinstance(control, Outcome):
            raise ConfigError(f"{describe(body)}: {control.label.replace('_', ' ')}; check what it names")
        self.position = Position(sequence, control.control_id)
        return control

    def enrol(self, request: AccessRequest, indicators: tuple[str, ...] | None = None) -> Control:
        """Return the record that lets a site in, with all or some of the indicators it asked for.

        Raises:
            ConfigError: an indicator was not asked for.
        """
        return self.issue(enrolment(request, indicators))

    def offer(self, site: SiteName, epoch: int, key: PublicKey, valid_to: int) -> Control:
        """Return the record that offers the platform's sealing key to a site until ``valid_to`` (ms)."""
        return self.issue(key_offer(site, epoch, key, valid_to))

    def revoke(self, site: SiteName, site_key: bytes, reason: str) -> Control:
        """Return the record that refuses a site and its key (fingerprint, 32 bytes) from here on."""
        return self.issue(Revoke(site, site_key, reason))

    def backfill(self, site: SiteName, first: int, last: int, expires: int) -> Control:
        """Return the grant to send values collected from ``first`` to ``last`` until ``expires`` (all ms)."""
        return self.issue(BackfillGrant(site, first, last, expires))


def enrolment(request: AccessRequest, indicators: tuple[str, ...] | None = None) -> Enrol:
    """Return the enrolment that answers a request.

    Raises:
        ConfigError: an indicator was not asked for.
    """
    granted = request.indicators if indicators is None else indicators
    extra = sorted(set(granted) - set(request.indicators))
    if extra:
        raise ConfigError(f"{request.site} did not ask for {', '.join(extra)}; leave that out")
    return Enrol(
        request.site,
        request.key.algorithm,
        request.key.raw,
        request.possession,
        request.suites,
        granted,
        request.equipment,
    )


def key_offer(site: SiteName, epoch: int, key: PublicKey, valid_to: int) -> KeyOffer:
    """Return the offer of a platform key to a site for an epoch, until ``valid_to`` (ms)."""
    return KeyOffer(site, epoch, key.algorithm, key.raw, valid_to)


class JournalStore(Protocol):
    """Keeps one registrar's journal."""

    def load(self) -> Journal:
        """Return what was saved last; an empty journal where nothing was."""

    def save(self, journal: Journal) -> None:
        """Return once the journal is on disk."""


class StateView(Protocol):
    """The verified state of the chain."""

    async def refresh(self) -> ChainState:
        """Return the state after the newest published block."""

    @property
    def possessions(self) -> Mapping[bytes, bytes]:
        """The proof of possession of every key of a site that the ledger ever had, by fingerprint."""


class RegistrarDesk:
    """Brings a registrar's records into the ledger, one batch at a time; one desk a key at a time."""

    def __init__(
        self,
        signer: Signer,
        genesis: Genesis,
        view: StateView,
        journal: JournalStore,
        producer: Producer,
        *,
        patience: Patience = USUAL_PATIENCE,
    ) -> None:
        self._signer, self._genesis = signer, genesis
        self._view, self._journal, self._producer = view, journal, producer
        self._patience = patience
        self._issuer = signer.public.fingerprint

    async def settle(self) -> ChainState:
        """See every record issued before into the ledger; return the state with them.

        Raises:
            ConfigError: this key is no registrar's, or no longer.
            ConflictError: one of them can't be admitted any more; it and what followed are dropped.
            IntegrityError: somebody else issues records with this key.
            TransientError: the ledger is not there, behind, or does not go on; nothing is lost.
        """
        state = await self._view.refresh()
        Registrar(self._signer, self._genesis, registrars=self._entitled(state))
        pending = self._unseen(state)
        if not pending:
            self._journal.save(Journal(self._committed(state)))
            return state
        refusal = dry_run(state, pending)
        if refusal is not None:
            self._journal.save(Journal(self._committed(state)))
            raise ConflictError(
                f"a record issued earlier is not admitted any more ({refusal}); it was dropped, decide again"
            )
        return await self._carry(pending)

    async def issue(self, *bodies: Body) -> tuple[Control, ...]:
        """Sign records, send them and return when they are in verified blocks.

        Raises:
            ConfigError: the chain would refuse one of them; nothing was sent.
            ConflictError, IntegrityError, TransientError: as for ``settle``.
        """
        state = await self.settle()
        registrar = Registrar(self._signer, self._genesis, self._committed(state), self._entitled(state))
        controls = tuple(registrar.issue(body) for body in bodies)
        refusal = dry_run(state, controls)
        if refusal is not None:
            raise ConfigError(f"the chain would refuse this: {refusal}", code="config.refused")
        # Kept before it is sent: a signed record that we forgot could meet another one at its sequence.
        self._journal.save(Journal(self._committed(state), tuple(control.raw for control in controls)))
        await self._carry(controls)
        return controls

    @property
    def possessions(self) -> Mapping[bytes, bytes]:
        """The proof of possession (64 bytes) of every key of a site up to the last ``settle``, by fingerprint."""
        return self._view.possessions

    def _entitled(self, state: ChainState) -> Collection[bytes]:
        """Return the fingerprints of the keys that may issue what this desk issues."""
        return state.registrars

    def _committed(self, state: ChainState) -> Position:
        return state.tables.issuers.get(self._issuer, START)

    def _unseen(self, state: ChainState) -> tuple[Control, ...]:
        return unseen(self._journal.load(), self._committed(state))

    async def _carry(self, controls: tuple[Control, ...]) -> ChainState:
        last = controls[-1]
        await self._producer.send(outgoing(self._genesis, controls))
        state = await self._patience.until(
            self._view.refresh,
            lambda state: self._committed(state).sequence >= last.sequence,
            "The next registrar command sends it again",
        )
        self._unseen(state)
        self._journal.save(Journal(self._committed(state)))
        return state


def dry_run(state: ChainState, controls: tuple[Control, ...]) -> str | None:
    """Return why the chain would refuse one of these records, in order, or None; the state stays."""
    try:
        for control in controls:
            # Broker time plays no part in judging control records.
            outcome = judge(state, control, 0)
            if outcome is not Outcome.ADMITTED:
                return f"{describe(control.body)}: {outcome.label.replace('_', ' ')}"
            enact(state, control)
    finally:
        state.undo()
    return None
