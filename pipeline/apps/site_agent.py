"""A site's agent put together from the settings: source, spool, Kafka, API, keys and the registrar's answer."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import SystemRandom

from connectors.mapping import SiteMapping, read_mapping
from connectors.sources.csv_source import CsvSource
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.head_client import HttpHeadSource
from pipeline.adapters.kafka import IdempotentProducer
from pipeline.adapters.key_files import KeyFiles
from pipeline.adapters.spool import SqliteSpool, load_spool_key, read_standing
from pipeline.adapters.tls import client_context
from pipeline.apps.authority import load_genesis
from pipeline.apps.enrolment import access_in_force
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.keys import key_files, reading_keys
from pipeline.config import Settings, required
from pipeline.config.sections import SiteSettings
from pipeline.core.agreement import Entitlement, strongest
from pipeline.core.avro import require_compiled_reader
from pipeline.core.batching import Batching, Terms
from pipeline.core.delivery import Patience
from pipeline.core.entitlement import entitlement_after
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.core.keys import Algorithm, PublicKey, Use
from pipeline.core.sealing import SEALING_ALGORITHM, SIGNING_ALGORITHM, Suite
from pipeline.core.signing import Signer
from pipeline.services.access import AccessAnswer
from pipeline.services.site_agent import (
    Collecting,
    Notice,
    Pace,
    Retry,
    SiteAgent,
    SiteParts,
    SiteStanding,
    stored_records,
)
from pipeline.telemetry.logs import logger

_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 60.0
_LONGEST_RESEND_MS = 15 * 60_000
_MEGABYTE = 1_000_000
_DAY_MS = 86_400_000


def site_terms(site: SiteSettings, genesis: Genesis, answer: AccessAnswer, signer: Signer) -> Terms:
    """Return what the registrar's answer settles for this site: the strongest suite that it grants, its newest key.

    Whether that key still counts is asked for each packet: the ledger may have offered another one since.

    Raises:
        ConfigError: the answer is for another site or key, or offers no key for the suite.
    """
    name = site.name()
    if answer.site != name:
        raise ConfigError(f"{site.access} is the answer for {answer.site}, not {name}; put this site's there")
    if answer.site_key != signer.public.fingerprint:
        raise ConfigError(
            f"{site.access} is the answer for another signing key than {site.key}; "
            "run 'bkdms site request' and have it approved"
        )
    for suite in strongest(answer.suites, signer.public.algorithm):
        offer = answer.offer_for(suite)
        if offer is not None:
            limit = genesis.contract.max_packet
            return Terms(genesis.chain, name, site.module_id, suite, (offer.key,), limit)
    raise ConfigError(
        f"{site.access} offers no key of the platform for the strongest suite that it grants to this site's key; "
        "ask the registrar for a new answer"
    )


def site_entitlement(site: SiteSettings, genesis: Genesis, answer: AccessAnswer) -> Entitlement:
    """Return what the site may do by the registrar's answer and what its agent learned from the ledger since.

    Raises:
        IntegrityError: the spool holds a record about the site that no registrar issued.
    """
    learned = stored_records(genesis, answer.site, read_standing(site.spool))
    return entitlement_after(answered(answer), learned)


def answered(answer: AccessAnswer) -> Entitlement:
    """Return what a registrar's answer lets a site do."""
    return Entitlement(answer.site_key, answer.suites, answer.indicators, answer.equipment, answer.offers)


def granted_mapping(site: SiteSettings, indicators: tuple[str, ...]) -> SiteMapping:
    """Return how the source is read; the platform would set aside whole packets with a value that is not granted.

    Raises:
        ConfigError: the mapping is wrong, or yields an indicator that the registrar did not grant.
    """
    mapping = read_mapping(site.mapping, "site.mapping")
    yielded = dict.fromkeys(rule.indicator for rule in mapping.values)
    refused = [indicator for indicator in yielded if indicator not in indicators]
    if refused:
        raise ConfigError(
            f"site.mapping yields {', '.join(refused)}, not granted to this site by {site.access}; "
            "ask the registrar for it and put the new answer there, or remove its column from site.mapping",
            code="config.not_granted",
        )
    return mapping


