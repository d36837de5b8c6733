"""Cases of the alerts on the chain: each fires and keeps quiet."""

from typing import Final

from tests.support.alert_case import CHAIN, Case, at_program, height, of, on_chain, outcomes, votes

CHAIN_CASES: Final = (
    Case(
        "NoQuorum",
        {height("derived"): "5x4 6x40", height("certified"): "5x60", height("derived", "node-2"): "5x60"},
        "5m",
        on_chain(),
        f"too few nodes of {CHAIN} agree: blocks wait for their certificate",
        early="2m45s",
    ),
    Case("NoQuorum", {height("derived"): "5+1x60", height("certified"): "4+1x60"}, "5m"),
    Case(
        "NodeSilent",
        {
            votes("node-4", "counted"): "3x80",
            votes("node-4", "divergent"): "0+1x80",
            votes("node-2", "counted"): "0+1x80",
            height("committed"): "0+1x80",
        },
        "15m",
        on_chain(node="node-4"),
        f"node-4 cosigns nothing while blocks of {CHAIN} are committed",
    ),
    Case(
        "NodeSilent",
        {
            votes("node-4", "late"): "0+1x80",
            votes("node-4", "counted", "node-2"): "3x80",
            height("committed"): "0+1x80",
        },
        "15m",
    ),
    Case("NodeSilent", {votes("node-4", "counted"): "3x80", height("committed"): "7x80"}, "15m"),
    Case(
        "NodeDivergent",
        {votes("node-4", "divergent"): "0x4 1x20", votes("node-4", "divergent", "node-2"): "0x20"},
        "4m",
        on_chain(node="node-4"),
        "node-4 signed another block than the others derived",
    ),
    Case("NodeDivergent", {votes("node-4", "divergent"): "0x20", votes("node-4", "late"): "0+1x20"}, "4m"),
    Case(
        "VotesInvalid",
        {votes("node-4", "invalid"): "0x4 1x20"},
        "4m",
        on_chain(node="node-4"),
        "cosignatures in the name of node-4 are not its own",
    ),
    Case("VotesInvalid", {votes("node-4", "invalid"): "2x20", votes("node-4", "late"): "0+1x20"}, "4m"),
    Case(
        "NodeBehind",
        {height("committed", "node-1"): "0+1x80", height("committed", "node-3"): "3x80"},
        "14m",
        at_program("node-3", stage="committed"),
        "node-3 is blocks behind the others",
        early="7m",
    ),
    Case(
        "NodeBehind",
        {height("committed", "node-1"): "2+1x80", height("committed", "node-3"): "0+1x80"},
        "14m",
    ),
    Case(
        "ChainLogWaiting",
        {of("bkdms_node_log_lag_records", "node-1"): "30000x60"},
        "12m",
        at_program("node-1"),
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
        on_chain(),
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
        {height("committed"): "8x40", height("published"): "7x40"},
        "5m",
        on_chain(),
        f"blocks of {CHAIN} are committed and not published",
    ),
    Case("PublishingStuck", {height("committed"): "8+1x40", height("published"): "7+1x40"}, "5m"),
    Case(
        "LedgerRepaired",
        {of("bkdms_ledger_repairs_total", "node-1", reason="empty"): "0x4 1x20"},
        "4m",
        on_chain(reason="empty"),
        f"Redis was empty and the nodes of {CHAIN} repaired it",
    ),
    Case(
        "LedgerRepaired",
        {of("bkdms_ledger_repairs_total", "node-1", reason="empty"): "_x4 1x20"},
        "4m",
        on_chain(reason="empty"),
        f"Redis was empty and the nodes of {CHAIN} repaired it",
    ),
    Case(
        "LedgerRepaired",
        {
            of("bkdms_ledger_repairs_total", "node-1", reason="behind"): "4x80",
            of("bkdms_ledger_repairs_total", "node-1", reason="uncertified"): "0x60 1x20",
        },
        "18m",
    ),
    Case(
        "LedgerTampered",
        {of("bkdms_ledger_repairs_total", "node-1", reason="uncertified"): "0x4 1x20"},
        "4m",
        on_chain(),
        f"Redis held what no quorum of {CHAIN} certified",
    ),
    Case(
        "LedgerTampered",
        {of("bkdms_ledger_repairs_total", "node-1", reason="uncertified"): "_x4 1x20"},
        "4m",
        on_chain(),
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
        on_chain(),
        f"records on the blocks topic of {CHAIN} are no certified blocks",
    ),
    *(
        Case(
            "BlocksForged",
            {of(f"bkdms_{name}_skipped_records_total", name, reason="certificate"): "0x4 1x20"},
            "4m",
            on_chain(),
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
        {outcomes("equivocation"): "0x4 1x20", outcomes("equivocation", "node-2"): "0x4 1x20"},
        "4m",
        on_chain(),
        "a site's key signed two packets at one sequence",
    ),
    Case("SiteEquivocates", {outcomes("equivocation"): "1x20", outcomes("stale"): "0+1x20"}, "4m"),
    Case(
        "ChainRefusals",
        {outcomes("broken_link"): "0+1x60"},
        "10m",
        on_chain(outcome="broken_link"),
        f"the nodes of {CHAIN} refuse records: broken_link",
    ),
    Case(
        "ChainRefusals",
        {
            **{outcomes(name): "0+1x60" for name in ("admitted", "tick", "duplicate", "stale")},
            outcomes("too_new"): "0x4 5x60",
        },
        "10m",
    ),
)
