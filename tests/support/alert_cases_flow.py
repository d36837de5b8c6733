"""Cases of the alerts on intake, platform and sites: each fires and keeps quiet."""

from typing import Final

from tests.support.alert_case import CHAIN, Case, at_program, height, of, on_chain

INTAKE: Final = (
    Case(
        "PacketsRefused",
        {
            of("bkdms_validator_outcomes_total", "validator-1", outcome="admitted"): "0+3x80",
            of("bkdms_validator_outcomes_total", "validator-2", outcome="bad_signature"): "0+1x80",
        },
        "16m",
        on_chain(),
        f"25% of the packets of {CHAIN} are refused",
    ),
    Case(
        "PacketsRefused",
        {
            of("bkdms_validator_outcomes_total", "validator-1", outcome="admitted"): "0+95x80",
            of("bkdms_validator_outcomes_total", "validator-1", outcome="malformed"): "0+5x80",
        },
        "16m",
    ),
    Case(
        "PacketsRefused",
        {of("bkdms_validator_outcomes_total", "validator-1", outcome="malformed"): "0x80"},
        "16m",
    ),
    Case(
        "PacketsWaiting",
        {
            of("bkdms_consumer_lag_records", "validator-1", topic="t", partition="0"): "6000x60",
            of("bkdms_consumer_lag_records", "validator-2", topic="t", partition="1"): "6000x60",
        },
        "12m",
        on_chain(topic="t"),
        "12000 records of t wait",
    ),
    Case(
        "PacketsWaiting",
        {of("bkdms_consumer_lag_records", "validator-1", topic="t", partition="0"): "9000x60"},
        "12m",
    ),
    Case(
        "PacketsExpired",
        {of("bkdms_consumer_expired_records_total", "validator-1", topic="t"): "0x4 9x20"},
        "4m",
        on_chain(topic="t"),
        "records of t were removed before they were read",
    ),
    Case(
        "PacketsExpired",
        {of("bkdms_consumer_expired_records_total", "validator-1", topic="t"): "_x4 9x20"},
        "4m",
        on_chain(topic="t"),
        "records of t were removed before they were read",
    ),
    Case(
        "PacketsExpired",
        {of("bkdms_consumer_expired_records_total", "validator-1", topic="t"): "9x80"},
        "18m",
    ),
)
PLATFORM: Final = (
    Case(
        "StoreBehind",
        {height("published"): "8x80", of("bkdms_platform_stored_height", "platform"): "7x80"},
        "12m",
        on_chain(),
        f"the store of {CHAIN} misses blocks that are minutes old",
        early="6m",
    ),
    Case(
        "StoreBehind",
        {height("published"): "9+1x80", of("bkdms_platform_stored_height", "platform"): "0+1x80"},
        "12m",
    ),
    Case(
        "PacketsUnopened",
        {of("bkdms_platform_packets_total", "platform", status="unopened", reason="no_key"): "0x4 1x20"},
        "4m",
        on_chain(),
        f"the platform of {CHAIN} lacks a key to its packets",
    ),
    Case(
        "PacketsUnopened",
        {
            of("bkdms_platform_packets_total", "platform", status="ok", reason=""): "0+1x20",
            of("bkdms_platform_packets_total", "platform", status="unopened", reason="no_key"): "0x20",
        },
        "4m",
    ),
    Case(
        "ContentMismatch",
        {
            of(
                "bkdms_platform_packets_total", "platform", status="mismatch", reason="wrong_digest"
            ): "0x4 1x20"
        },
        "4m",
        on_chain(reason="wrong_digest"),
        f"packets of {CHAIN} hold other than their site signed or may send: wrong_digest",
    ),
    Case(
        "ContentMismatch",
        {
            of("bkdms_platform_packets_total", "platform", status="mismatch", reason="wrong_digest"): "1x20",
            of("bkdms_platform_packets_total", "platform", status="ok", reason=""): "0+1x20",
        },
        "4m",
    ),
    Case(
        "AssessmentBehind",
        {of("bkdms_assess_lag_blocks", "assess"): "30x80"},
        "17m",
        at_program("assess"),
        f"figures of {CHAIN} are 30 blocks behind the store",
    ),
    Case("AssessmentBehind", {of("bkdms_assess_lag_blocks", "assess"): "30x30 5x10 30x40"}, "17m"),
    Case(
        "ApiHalted",
        {of("bkdms_api_view_halted", "api"): "0x4 1x20"},
        "4m",
        at_program("api"),
        "the view of api stopped at contradicting data",
    ),
    Case("ApiHalted", {of("bkdms_api_view_halted", "api"): "0x20"}, "4m"),
    Case(
        "ApiBehind",
        {height("published"): "8x80", of("bkdms_api_view_height", "api"): "7x80"},
        "12m",
        at_program("api"),
        "api does not know blocks that are minutes old",
        early="6m",
    ),
    Case("ApiBehind", {height("published"): "9+1x80", of("bkdms_api_view_height", "api"): "0+1x80"}, "12m"),
    Case(
        "ApiFailing",
        {
            of("bkdms_api_requests_total", "api", route="/a", status="503"): "0+1x60",
            of("bkdms_api_requests_total", "api", route="/a", status="200"): "0+4x60",
            of("bkdms_api_requests_total", "api", route="/metrics", status="200"): "0+40x60",
            of("bkdms_api_requests_total", "api", route="/health/ready", status="503"): "0+40x60",
        },
        "11m",
        at_program("api"),
        "20% of the requests to api fail",
    ),
    Case(
        "ApiFailing",
        {
            of("bkdms_api_requests_total", "api", route="/a", status="404"): "0+10x60",
            of("bkdms_api_requests_total", "api", route="/a", status="200"): "0+40x60",
            of("bkdms_api_requests_total", "api", route="/a", status="503"): "0+1x60",
        },
        "11m",
    ),
    Case(
        "ExportBehind",
        {of("bkdms_export_lag_records", "export"): "80x80"},
        "17m",
        at_program("export"),
        "export has 80 blocks before it",
    ),
    Case("ExportBehind", {of("bkdms_export_lag_records", "export"): "20x80"}, "17m"),
    Case(
        "WitnessesMissing",
        {of("bkdms_export_unpublished_leaves", "export"): "9x400"},
        "70m",
        at_program("export"),
        f"no checkpoint of {CHAIN} is published for lack of outside witnesses",
    ),
    Case("WitnessesMissing", {of("bkdms_export_unpublished_leaves", "export"): "9x200 0x1 9x200"}, "70m"),
)
SITES: Final = (
    Case(
        "SiteStalled",
        {of("bkdms_site_oldest_unconfirmed_seconds", "site-1", site="s"): "3600x40"},
        "6m",
        at_program("site-1", site="s"),
        "s has records that wait for 1h 0m 0s",
    ),
    Case("SiteStalled", {of("bkdms_site_oldest_unconfirmed_seconds", "site-1", site="s"): "900x40"}, "6m"),
    Case(
        "SpoolFilling",
        {
            of("bkdms_site_spool_bytes", "site-1", site="s"): "9e8x40",
            of("bkdms_site_spool_limit_bytes", "site-1", site="s"): "1e9x40",
        },
        "6m",
        at_program("site-1", site="s"),
        "the spool of s is filled to 90%",
    ),
    Case(
        "SpoolFilling",
        {
            of("bkdms_site_spool_bytes", "site-1", site="s"): "5e8x40",
            of("bkdms_site_spool_limit_bytes", "site-1", site="s"): "1e9x40",
        },
        "6m",
    ),
    Case(
        "SealingWaits",
        {of("bkdms_site_sealing_held", "site-1", site="s", reason="key_expired"): "1x40"},
        "6m",
        at_program("site-1", site="s", reason="key_expired"),
        "s seals nothing new: key_expired",
    ),
    Case(
        "SealingWaits",
        {
            of("bkdms_site_sealing_held", "site-1", site="s", reason="no_key"): "0x40",
            of("bkdms_site_sealing_held", "site-1", site="s", reason="suspended"): "1x40",
        },
        "6m",
    ),
    Case(
        "PlatformKeyEnding",
        {of("bkdms_site_platform_key_expiry_timestamp_seconds", "site-1", site="s"): f"{86_400 + 360}x40"},
        "6m",
        at_program("site-1", site="s"),
        "the platform's key for s ends in 1d 0h 0m 0s, and no other was taken up",
    ),
    Case(
        "PlatformKeyEnding",
        {of("bkdms_site_platform_key_expiry_timestamp_seconds", "site-1", site="s"): f"{4 * 86_400}x40"},
        "6m",
    ),
    Case(
        "SuiteEnding",
        {of("bkdms_suite_expiry_timestamp_seconds", "validator-1", suite="light"): f"{86_400 + 360}x40"},
        "6m",
        on_chain(suite="light"),
        f"the contract of {CHAIN} ends suite light in 1d 0h 0m 0s",
    ),
    Case(
        "SuiteEnding",
        {of("bkdms_suite_expiry_timestamp_seconds", "validator-1", suite="light"): f"{91 * 86_400}x40"},
        "6m",
    ),
)
