"""For each alert: series under which it fires, with what it says, and series under which it keeps quiet.

Values are promtool's: ``1x20`` is 1 and 20 times 1 more, ``0+5x20`` grows by 5, ``_`` is a missing sample. A sample
every 15 s, so four a minute.
"""

from dataclasses import dataclass
from typing import Final

CHAIN: Final = "c.example/1"
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Case:
    """Series with their values, when to look (``12m``), and what is to fire then: labels and summary, or nothing."""

    alert: str
    series: dict[str, str]
    at: str
    labels: dict[str, str] | None = None
    summary: str = ""
    # Before the alert has waited for as long as it has to.
    early: str = "1m45s"

    @property
    def fires(self) -> bool:
        """Whether the alert is expected."""
        return self.labels is not None


def of(metric: str, instance: str, **labels: str) -> str:
    """Return a series of an instance, whose name tells its job: node-1 is a node."""
    own = {"chain": CHAIN, "job": instance.partition("-")[0], "instance": instance, **labels}
    return metric + "{" + ",".join(f'{name}="{value}"' for name, value in own.items()) + "}"


def _at(instance: str, **labels: str) -> dict[str, str]:
    """Return the labels of an alert about one program."""
    return {"chain": CHAIN, "job": instance.partition("-")[0], "instance": instance, **labels}


def _on(**labels: str) -> dict[str, str]:
    """Return the labels of an alert about the chain."""
    return {"chain": CHAIN, **labels}


def _height(stage: str, instance: str = "node-1") -> str:
    return of("bkdms_node_height", instance, stage=stage)


def _retries(code: str, instance: str = "platform") -> str:
    kind = "node" if instance.startswith("node") else "worker"
    return of(f"bkdms_{kind}_retries_total", instance, code=code)


def _votes(node: str, outcome: str, instance: str = "node-1") -> str:
    return of("bkdms_node_votes_total", instance, node=node, outcome=outcome)


def _outcomes(outcome: str, instance: str = "node-1") -> str:
    return of("bkdms_chain_outcomes_total", instance, outcome=outcome)


