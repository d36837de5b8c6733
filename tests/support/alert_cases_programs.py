"""Cases of the alerts on programs and their surroundings: each fires and keeps quiet."""

from typing import Final

from tests.support.alert_case import CHAIN, Case, at_program, of, on_chain, retries

_DAY: Final = 86_400
PROGRAMS: Final = (
    Case(
        "ProgramAway",
        {of("up", "node-1"): "1x4 0x20", of("up", "node-2"): "1x30"},
        "4m",
        at_program("node-1"),
        "node-1 (node) does not answer",
    ),
    Case("ProgramAway", {of("up", "node-1"): "1x4 0x5 1x20"}, "4m"),
    Case(
        "NoProgramOfKind",
        {of("up", "node-1"): "0x20", of("up", "node-2"): "0x20", of("up", "api"): "1x20"},
        "4m",
        on_chain(job="node"),
        f"no node of {CHAIN} answers",
    ),
    Case("NoProgramOfKind", {of("up", "node-1"): "0x20", of("up", "node-2"): "1x20"}, "4m"),
    Case(
        "ProgramNotReady",
        {of("bkdms_worker_ready", "platform"): "0x40"},
        "8m",
        at_program("platform"),
        "platform runs but does not do its work",
    ),
    Case("ProgramNotReady", {of("bkdms_worker_ready", "platform"): "1x4 0x12 1x30"}, "8m"),
    Case(
        "ProgramRestarting",
        {of("process_start_time_seconds", "node-3"): "100x4 200x4 300x4 400x20"},
        "6m",
        at_program("node-3"),
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
        on_chain(),
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
        at_program("node-1"),
        "node-1 holds 3GiB of memory",
    ),
    Case("MemoryHigh", {of("process_resident_memory_bytes", "node-1"): "1e8x40 3e9x20 1e8x40"}, "18m"),
    Case(
        "FilesRunningOut",
        {of("process_open_fds", "api"): "900x40", of("process_max_fds", "api"): "1000x40"},
        "6m",
        at_program("api"),
        "api has 90% of its file handles in use",
    ),
    Case(
        "FilesRunningOut",
        {of("process_open_fds", "api"): "700x40", of("process_max_fds", "api"): "1000x40"},
        "6m",
    ),
)
SURROUNDINGS: Final = (
    Case("KafkaAway", {retries("kafka"): "1+2x40"}, "4m", at_program("platform"), "platform can't use Kafka"),
    Case(
        "KafkaAway",
        {retries("kafka", "node-2"): "1+2x40"},
        "4m",
        at_program("node-2"),
        "node-2 can't use Kafka",
    ),
    Case("KafkaAway", {retries("kafka"): "1+2x4 9x40", retries("redis"): "1+2x40"}, "4m"),
    Case(
        "RedisAway",
        {retries("redis", "node-1"): "1+2x40"},
        "4m",
        at_program("node-1"),
        "node-1 can't use Redis",
    ),
    Case("RedisAway", {retries("redis", "node-1"): "7x40", retries("kafka", "node-1"): "1+2x40"}, "4m"),
    Case(
        "DatabaseAway",
        {retries("database"): "1+2x40"},
        "4m",
        at_program("platform"),
        "platform can't use its database",
    ),
    Case(
        "DatabaseAway",
        {retries("database", "node-2"): "1+2x40"},
        "4m",
        at_program("node-2"),
        "node-2 can't use its database",
    ),
    Case("DatabaseAway", {retries("database"): "1+1x3 4x40", retries("kafka"): "1+2x40"}, "4m"),
    Case(
        "StepsFailing",
        {retries("disk", "node-1"): "1+1x80"},
        "14m",
        at_program("node-1", code="disk"),
        "node-1 repeats a step that keeps failing: disk",
    ),
    Case("StepsFailing", {retries("kafka"): "1+1x80", retries("disk", "node-1"): "1+1x10 11x80"}, "14m"),
    Case(
        "DiskFilling",
        {
            of("bkdms_disk_free_bytes", "node-1", folder="data"): "10e9x40",
            of("bkdms_disk_size_bytes", "node-1", folder="data"): "100e9x40",
        },
        "6m",
        at_program("node-1", folder="data"),
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
        at_program("site-1", folder="spool"),
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
        at_program("node-1", folder="data"),
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
        at_program("api", use="api"),
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
        at_program("api", use="kafka"),
        "certificate kafka of api ends in 23h 50m 0s",
        early="45s",
    ),
    Case(
        "CertificateEndsNow",
        {of("bkdms_certificate_expiry_timestamp_seconds", "api", use="kafka"): f"{3 * _DAY}x60"},
        "10m",
    ),
)
