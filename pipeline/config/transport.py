"""What may go unprotected, and only by a setting that says so; and the refusal of everything else."""

from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from pipeline.adapters.peers import is_https, is_https_or_here, is_loopback
from pipeline.config.naming import toml_place, variable
from pipeline.core.errors import ConfigError

_VERIFIED = "verify-full"
_TLS_1_3 = "TLSv1.3"


class TransportSettings(BaseModel):
    """Every switch here opens a door; a program that has one open says so at every start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reload_s: int = Field(
        10,
        ge=1,
        le=3600,
        description="seconds between looks at certificate files, which may have been renewed",
    )
    insecure_api: bool = Field(False, description="true to serve the API, or to ask it, without TLS")
    insecure_metrics: bool = Field(
        False, description="true to serve workers' metrics without TLS, and a site's beyond this machine"
    )
    insecure_store: bool = Field(
        False, description="true for a database whose certificate is not checked, or without TLS 1.3"
    )
    insecure_tiles: bool = Field(False, description="true to read an exported log elsewhere over plain HTTP")
    insecure_witnesses: bool = Field(False, description="true to ask witnesses elsewhere over plain HTTP")
    insecure_traces: bool = Field(False, description="true to send traces elsewhere over plain HTTP")
    insecure_issuer: bool = Field(False, description="true to fetch keys of a token issuer over plain HTTP")


def insecure_settings(settings: BaseModel) -> list[str]:
    """Return the dotted names of all settings that say insecure and are on."""
    found = []
    for section in type(settings).model_fields:
        table = getattr(settings, section)
        if isinstance(table, BaseModel):
            found += [
                f"{section}.{name}"
                for name in type(table).model_fields
                if name.startswith("insecure_") and getattr(table, name)
            ]
    return sorted(found)


def refuse_unless(insecure: bool, path: str, problem: str, remedy: str) -> None:
    """Refuse what is not protected, unless the setting ``path`` was given for it.

    Raises:
        ConfigError: it was not (code ``config.insecure``).
    """
    if not insecure:
        raise ConfigError(
            f"{problem}: {remedy}; or accept it with {toml_place(path)} = true ({variable(path)}=true)",
            code="config.insecure",
        )


def demand_tls(url: str, insecure: bool, path: str, what: str) -> None:
    """Refuse a plain HTTP address of another machine.

    Raises:
        ConfigError: it is one, and the setting ``path`` is off (code ``config.insecure``).
    """
    if not is_https_or_here(url):
        refuse_unless(insecure, path, f"{what} {url} is plain HTTP to another machine", "use https://")


def demand_protected(transport: TransportSettings, *, store_url: str, api_url: str | None) -> None:
    """Refuse settings of peers that nobody checks.

    Raises:
        ConfigError: one of them is not protected (code ``config.insecure``).
    """
    if not _is_verified_store(store_url):
        refuse_unless(
            transport.insecure_store,
            "transport.insecure_store",
            "setting store.url: the database's certificate would not be checked, or TLS be older than 1.3",
            f"write sslmode={_VERIFIED} and no ssl_… that allows less",
        )
    if api_url is not None and not is_https(api_url):
        refuse_unless(
            transport.insecure_api,
            "transport.insecure_api",
            f"setting api.url: {api_url} is plain HTTP",
            "use https://",
        )


def demand_own_machine(transport: TransportSettings, metrics_host: str) -> None:
    """Refuse to serve the page of a site, which has no server's certificate, where others can reach it.

    Raises:
        ConfigError: they can, and no setting accepts it (code ``config.insecure``).
    """
    if not is_loopback(metrics_host):
        refuse_unless(
            transport.insecure_metrics,
            "transport.insecure_metrics",
            f"setting worker.metrics_host: {metrics_host} can be reached from outside without TLS",
            "use 127.0.0.1",
        )


def _is_verified_store(url: str) -> bool:
    """Tell whether a store is a file, a database behind a Unix socket, or one that proves who it is over TLS 1.3."""
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        host = parts.hostname or ""
    except ValueError:
        return True  # no address of a store: refused where it is opened
    if not parts.scheme.startswith("postgresql"):
        return True
    hosts = [host, *query.get("host", ()), *query.get("hostaddr", ())]
    if not any(one and not one.startswith("/") for one in hosts):
        return True
    least, most = query.get("ssl_min_protocol_version"), query.get("ssl_max_protocol_version")
    return query.get("sslmode") == [_VERIFIED] and least in (None, [_TLS_1_3]) and most in (None, [_TLS_1_3])
