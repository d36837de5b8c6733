"""Who may use the API, how much, and what is written down of it."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.config.sections import FilePath, Section

MAX_TOKEN_S = 900
_MEGABYTE = 1_000_000


class AccessSettings(Section):
    """Tokens, rate limits and the access log of the API."""

    require_certificate: bool = Field(
        True,
        description="false: with api.ca set, clients may come without a certificate, for tokens and public pages",
    )
    issuer: str | None = Field(
        None, description="issuer (iss) whose tokens the API accepts; none are without it"
    )
    audience: str = Field("bkdms", min_length=1, description="audience (aud) that tokens have to name")
    jwks_url: str | None = Field(None, description="https:// address of the issuer's keys (JWKS)")
    jwks_ca: FilePath | None = Field(
        None, description="PEM file of the CA of that address; without it the system's authorities count"
    )
    jwks_file: FilePath | None = Field(None, description="file with the issuer's keys (JWKS), instead")
    max_token_s: int = Field(
        MAX_TOKEN_S, ge=30, le=MAX_TOKEN_S, description="longest life of a token, in seconds"
    )
    token_key: FilePath = Field(description="key file with which `bkdms token` signs tokens")
    rate_per_s: float = Field(
        100, gt=0, description="requests per second that one caller may make in the long run"
    )
    burst: int = Field(400, ge=1, description="requests that one caller may make at once after a rest")
    address_rate_per_s: float = Field(
        500, gt=0, description="requests per second from one address; refused ones count 20 times"
    )
    address_burst: int = Field(2_000, ge=20, description="requests from one address at once after a rest")
    inbox: FilePath | None = Field(
        None, description="folder for access requests over HTTP; none are taken without it"
    )
    inbox_limit: int = Field(1_000, ge=1, description="access requests that the folder takes at most")
    request_rate_per_h: float = Field(
        60, gt=0, description="access requests an hour from one address in the long run"
    )
    request_burst: int = Field(10, ge=1, description="access requests from one address at once after a rest")
    log: FilePath = Field(description="folder of the API's access log")
    log_file_mb: int = Field(16, ge=1, le=1024, description="megabytes at which a new file is begun")
    log_files: int = Field(64, ge=2, description="files of the access log that are kept, the newest")
    log_public: bool = Field(False, description="true to log answered requests for public pages, too")
    log_key: FilePath = Field(description="key file that signs the access log's heads for the ledger")

    @property
    def log_file_bytes(self) -> int:
        """Size at which a new file of the access log is begun."""
        return self.log_file_mb * _MEGABYTE

    @model_validator(mode="after")
    def _keys_of_the_issuer(self) -> Self:
        places = [place for place in (self.jwks_url, self.jwks_file) if place is not None]
        if self.issuer is not None and len(places) != 1:
            raise ValueError("with issuer set jwks_url or jwks_file, one of them")
        if self.issuer is None and self.jwks_url is not None:
            raise ValueError("set issuer, too: whose keys jwks_url gives")
        return self
