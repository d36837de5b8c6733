"""What a registrar makes of an access request before it decides for it: who asks, when, and whether for the first time.

Everything here is refused before anything is signed. The order goes from what needs no secret to what does.
"""

from collections.abc import Container
from typing import Final

from pipeline.core.access_book import AccessBook, SeenRequest
from pipeline.core.errors import ConfigError
from pipeline.core.state import ChainState
from pipeline.services.access import AccessRequest
from pipeline.services.access_envelope import refused
from pipeline.services.access_policy import AccessPolicy

MAX_REQUEST_AGE_MS: Final = 7 * 86_400_000
MAX_REQUEST_AHEAD_MS: Final = 300_000
_NAME: Final = "access request"


def review(
    request: AccessRequest,
    book: AccessBook,
    state: ChainState,
    *,
    known_keys: Container[bytes],
    now_ms: int,
    policy: AccessPolicy | None = None,
) -> AccessBook:
    """Return the book as it is to be saved before the request is decided for; with a ``policy`` no person looked.

    ``known_keys`` are the fingerprints of all keys that the ledger ever had.

    Raises:
        ConfigError: the request is old, was answered before, has no good token, or a key that may not come (back).
    """
    _check_time(request, now_ms)
    _check_key(request, state, known_keys)
    _check_first(request, book, state, is_by_policy=policy is not None)
    _check_token(request, book, now_ms, is_needed=policy is not None)
    problem = None if policy is None else policy.problem(request)
    if problem is not None:
        raise _no(f"the policy does not allow {problem}; approve it by hand if it is right", "policy")
    seen = SeenRequest(request.site, request.key.fingerprint, request.moment.time_ms)
    return book.deciding(request.digest, seen, request.token)


def _check_time(request: AccessRequest, now_ms: int) -> None:
    if request.moment.time_ms > now_ms + MAX_REQUEST_AHEAD_MS:
        raise _no("its time is ahead of ours; set the clocks right, then make a new one", "expired")
    if request.moment.time_ms < now_ms - MAX_REQUEST_AGE_MS:
        raise _no("it has expired; let the site make a new one", "expired")


def _check_key(request: AccessRequest, state: ChainState, known_keys: Container[bytes]) -> None:
    """Refuse a key that the ledger has for another site, or had and has no more: revoked, replaced."""
    known = state.tables.sites.get(request.site)
    is_in_force = known is not None and known.active and known.key == request.key
    if request.key.fingerprint in known_keys and not is_in_force:
        raise _no("its key was revoked or replaced, or is another site's; let the site make a new key", "key")


def _check_first(request: AccessRequest, book: AccessBook, state: ChainState, *, is_by_policy: bool) -> None:
    """Refuse what was decided for before. A person may have an answer written once more; nothing changes by that."""
    known = state.tables.sites.get(request.site)
    is_done = request.digest in book.requests and known is not None and known.key == request.key
    if is_done and is_by_policy:
        raise _no("it was answered before; let the site make a new one", "replayed")
    newest = max((seen.time_ms for seen in book.requests.values() if seen.site == request.site), default=0)
    if request.digest not in book.requests and request.moment.time_ms <= newest:
        raise _no("a newer request of this site was answered already", "replayed")


def _check_token(request: AccessRequest, book: AccessBook, now_ms: int, *, is_needed: bool) -> None:
    if not request.token:
        if is_needed:
            raise _no("it has no token, which approval by policy needs", "token")
        return
    given = book.tokens.get(request.token)
    if given is None or given.site != request.site:
        raise _no("no such token was given out for this site", "token")
    if not request.is_backed_by(given.token):
        raise _no("whoever made it did not hold the token", "token")
    if request.bundle != given.bundle:
        raise _no("the site holds another bundle than the one made with this token", "token")
    if given.used_by not in (b"", request.digest):
        raise _no("its token was used by another request", "token")
    if not given.used_by and now_ms > given.expires_ms:
        raise _no("its token has expired; make the site a new bundle", "token")


def _no(problem: str, reason: str) -> ConfigError:
    return refused(_NAME, problem, code=f"config.access_{reason}")