PROGRAMS: Final = (
    Case(
        "ProgramAway",
        {of("up", "node-1"): "1x4 0x20", of("up", "node-2"): "1x30"},
        "4m",
        _at("node-1"),
        "node-1 (node) does not answer",
    ),
    Case("ProgramAway", {of("up", "node-1"): "1x4 0x5 1x20"}, "4m"),
    Case(
        "NoProgramOfKind",
        {of("up", "node-1"): "0x20", of("up", "node-2"): "0x20", of("up", "api"): "1x20"},
        "4m",
        _on(job="node"),
        f"no node of {CHAIN} answers",
    ),
    Case("NoProgramOfKind", {of("up", "node-1"): "0x20", of("up", "node-2"): "1x20"}, "4m"),
    Case(
        "ProgramNotReady",
        {of("bkdms_worker_ready", "platform"): "0x40"},
        "8m",
        _at("platform"),
        "platform runs but does not do its work",
    ),
    Case("ProgramNotReady", {of("bkdms_worker_ready", "platform"): "1x4 0x12 1x30"}, "8m"),
    Case(
        "ProgramRestarting",
        {of("process_start_time_seconds", "node-3"): "100x4 200x4 300x4 400x20"},
        "6m",
        _at("node-3"),
        "node-3 ends again and again",
    ),
    Case("ProgramRestarting", {of("process_start_time_seconds", "node-3"): "100x4 200x30"}, "6m"),
    Case(
        "MixedReleases",
        {
            of("bkdms_build_info", "node-1", program="node", version="1", rules_version="1"): "1x600",
            of("bkdms_build_info", "node-2", program="node", version="2", rules_version="1"): "1x600",
        },
        "125m",
        _on(),
        f"programs of different releases run for {CHAIN}",
    ),
    Case(
        "MixedReleases",
        {
            of("bkdms_build_info", "node-1", program="node", version="1", rules_version="1"): "1x600",
            of("bkdms_build_info", "api", program="api", version="1", rules_version="1"): "1x600",
        },
        "125m",
    ),
    Case(
        "MemoryHigh",
        {of("process_resident_memory_bytes", "node-1"): "3221225472x80"},
        "18m",
        _at("node-1"),
        "node-1 holds 3GiB of memory",
    ),
    Case("MemoryHigh", {of("process_resident_memory_bytes", "node-1"): "1e8x40 3e9x20 1e8x40"}, "18m"),
    Case(
        "FilesRunningOut",
        {of("process_open_fds", "api"): "900x40", of("process_max_fds", "api"): "1000x40"},
        "6m",
        _at("api"),
        "api has 90% of its file handles in use",
    ),
    Case(
        "FilesRunningOut",
        {of("process_open_fds", "api"): "700x40", of("process_max_fds", "api"): "1000x40"},
        "6m",
    ),
)
SURROUNDINGS: Final = (
    Case("KafkaAway", {_retries("kafka"): "1+2x40"}, "4m", _at("platform"), "platform can't use Kafka"),
    Case(
        "KafkaAway",
        {_retries("kafka", "node-2"): "1+2x40"},
        "4m",
        _at("node-2"),
        "node-2 can't use Kafka",
    ),
    Case("KafkaAway", {_retries("kafka"): "1+2x4 9x40", _retries("redis"): "1+2x40"}, "4m"),
    Case("RedisAway", {_retries("redis", "node-1"): "1+2x40"}, "4m", _at("node-1"), "node-1 can't use Redis"),
    Case("RedisAway", {_retries("redis", "node-1"): "7x40", _retries("kafka", "node-1"): "1+2x40"}, "4m"),
    Case(
        "DatabaseAway",
        {_retries("database"): "1+2x40"},
        "4m",
        _at("platform"),
        "platform can't use its database",
    ),
    Case(
        "DatabaseAway",
        {_retries("database", "node-2"): "1+2x40"},
        "4m",
        _at("node-2"),
        "node-2 can't use its database",
    ),
    Case("DatabaseAway", {_retries("database"): "1+1x3 4x40", _retries("kafka"): "1+2x40"}, "4m"),
    Case(
        "StepsFailing",
        {_retries("disk", "node-1"): "1+1x80"},
        "14m",
        _at("node-1", code="disk"),
        "node-1 repeats a step that keeps failing: disk",
    ),
    Case("StepsFailing", {_retries("kafka"): "1+1x80", _retries("disk", "node-1"): "1+1x10 11x80"}, "14m"),
    Case(
        "DiskFilling",
        {
            of("bkdms_disk_free_bytes", "node-1", folder="data"): "10e9x40",
            of("bkdms_disk_size_bytes", "node-1", folder="data"): "100e9x40",
        },
        "6m",
        _at("node-1", folder="data"),
        "10% of the disk is left under data of node-1",
    ),
    Case(
        "DiskFilling",
        {
            of("bkdms_disk_free_bytes", "node-1", folder="data"): "20e9x40",
            of("bkdms_disk_size_bytes", "node-1", folder="data"): "100e9x40",
        },
        "6m",
    ),
    Case(
        "DiskAlmostFull",
        {of("bkdms_disk_free_bytes", "site-1", folder="spool"): "1073741824x20"},
        "3m",
        _at("site-1", folder="spool"),
        "1GiB are left under spool of site-1",
        early="45s",
    ),
    Case("DiskAlmostFull", {of("bkdms_disk_free_bytes", "site-1", folder="spool"): "3e9x20"}, "3m"),
    Case(
        "DiskFullSoon",
        {
            of("bkdms_disk_free_bytes", "node-1", folder="data"): "40e9-5e6x400",
            of("bkdms_disk_size_bytes", "node-1", folder="data"): "100e9x400",
        },
        "90m",
        _at("node-1", folder="data"),
        "the disk under data of node-1 is full within four days at this pace",
    ),
    Case(
        "DiskFullSoon",
        {
            of("bkdms_disk_free_bytes", "node-1", folder="data"): "40e9-1e6x400",
            of("bkdms_disk_size_bytes", "node-1", folder="data"): "100e9x400",
        },
        "90m",
    ),
    Case(
        "CertificateEnding",
        {of("bkdms_certificate_expiry_timestamp_seconds", "api", use="api"): f"{10 * _DAY}x60"},
        "10m",
        _at("api", use="api"),
        "certificate api of api ends in 9d 23h 50m 0s",
    ),
    Case(
        "CertificateEnding",
        {of("bkdms_certificate_expiry_timestamp_seconds", "api", use="api"): f"{29 * _DAY}x60"},
        "10m",
    ),
    Case(
        "CertificateEndsNow",
        {of("bkdms_certificate_expiry_timestamp_seconds", "api", use="kafka"): f"{_DAY}x60"},
        "10m",
        _at("api", use="kafka"),
        "certificate kafka of api ends in 23h 50m 0s",
        early="45s",
    ),
    Case(
        "CertificateEndsNow",
        {of("bkdms_certificate_expiry_timestamp_seconds", "api", use="kafka"): f"{3 * _DAY}x60"},
        "10m",
    ),
)
CHAIN_CASES: Final = (
    Case(
        "NoQuorum",
        {_height("derived"): "5x4 6x40", _height("certified"): "5x60", _height("derived", "node-2"): "5x60"},
        "5m",
        _on(),
        f"too few nodes of {CHAIN} agree: blocks wait for their certificate",
        early="2m45s",
    ),
    Case("NoQuorum", {_height("derived"): "5+1x60", _height("certified"): "4+1x60"}, "5m"),
    Case(
        "NodeSilent",
        {
            _votes("node-4", "counted"): "3x80",
            _votes("node-4", "divergent"): "0+1x80",
            _votes("node-2", "counted"): "0+1x80",
            _height("committed"): "0+1x80",
        },
        "15m",
        _on(node="node-4"),
        f"node-4 cosigns nothing while blocks of {CHAIN} are committed",
    ),
    Case(
        "NodeSilent",
        {
            _votes("node-4", "late"): "0+1x80",
            _votes("node-4", "counted", "node-2"): "3x80",
            _height("committed"): "0+1x80",
        },
        "15m",
    ),
    Case("NodeSilent", {_votes("node-4", "counted"): "3x80", _height("committed"): "7x80"}, "15m"),
    Case(
        "NodeDivergent",
        {_votes("node-4", "divergent"): "0x4 1x20", _votes("node-4", "divergent", "node-2"): "0x20"},
        "4m",
        _on(node="node-4"),
        "node-4 signed another block than the others derived",
    ),
    Case("NodeDivergent", {_votes("node-4", "divergent"): "0x20", _votes("node-4", "late"): "0+1x20"}, "4m"),
    Case(
        "VotesInvalid",
        {_votes("node-4", "invalid"): "0x4 1x20"},
        "4m",
        _on(node="node-4"),
        "cosignatures in the name of node-4 are not its own",
    ),
    Case("VotesInvalid", {_votes("node-4", "invalid"): "2x20", _votes("node-4", "late"): "0+1x20"}, "4m"),
    Case(
        "NodeBehind",
        {_height("committed", "node-1"): "0+1x80", _height("committed", "node-3"): "3x80"},
        "14m",
        _at("node-3", stage="committed"),
        "node-3 is blocks behind the others",
        early="7m",
    ),
    Case(
        "NodeBehind",
        {_height("committed", "node-1"): "2+1x80", _height("committed", "node-3"): "0+1x80"},
        "14m",
    ),
    Case(
        "ChainLogWaiting",
        {of("bkdms_node_log_lag_records", "node-1"): "30000x60"},
        "12m",
        _at("node-1"),
        "node-1 has 30000 records of the chain log before it",
    ),
    Case("ChainLogWaiting", {of("bkdms_node_log_lag_records", "node-1"): "30000x20 5000x40"}, "12m"),
    Case(
        "CommitSlow",
        {
            of("bkdms_commit_latency_seconds_bucket", "node-1", le="30"): "0x100",
            of("bkdms_commit_latency_seconds_bucket", "node-1", le="60"): "0+1x100",
            of("bkdms_commit_latency_seconds_bucket", "node-1", le="+Inf"): "0+1x100",
        },
        "22m",
        _on(),
        f"a twentieth of the entries of {CHAIN} takes longer than 58.5s to its commit",
    ),
    Case(
        "CommitSlow",
        {
            of("bkdms_commit_latency_seconds_bucket", "node-1", le="30"): "0+99x100",
            of("bkdms_commit_latency_seconds_bucket", "node-1", le="60"): "0+100x100",
            of("bkdms_commit_latency_seconds_bucket", "node-1", le="+Inf"): "0+100x100",
        },
        "22m",
    ),
    Case(
        "PublishingStuck",
        {_height("committed"): "8x40", _height("published"): "7x40"},
        "5m",
        _on(),
        f"blocks of {CHAIN} are committed and not published",
    ),
    Case("PublishingStuck", {_height("committed"): "8+1x40", _height("published"): "7+1x40"}, "5m"),
    Case(
        "LedgerRepaired",
        {of("bkdms_ledger_repairs_total", "node-1", reason="empty"): "0x4 1x20"},
        "4m",
        _on(reason="empty"),
        f"Redis was empty and the nodes of {CHAIN} repaired it",
    ),
    Case(
        "LedgerRepaired",
        {
            of("bkdms_ledger_repairs_total", "node-1", reason="behind"): "4x20",
            of("bkdms_ledger_repairs_total", "node-1", reason="uncertified"): "0x4 1x20",
        },
        "4m",
    ),
    Case(
        "LedgerTampered",
        {of("bkdms_ledger_repairs_total", "node-1", reason="uncertified"): "0x4 1x20"},
        "4m",
        _on(),
        f"Redis held what no quorum of {CHAIN} certified",
    ),
    Case(
        "LedgerTampered",
        {
            of("bkdms_ledger_repairs_total", "node-1", reason="empty"): "0x4 1x20",
            of("bkdms_ledger_repairs_total", "node-1", reason="uncertified"): "0x20",
        },
        "4m",
    ),
    Case(
        "BlocksForged",
        {of("bkdms_node_forged_blocks_total", "node-1"): "0x4 1x20"},
        "4m",
        _on(),
        f"records on the blocks topic of {CHAIN} are no certified blocks",
    ),
    *(
        Case(
            "BlocksForged",
            {of(f"bkdms_{name}_skipped_records_total", name, reason="certificate"): "0x4 1x20"},
            "4m",
            _on(),
            f"records on the blocks topic of {CHAIN} are no certified blocks",
        )
        for name in ("platform", "export", "api")
    ),
    Case(
        "BlocksForged",
        {
            of("bkdms_node_forged_blocks_total", "node-1"): "3x20",
            of("bkdms_platform_skipped_records_total", "platform", reason="header"): "0x20",
        },
        "4m",
    ),
    Case(
        "SiteEquivocates",
        {_outcomes("equivocation"): "0x4 1x20", _outcomes("equivocation", "node-2"): "0x4 1x20"},
        "4m",
        _on(),
        "a site's key signed two packets at one sequence",
    ),
    Case("SiteEquivocates", {_outcomes("equivocation"): "1x20", _outcomes("stale"): "0+1x20"}, "4m"),
    Case(
        "ChainRefusals",
        {_outcomes("broken_link"): "0+1x60"},
        "10m",
        _on(outcome="broken_link"),
        f"the nodes of {CHAIN} refuse records: broken_link",
    ),
    Case(
        "ChainRefusals",
        {
            **{_outcomes(name): "0+1x60" for name in ("admitted", "tick", "duplicate", "stale")},
            _outcomes("too_new"): "0x4 5x60",
        },
        "10m",
    ),
)
INTAKE: Final = (
    Case(
        "PacketsRefused",
        {
            of("bkdms_validator_outcomes_total", "validator-1", outcome="admitted"): "0+3x80",
            of("bkdms_validator_outcomes_total", "validator-2", outcome="bad_signature"): "0+1x80",
        },
        "16m",
        _on(),
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
        _on(topic="t"),
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
        _on(topic="t"),
        "records of t were removed before they were read",
    ),
    Case(
        "PacketsExpired", {of("bkdms_consumer_expired_records_total", "validator-1", topic="t"): "9x20"}, "4m"
    ),
)
PLATFORM: Final = (
    Case(
        "StoreBehind",
        {_height("published"): "8x80", of("bkdms_platform_stored_height", "platform"): "7x80"},
        "12m",
        _on(),
        f"the store of {CHAIN} misses blocks that are minutes old",
        early="6m",
    ),
    Case(
        "StoreBehind",
        {_height("published"): "9+1x80", of("bkdms_platform_stored_height", "platform"): "0+1x80"},
        "12m",
    ),
    Case(
        "PacketsUnopened",
        {of("bkdms_platform_packets_total", "platform", status="unopened", reason="no_key"): "0x4 1x20"},
        "4m",
        _on(),
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
        _on(reason="wrong_digest"),
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
        _at("assess"),
        f"figures of {CHAIN} are 30 blocks behind the store",
    ),
    Case("AssessmentBehind", {of("bkdms_assess_lag_blocks", "assess"): "30x30 5x10 30x40"}, "17m"),
    Case(
        "ApiHalted",
        {of("bkdms_api_view_halted", "api"): "0x4 1x20"},
        "4m",
        _at("api"),
        "the view of api stopped at contradicting data",
    ),
    Case("ApiHalted", {of("bkdms_api_view_halted", "api"): "0x20"}, "4m"),
    Case(
        "ApiBehind",
        {_height("published"): "8x80", of("bkdms_api_view_height", "api"): "7x80"},
        "12m",
        _at("api"),
        "api does not know blocks that are minutes old",
        early="6m",
    ),
    Case("ApiBehind", {_height("published"): "9+1x80", of("bkdms_api_view_height", "api"): "0+1x80"}, "12m"),
    Case(
        "ApiFailing",
        {
            of("bkdms_api_requests_total", "api", route="/a", status="503"): "0+1x60",
            of("bkdms_api_requests_total", "api", route="/a", status="200"): "0+4x60",
            of("bkdms_api_requests_total", "api", route="/metrics", status="200"): "0+40x60",
            of("bkdms_api_requests_total", "api", route="/health/ready", status="503"): "0+40x60",
        },
        "11m",
        _at("api"),
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
        _at("export"),
        "export has 80 blocks before it",
    ),
    Case("ExportBehind", {of("bkdms_export_lag_records", "export"): "20x80"}, "17m"),
    Case(
        "WitnessesMissing",
        {of("bkdms_export_unpublished_leaves", "export"): "9x400"},
        "70m",
        _at("export"),
        f"no checkpoint of {CHAIN} is published for lack of outside witnesses",
    ),
    Case("WitnessesMissing", {of("bkdms_export_unpublished_leaves", "export"): "9x200 0x1 9x200"}, "70m"),
)
SITES: Final = (
    Case(
        "SiteStalled",
        {of("bkdms_site_oldest_unconfirmed_seconds", "site-1", site="s"): "3600x40"},
        "6m",
        _at("site-1", site="s"),
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
        _at("site-1", site="s"),
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
)
CASES: Final = (*PROGRAMS, *SURROUNDINGS, *CHAIN_CASES, *INTAKE, *PLATFORM, *SITES)
