"""The API's access put together from the settings: token issuer, limits, access log."""

import ssl
from typing import Final

from ops.tls.revoked import RevokedFile
from pipeline.adapters.access_log_files import AccessLogFiles
from pipeline.adapters.request_inbox import RequestInbox
from pipeline.adapters.token_keys import KeysAtUrl, KeysInFile, TokenKeys
from pipeline.adapters.tokens import TokenVerifier
from pipeline.apps.access_request_routes import RequestDesk
from pipeline.apps.api_access import ApiAccess
from pipeline.apps.api_gate import GateParts
from pipeline.apps.certified_client import Client
from pipeline.config import AccessSettings, Settings
from pipeline.config.transport import demand_tls
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.services.rate_limit import Rate, RateLimit

_HOUR_S: Final = 3600


def access_of(settings: Settings) -> ApiAccess:
    """Return who may ask the API for what, by the settings.

    Raises:
        ConfigError: the issuer's keys are not where a setting says, or would be fetched unprotected; the list of
            revoked certificates is damaged.
    """
    own, revoked = settings.access, RevokedFile(settings.pki.revoked)

    def is_revoked(client: Client) -> bool:
        return revoked.is_revoked(str(client.principal), f"{client.serial:x}")

    callers: RateLimit[str] = RateLimit(Rate(own.rate_per_s, own.burst))
    return ApiAccess(_tokens(settings), is_revoked, callers)


def gate_of(settings: Settings, genesis: Genesis) -> GateParts:
    """Return limits per address and the access log, which this process then holds.

    Raises:
        ConfigError: another process has the log, or its folder can't be written to.
        IntegrityError: the log's end is damaged (``access_log``).
    """
    own = settings.access
    return GateParts(
        RateLimit(Rate(own.address_rate_per_s, own.address_burst)),
        AccessLogFiles(own.log, genesis.chain, max_bytes=own.log_file_bytes, keep=own.log_files),
        own.log_public,
    )


def requests_of(settings: Settings) -> RequestDesk | None:
    """Return where access requests over HTTP go, or None where none are taken."""
    own = settings.access
    if own.inbox is None:
        return None
    rate = Rate(own.request_rate_per_h / _HOUR_S, own.request_burst)
    return RequestDesk(RequestInbox(own.inbox, own.inbox_limit), RateLimit(rate))


def _tokens(settings: Settings) -> TokenVerifier | None:
    own = settings.access
    if own.issuer is None:
        return None
    return TokenVerifier(own.issuer, own.audience, _keys(settings), own.max_token_s)


def _keys(settings: Settings) -> TokenKeys:
    own = settings.access
    if own.jwks_url is None:
        assert own.jwks_file is not None  # noqa: S101  the settings hold one of the two
        return KeysInFile(own.jwks_file)
    insecure = settings.transport.insecure_issuer
    demand_tls(own.jwks_url, insecure, "transport.insecure_issuer", "setting access.jwks_url:")
    return KeysAtUrl(own.jwks_url, _issuer_context(own))


def _issuer_context(own: AccessSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=own.jwks_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"setting access.jwks_ca: {own.jwks_ca}: {error}", code="config.tls") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
