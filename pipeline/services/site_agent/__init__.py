"""Site agent (Y.4907 KPI processing module): collects, spools, seals, sends, and keeps until committed.

It never forgets a record before it has verified that the ledger holds it, and it stops only for settings
that must be changed or for verified data that contradict one another.
"""

from pipeline.services.site_agent.agent import Pace, SiteAgent, SiteStatus
from pipeline.services.site_agent.collect import Collecting
from pipeline.services.site_agent.confirm import check_receipt
from pipeline.services.site_agent.needs import HeadSource, SiteParts, Source, Spool
from pipeline.services.site_agent.retry import Retry

__all__ = [
    "Collecting",
    "HeadSource",
    "Pace",
    "Retry",
    "SiteAgent",
    "SiteParts",
    "SiteStatus",
    "Source",
    "Spool",
    "check_receipt",
]
