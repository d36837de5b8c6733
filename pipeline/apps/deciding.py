"""The registrar's side of enrolment: bundles and tokens given out, requests judged, answers with certificates."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes

from ops.access_table import Quota
from ops.kafka.quotas import NONE_GIVEN
from ops.site_transport import certify_site
from ops.tls.generation import PLAIN_CA_KEYS, CaKeys
from ops.tls.principal import Role
from pipeline.apps.desk import OpenDesk
from pipeline.core.access_book import (
    TOKEN_ID_BYTES,
    TOKEN_SECRET_BYTES,
    GivenToken,
    parse_token,
    token_text,
)
from pipeline.core.errors import ConfigError
from pipeline.core.names import SiteName
from pipeline.core.topics import Topics
from pipeline.services.access import AccessAnswer, AccessRequest, read_request
from pipeline.services.access_bundle import Platform, read_bundle, write_bundle
from pipeline.services.access_policy import AccessPolicy
from pipeline.services.access_review import review
from pipeline.services.registration import Reply, enrolled


@dataclass(frozen=True, slots=True)
class Terms:
    """How requests are decided: by which policy, if no person looks; until when the answer may be taken up (ms).

    ``pki`` is the folder of the transport's authorities, whose keys ``ca_keys`` opens; without it answers bring no
    certificate. ``quotas`` go before those of the table of access.
    """

    answer_until_ms: int
    policy: AccessPolicy | None = None
    pki: Path | None = None
    topic_prefix: str = ""
    ca_keys: CaKeys = PLAIN_CA_KEYS
    quotas: Mapping[Role, Quota] = field(default_factory=lambda: NONE_GIVEN)


async def give_bundle(
    opened: OpenDesk, site: SiteName, platform: Platform, expires_ms: int
) -> tuple[bytes, str]:
    """Return a bundle for a site, and the one-time token that goes another way; the token counts until ``expires_ms``.

    An earlier token of the site that was not used ends with this.

    Raises:
        ConfigError: an address is out of its bounds, or the book can't be written.
        ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.settle``.
    """
    state = await opened.desk.settle()
    genesis, registrars = opened.genesis, tuple(state.registrars.values())
    raw = write_bundle(genesis, site, registrars, platform, signer=opened.signer, expires_ms=expires_ms)
    text = token_text(token_bytes(TOKEN_ID_BYTES), token_bytes(TOKEN_SECRET_BYTES))
    token = parse_token(text, genesis.chain)
    assert token is not None  # noqa: S101  made just now
    given = GivenToken(token, site, read_bundle(raw).digest, expires_ms)
    opened.book.save(opened.book.load().giving(given))
    return raw, text


async def decide(
    opened: OpenDesk,
    raw: bytes,
    terms: Terms,
    act: Callable[[AccessRequest, Reply], Awaitable[AccessAnswer]],
) -> AccessAnswer:
    """Judge a request, note in the book that it is decided for, and let ``act`` bring the decision into the ledger.

    Raises:
        ConfigError: the request is refused; nothing was issued.
        ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.issue``; the same may be tried again.
    """
    request = read_request(raw, opened.genesis)
    state = await opened.desk.settle()
    now_ms = time.time_ns() // 1_000_000
    book = review(
        request,
        opened.book.load(),
        state,
        known_keys=opened.desk.possessions,
        now_ms=now_ms,
        policy=terms.policy,
    )
    certificate = _certificate(request, terms)
    # Saved before anything is issued: a token that was used once must not be good for another request.
    opened.book.save(book)
    return await act(request, Reply(request.digest, now_ms, terms.answer_until_ms, certificate))


async def reply_again(opened: OpenDesk, site: SiteName, answer_until_ms: int) -> Reply:
    """Return how to answer a site anew, by the request that it made last.

    Raises:
        ConfigError: the site is not enrolled, or this registrar's book does not know its request.
        ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.settle``.
    """
    key = enrolled(await opened.desk.settle(), site).key
    digest = opened.book.load().last_request(site, key.fingerprint)
    if digest is None:
        raise ConfigError(
            f"this registrar's book has no request of {site} with its present key; let the site make one again "
            "(`bkdms site request`) and approve it, then repeat this",
            code="config.access_book",
        )
    return Reply(digest, time.time_ns() // 1_000_000, answer_until_ms)


def _certificate(request: AccessRequest, terms: Terms) -> str:
    """Return a transport certificate in the site's name for the key that it asks one for, or an empty text."""
    if terms.pki is None or not request.csr:
        return ""
    asked, topics = request.csr.encode(), Topics(terms.topic_prefix)
    now, keys = datetime.now(UTC), terms.ca_keys
    return certify_site(
        terms.pki, request.site, asked, topics, now=now, keys=keys, quotas=terms.quotas
    ).decode()
