"""How long certificates last, and where the list of those that were taken back is."""

from datetime import timedelta

from pydantic import Field

from ops.tls.holders import Lifetimes
from pipeline.config.sections import FilePath, Section

_LONGEST_DAYS = 90


class PkiSettings(Section):
    """Certificates of the transport."""

    site_days: int = Field(
        30, ge=1, le=_LONGEST_DAYS, description="days that certificates of sites and attached clients last"
    )
    part_days: int = Field(
        30, ge=1, le=_LONGEST_DAYS, description="days that certificates of the platform's own parts last"
    )
    revoked: FilePath = Field(description="file with the list of revoked certificates, which the API goes by")

    def lifetimes(self) -> Lifetimes:
        """How long new certificates last."""
        return Lifetimes(timedelta(days=self.site_days), timedelta(days=self.part_days))