def site_pace(site: SiteSettings) -> Pace:
    """Return the pace that the settings ask for."""
    return Pace(
        batching=Batching(max_records=site.packet_records, linger_ms=site.linger_ms),
        collecting=Collecting(budget_bytes=site.spool_limit_mb * _MEGABYTE),
        patience=Patience(site.resend_after_ms, max(site.resend_after_ms, _LONGEST_RESEND_MS)),
        head_poll_s=site.head_poll_ms / 1000,
        registry_poll_s=site.registry_poll_ms / 1000,
        notice=Notice(site.key_notice_days * _DAY_MS, site.suite_notice_days * _DAY_MS),
    )


def spread(delay: float) -> float:
    """Return a delay between a half and the whole of the given one, so that sites don't move in step."""
    return SystemRandom().uniform(delay / 2, delay)


def next_key_file(key: Path) -> Path:
    """Return where the key waits that is to follow a site's signing key."""
    return key.with_suffix(".next.json")


def own_readers(settings: Settings, signer: Signer) -> dict[Algorithm, PublicKey]:
    """Return the site's keys that packets are sealed to beside the platform's, made where there are none yet.

    One for every suite that goes with the site's signing key, since the suite may change while the agent runs; none
    where the site does not want to read its packets.

    Raises:
        ConfigError: they can't be made or opened.
    """
    if not settings.site.read_own:
        return {}
    keys = reading_keys(settings)
    return {key.algorithm: key for key in keys.in_force_or_new(reading_algorithms(signer.public.algorithm))}


def reading_algorithms(signing: Algorithm) -> tuple[Algorithm, ...]:
    """Return the algorithms of the keys that packets are sealed to whose signing key is of this algorithm."""
    return tuple(SEALING_ALGORITHM[suite] for suite in Suite if SIGNING_ALGORITHM[suite] is signing)


def _next_signer(site: SiteSettings, keys: KeyFiles) -> tuple[Signer, ...]:
    """Return the key that the site asked to go on with, if any; it signs once the ledger has it."""
    file = next_key_file(site.key)
    return (keys.signer(file, Use.SITE),) if file.exists() else ()


@asynccontextmanager
async def open_site_agent(settings: Settings) -> AsyncIterator[SiteAgent]:
    """Open everything that a site's agent needs, and close it at the end. Several may be open in one process.

    Raises:
        ConfigError: a setting or file is missing or wrong, the mapping yields what was not granted, or the spool is
            in use.
    """
    require_compiled_reader()
    site, genesis = settings.site, load_genesis(settings.genesis)
    keys = key_files(settings, at_site=True)
    signer = keys.signer(site.key, Use.SITE)
    answer = access_in_force(site, genesis)
    terms = site_terms(site, genesis, answer, signer)
    readers = own_readers(settings, signer)
    mapping = granted_mapping(site, site_entitlement(site, genesis, answer).indicators)
    source = CsvSource(required(site.source, "site.source"), mapping)
    source.check()
    url = required(settings.api.url, "api.url")
    connection = kafka_connection(settings, f"site-{terms.site}")
    heads = HttpHeadSource(url, client_context(settings.api.tls_files()))
    producer = IdempotentProducer(connection)
    spool = SqliteSpool(site.spool, load_spool_key(site.spool_key, site.spool, keys), terms.binding)
    parts = SiteParts(
        genesis=genesis,
        terms=terms,
        signer=signer,
        standing=SiteStanding(
            genesis,
            terms,
            answered(answer),
            (signer, *_next_signer(site, keys)),
            spool,
            own_readers=readers,
            yields=frozenset(rule.indicator for rule in mapping.values),
        ),
        source=source,
        spool=spool,
        producer=producer,
        heads=heads,
        clock=SystemClock(),
        log=logger(__name__).bind(site=str(terms.site)),
        random=os.urandom,
        topic=settings.topics.packets,
    )
    try:
        yield SiteAgent(parts, Retry(_FIRST_RETRY_S, _LONGEST_RETRY_S, spread), site_pace(site))
    finally:
        await producer.close()
        await heads.close()
        spool.close()
