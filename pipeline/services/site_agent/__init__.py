"""Site agent (Y.4907 KPI processing module): collects, spools, seals, sends, and keeps until committed.

It never forgets a record before it has verified that the ledger holds it, and it stops only for settings
that must be changed or for verified data that contradict one another.
"""

from pipeline.services.site_agent.agent import Pace, SiteAgent, SiteStatus
from pipeline.services.site_agent.collect import Collecting
from pipeline.services.site_agent.confirm import check_receipt
from pipeline.services.site_agent.needs import HeadSource, SiteParts, Source, Spool
from pipeline.services.site_agent.retry import Retry
from pipeline.services.site_agent.standing import Sealing, SiteStanding, stored_records
from pipeline.services.site_agent.watch import HOLD_WORDS, Notice

__all__ = [
    "HOLD_WORDS",
    "Collecting",
    "HeadSource",
    "Notice",
    "Pace",
    "Retry",
    "Sealing",
    "SiteAgent",
    "SiteParts",
    "SiteStanding",
    "SiteStatus",
    "Source",
    "Spool",
    "check_receipt",
    "stored_records",
]
