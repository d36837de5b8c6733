"""Who asks the API and what he may: certificates and tokens, permits, limits. What is not permitted is refused.

A token, where one is shown, counts alone: it never adds to what the certificate beside it permits.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from typing import Final

from fastapi import Request
from fastapi.routing import APIRoute

from ops.tls.principal import Principal
from ops.tls.site_principal import site_principal
from pipeline.adapters.tokens import TokenHolder, TokenVerifier
from pipeline.apps.api_errors import BAD_REQUEST, FORBIDDEN, TOO_MANY, UNAUTHORIZED, ApiError
from pipeline.apps.api_table import ROUTES, Open, has_own_head, role_permits
from pipeline.apps.certified_client import Client
from pipeline.apps.client_identity import client_of
from pipeline.apps.exchange import NOBODY, exchange_of
from pipeline.core.names import SiteName, parse_site_id, site_id_text
from pipeline.core.permit import FIELDS, Action, Permit, Where
from pipeline.services.rate_limit import Rate, RateLimit

LONGEST_WAIT_S: Final = 60
_LOGGED_CHARS: Final = 128
_BEARER: Final = "bearer"
_REGISTRY_PATHS: Final = ("/schemas", "/subjects")


class Via(StrEnum):
    """How a caller showed who he is."""

    NONE = "none"
    CERTIFICATE = "certificate"
    TOKEN = "token"  # noqa: S105  a word, not a secret


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, by what means, and what he may; ``principal`` is the certificate's where it counts."""

    name: str = NOBODY
    via: Via = Via.NONE
    permits: frozenset[Permit] = frozenset()
    principal: Principal | None = None

    def may(self, action: Action, where: Where) -> bool:
        """Tell whether the caller may have an action's answer for these places."""
        return any(permit.covers(action, where) for permit in self.permits) or self._owns(action, where)

    def _owns(self, action: Action, where: Where) -> bool:
        if action is not Action.HEADS or self.principal is None or not has_own_head(self.principal.role):
            return False
        country, city, site = where
        try:
            name = SiteName(country or "", city or "", parse_site_id(site or ""))
            return site_principal(name) == self.principal
        except ValueError:
            return False


def nobody_revoked(_client: Client) -> bool:
    """Tell that no certificate is revoked: where there is no list."""
    return False


