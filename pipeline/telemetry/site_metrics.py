"""Metrics of site agents. Labels are bounded: sites of this process, reasons, verdicts. No values, ever."""

from prometheus_client import Counter, Gauge, Histogram

_SITE = ["site"]
COLLECTED = Counter("bkdms_site_collected_records", "Records taken from the source into the spool", _SITE)
REJECTED = Counter(
    "bkdms_site_rejected_fields", "Fields and rows that did not become data", ["site", "reason"]
)
SENT = Counter("bkdms_site_sent_packets", "Packets sent for the first time by this process", _SITE)
RESENT = Counter("bkdms_site_resent_packets", "Packets sent again, bytes unchanged", _SITE)
CONFIRMED = Counter("bkdms_site_confirmed_packets", "Packets verified as committed", _SITE)
CONFIRMED_RECORDS = Counter("bkdms_site_confirmed_records", "Records verified as committed", _SITE)
HEADS = Counter("bkdms_site_heads", "Verified answers about the site's head by meaning", ["site", "verdict"])
RETRIES = Counter("bkdms_site_retries", "Attempts that failed for now and are repeated", ["site", "code"])
SPOOL_RECORDS = Gauge("bkdms_site_spool_records", "Records that are not yet verified as committed", _SITE)
SPOOL_PACKETS = Gauge("bkdms_site_spool_packets", "Packets that are not yet verified as committed", _SITE)
SPOOL_BYTES = Gauge("bkdms_site_spool_bytes", "Bytes in use in the spool's file", _SITE)
SPOOL_LIMIT = Gauge("bkdms_site_spool_limit_bytes", "Bytes of spool at which collecting pauses", _SITE)
OLDEST_SECONDS = Gauge(
    "bkdms_site_oldest_unconfirmed_seconds", "Age of the oldest record that is not yet verified", _SITE
)
KEY_EXPIRY = Gauge(
    "bkdms_site_platform_key_expiry_timestamp_seconds",
    "When the platform's key that packets are sealed to ends, in seconds since 1970",
    _SITE,
)
KEY_EPOCH = Gauge(
    "bkdms_site_platform_key_epoch", "Epoch of the platform's key that packets are sealed to", _SITE
)
SUITE_EXPIRY = Gauge(
    "bkdms_site_suite_expiry_timestamp_seconds",
    "When the contract ends the suite that packets are sealed with, in seconds since 1970; no series without an end",
    _SITE,
)
HELD = Gauge(
    "bkdms_site_sealing_held", "1 for the reason why nothing new is sealed, 0 otherwise", ["site", "reason"]
)
COMMIT_SECONDS = Histogram(
    "bkdms_site_commit_latency_seconds",
    "Time from spooling a packet's first record to its verified commit",
    _SITE,
    buckets=(0.5, 1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 300, 900, 3600, 21_600, 86_400, 172_800),
)
