"""The validators' view of ``kpi.sites.v1``: which sites there are, their keys, and who is revoked.

Nodes write the topic, but nothing in it counts without the control record of a registrar of the genesis file.
The view only filters: every node judges by its own registry, so a view that lags costs a delay, never an entry.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core import avro
from pipeline.core.admission import enrolled_key, enrolment_problem, is_issued, site_problem
from pipeline.core.control import MAX_CONTROL_BYTES, Control, Enrol, Reanchor, Revoke, parse_control
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey
from pipeline.core.names import SiteName
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet
from pipeline.core.state import Site
from pipeline.ports import PartitionReader
from pipeline.telemetry import validator_metrics as metrics
from schemas import schema

LOAD_TIMEOUT_S: Final = 30.0
_REGISTRATION: Final = schema("SiteRegistration")
_MAX_VALUE_BYTES: Final = MAX_CONTROL_BYTES + 1024
_FETCH_RECORDS: Final = 1000
_FETCH_TIMEOUT_MS: Final = 100


@dataclass(frozen=True, slots=True)
class _Known:
    """What is believed of a site; ``site`` is None for a revoked one, whose enrolment may be compacted away."""

    issuer: bytes
    sequence: int
    place: tuple[int, int]
    key: bytes
    site: Site | None


class SiteDirectory:
    """The registrations themselves: what is believed, and how a packet stands to it. Does no I/O."""

    def __init__(self, genesis: Genesis) -> None:
        self._chain = genesis.chain
        self._contract = genesis.contract
        self._registrars = {key.fingerprint: key for key in genesis.registrars}
        self._known: dict[SiteName, _Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def look_up(self, packet: Packet, time_ms: int) -> PublicKey | Outcome:
        """Return the key that must have signed a packet, or why registry and contract refuse it."""
        known = self._known.get(packet.site)
        site = known.site if known is not None else None
        problem = site_problem(self._chain, self._contract, site, packet, time_ms)
        if problem is Outcome.UNKNOWN_SITE and known is not None:
            return Outcome.INACTIVE_SITE if packet.site_key == known.key else Outcome.WRONG_KEY
        if problem is not None or site is None:
            return problem or Outcome.UNKNOWN_SITE
        return site.key

    def apply(self, value: bytes | None) -> Outcome:
        """Take in one record of the sites topic if it is genuine and newer than what is known. Total."""
        parsed = self._parse(value)
        if isinstance(parsed, Outcome):
            return parsed
        control, place = parsed
        body = control.body
        if not isinstance(body, Enrol | Revoke):
            return Outcome.CONFLICTING
        known = self._known.get(body.site)
        if known is not None and not _is_newer(known, control, place):
            return Outcome.DUPLICATE if place == known.place else Outcome.STALE
        if isinstance(body, Enrol):
            problem = enrolment_problem(self._chain, body)
            key = enrolled_key(body)
            if problem is not None or key is None:
                return problem or Outcome.WEAK_KEY
            site = Site(body.site, key, body.suites, body.indicators, body.equipment)
            believed = _Known(control.issuer, control.sequence, place, key.fingerprint, site)
        else:
            believed = _Known(control.issuer, control.sequence, place, body.site_key, None)
        self._known[body.site] = believed
        return Outcome.ADMITTED

    def _parse(self, value: bytes | None) -> tuple[Control, tuple[int, int]] | Outcome:
        if not value:
            return Outcome.EMPTY
        if len(value) > _MAX_VALUE_BYTES:
            return Outcome.OVERSIZED
        if avro.frame_id(value) != _REGISTRATION.id:
            return Outcome.FOREIGN_SCHEMA
        fields = avro.unframe(_REGISTRATION, value)
        if fields is None:
            return Outcome.MALFORMED
        control = parse_control(fields["control"])
        if isinstance(control, Outcome):
            return control
        if not self._chain == control.chain == fields["chain"]:
            return Outcome.WRONG_CHAIN
        issuer = self._registrars.get(control.issuer)
        if issuer is None:
            return Outcome.UNKNOWN_ISSUER
        if not is_issued(issuer, control):
            return Outcome.BAD_SIGNATURE
        agrees = _says_the_same(fields, control)
        return (control, (fields["height"], fields["entry"])) if agrees else Outcome.CONFLICTING


def _says_the_same(fields: dict[str, Any], control: Control) -> bool:
    """Tell whether the unsigned fields of a registration are what its control record says."""
    site = SiteName(fields["country"], fields["city"], fields["site_id"])
    body = control.body
    return (
        not isinstance(body, Reanchor)
        and site == body.site
        and fields["active"] == isinstance(control.body, Enrol)
    )


def _is_newer(known: _Known, control: Control, place: tuple[int, int]) -> bool:
    # One registrar's numbers are signed; the place in the chain is only what some node says.
    if known.issuer == control.issuer:
        return control.sequence > known.sequence
    return place > known.place


class Registrations:
    """A directory that follows the sites topic; read by its owner's own calls, so no task of its own."""

    def __init__(
        self, genesis: Genesis, reader: PartitionReader, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.directory = SiteDirectory(genesis)
        self._reader = reader
        self._monotonic_s = monotonic_s
        self._next: int | None = None

    async def load(self) -> None:
        """Read the whole topic as it stands now.

        Raises:
            TransientError: Kafka is not there, or the end was not reached in time.
        """
        await self.catch_up(LOAD_TIMEOUT_S)

    async def refresh(self) -> None:
        """Take in what has arrived, without waiting for more.

        Raises:
            TransientError: Kafka is not there.
        """
        await self._fetch(0)

    async def catch_up(self, timeout_s: float) -> None:
        """Read up to the end that the topic has now.

        Raises:
            TransientError: Kafka is not there, or code ``registrations_behind``: the end was not reached in time.
        """
        deadline = self._monotonic_s() + timeout_s
        first, end = await self._reader.bounds()
        if self._next is None:
            await self._start_at(first)
        while self._next is None or self._next < end:
            if not await self._fetch(_FETCH_TIMEOUT_MS) and self._monotonic_s() > deadline:
                raise TransientError(
                    f"site registrations: read up to {self._next} of {end} in {timeout_s:g} s",
                    code="registrations_behind",
                )
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Leave the broker."""
        await self._reader.close()

    async def _start_at(self, offset: int) -> None:
        await self._reader.seek(offset)
        self._next = offset

    async def _fetch(self, timeout_ms: int) -> bool:
        """Take in the next records; tell whether there were any."""
        try:
            records = await self._reader.fetch(_FETCH_RECORDS, timeout_ms)
        except IntegrityError:
            # The topic was cut below our position; what is known stays, and the rest is read again.
            first, _ = await self._reader.bounds()
            await self._start_at(first)
            return False
        for record in records:
            metrics.REGISTRATIONS.labels(self.directory.apply(record.value).label).inc()
            self._next = record.offset + 1
        if records:
            metrics.KNOWN_SITES.set(len(self.directory))
        return bool(records)