@dataclass(slots=True)
class ApiAccess:
    """Identifies callers and judges requests; ``tokens`` is None where no issuer is trusted."""

    tokens: TokenVerifier | None = None
    is_revoked: Callable[[Client], bool] = nobody_revoked
    callers: RateLimit[str] = field(default_factory=lambda: RateLimit(Rate(100, 400)))
    monotonic: Callable[[], float] = time.monotonic

    async def close(self) -> None:
        """Let the token issuer's connections go."""
        if self.tokens is not None:
            await self.tokens.close()

    async def guard(self, request: Request) -> None:
        """Let a request pass that its caller may make; a dependency of every route.

        Raises:
            ApiError: he may not, the route is in no table, or its parameters are not those of the route.
            TransientError: the token issuer's keys can't be had right now.
        """
        route = request.scope.get("route")
        wanted = ROUTES.get(route.path) if isinstance(route, APIRoute) else None
        exchange = exchange_of(request)
        if not isinstance(route, APIRoute) or wanted is None:
            raise ApiError(FORBIDDEN, "undeclared", "this path answers nobody")
        exchange.route, exchange.is_public = route.path, wanted is Open.PUBLIC
        self._check_parameters(request, route)
        client = client_of(request)
        if client is not None:
            # Known before it is judged, so that the log names who was refused.
            exchange.who, exchange.via = str(client.principal), Via.CERTIFICATE.value
        caller = await self.caller(request)
        exchange.who, exchange.via = caller.name, caller.via.value
        if caller.via is not Via.NONE:
            self._check_pace(caller)
        if not isinstance(wanted, Open):
            _demand(caller, wanted, _where(request, wanted))
        exchange.is_admitted = True

    async def caller(self, request: Request) -> Caller:
        """Return who sent a request.

        Raises:
            ApiError: his certificate is revoked, or his token is refused.
            TransientError: the token issuer's keys can't be had right now.
        """
        client = client_of(request)
        if client is not None and self.is_revoked(client):
            raise ApiError(FORBIDDEN, "revoked", "this certificate is revoked")
        shown = request.headers.getlist("authorization")
        if shown:
            return await self._token_holder(shown)
        if client is None:
            return Caller()
        principal = client.principal
        return Caller(str(principal), Via.CERTIFICATE, role_permits(principal.role), principal)

    async def _token_holder(self, shown: list[str]) -> Caller:
        scheme, _, token = shown[0].partition(" ")
        if len(shown) != 1 or scheme.lower() != _BEARER or self.tokens is None:
            message = "show one bearer token" if self.tokens else "no tokens are accepted here"
            raise _unauthorized("token", message, "invalid_request")
        found = await self.tokens.verify(token.strip())
        if not isinstance(found, TokenHolder):
            raise _unauthorized(found.value, "this token is refused; get a new one", "invalid_token")
        return Caller(f"token:{found.subject}", Via.TOKEN, found.permits)

    def _check_pace(self, caller: Caller) -> None:
        wait_s = self.callers.take(caller.name, self.monotonic())
        if wait_s:
            raise too_many(wait_s)

    @staticmethod
    def _check_parameters(request: Request, route: APIRoute) -> None:
        """Refuse query parameters that the route has not got, and one given twice."""
        known = {item.alias for item in route.dependant.query_params}
        given = [name for name, _ in request.query_params.multi_items()]
        exchange = exchange_of(request)
        for name, value in [*request.path_params.items(), *request.query_params.items()]:
            if name in known or name in request.path_params:
                exchange.asked[name] = str(value)[:_LOGGED_CHARS]
        # Clients of schema registries send what other registries know.
        unknown = [] if route.path.startswith(_REGISTRY_PATHS) else sorted(set(given) - known)
        if unknown:
            raise ApiError(BAD_REQUEST, "parameter", f"there is no parameter {unknown[0][:64]!r}")
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            raise ApiError(BAD_REQUEST, "parameter", f"{twice[0][:64]!r} is given more than once")


def too_many(wait_s: float) -> ApiError:
    """Return the refusal of a request too many, which may come again after ``wait_s`` seconds."""
    seconds = min(LONGEST_WAIT_S, max(1, ceil(wait_s)))
    return ApiError(TOO_MANY, "rate", f"too many requests; wait {seconds} s", {"Retry-After": str(seconds)})


def _unauthorized(code: str, message: str, reason: str | None = None) -> ApiError:
    challenge = "Bearer" if reason is None else f'Bearer error="{reason}"'
    return ApiError(UNAUTHORIZED, code, message, {"WWW-Authenticate": challenge})


def _demand(caller: Caller, action: Action, where: Where) -> None:
    if caller.may(action, where):
        return
    if caller.via is Via.NONE:
        raise _unauthorized("identity", "show a client certificate or a bearer token that permits this")
    if caller.principal is not None:
        raise ApiError(
            FORBIDDEN, "role", f"a certificate of role {caller.principal.role} does not permit this"
        )
    named = "; ask for one " + ", ".join(FIELDS[action]) if None in where else ""
    raise ApiError(FORBIDDEN, "scope", f"no scope of this token permits this{named}")


def _where(request: Request, action: Action) -> Where:
    """Return which places a request asks for, as the scopes of its action name them; None for all."""
    match action:
        case Action.HEADS:
            place = request.path_params
            return (place["country"], place["city"], _site_text(place["site_id"]))
        case Action.ASSESSMENTS:
            return tuple(request.query_params.get(name) for name in FIELDS[action])
        case Action.TRACES | Action.METRICS:
            return ()


def _site_text(text: str) -> str:
    """Return a site identifier in its one spelling; what is none stays, and is refused by its route."""
    try:
        return site_id_text(parse_site_id(text))
    except ValueError:
        return text
