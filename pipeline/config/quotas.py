"""How much those outside may send and read: at Kafka by certificate, at validators by site."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from ops.access_table import ACCESS, Quota
from ops.tls.principal import Role

_READERS: Final = (Role.ANALYST, Role.AUDITOR, Role.CLIENT)
_LEAST_BYTES_PER_S: Final = 1024
_MOST_BYTES_PER_S: Final = 1 << 40
_MOST_PERCENT: Final = 10_000


def _bytes(what: str) -> Any:
    return Field(
        None,
        ge=_LEAST_BYTES_PER_S,
        le=_MOST_BYTES_PER_S,
        description=f"bytes per second that {what} at Kafka",
    )


def _percent(whose: str) -> Any:
    return Field(
        None,
        ge=1,
        le=_MOST_PERCENT,
        description=f"percent of one of Kafka's request threads that {whose} may take",
    )


class QuotaSettings(BaseModel):
    """Quotas of Kafka that go before the table of access, and what a validator lets through of one site.

    One that is given counts for every certificate of its roles, whatever was set by hand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    site_send_bytes_per_s: int | None = _bytes("a site may send")
    site_read_bytes_per_s: int | None = _bytes("a site may read")
    site_request_percent: int | None = _percent("a site")
    reader_send_bytes_per_s: int | None = _bytes("an analyst, auditor or client may send")
    reader_read_bytes_per_s: int | None = _bytes("an analyst, auditor or client may read")
    reader_request_percent: int | None = _percent("an analyst, auditor or client")
    # A thousand times what a site sends that sends every five seconds.
    site_packets_per_s: float = Field(
        200, ge=0, description="packets per second of one site that a validator lets through; 0: no limit"
    )
    # Such as those that waited while Kafka was away.
    site_packets_burst: int = Field(1_000, ge=1, description="packets of one site at once after a rest")

    def given(self) -> Mapping[Role, Quota]:
        """Return the quotas of those roles for which something is given, completed by the table of access."""
        site = _changed(
            Role.SITE, self.site_send_bytes_per_s, self.site_read_bytes_per_s, self.site_request_percent
        )
        readers = [
            _changed(
                role, self.reader_send_bytes_per_s, self.reader_read_bytes_per_s, self.reader_request_percent
            )
            for role in _READERS
        ]
        return {role: quota for role, quota in (site, *readers) if quota is not None}


def usual_quotas() -> QuotaSettings:
    """Return the settings of those who set nothing."""
    return QuotaSettings.model_validate({})


def _changed(
    role: Role, send: int | None, read: int | None, percent: int | None
) -> tuple[Role, Quota | None]:
    given = {"produce_bytes_per_s": send, "consume_bytes_per_s": read, "request_percent": percent}
    changes = {name: value for name, value in given.items() if value is not None}
    usual = ACCESS[role].quota
    if not changes or usual is None:
        return role, None
    return role, Quota(**{**asdict(usual), **changes})
