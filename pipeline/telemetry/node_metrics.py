"""Metrics of an accounting node. Labels are bounded: stages, outcomes, node names of the policy."""

from prometheus_client import Counter, Gauge, Histogram

HEIGHT = Gauge("bkdms_node_height", "Block height by stage of this node", ["stage"])
OUTCOMES = Counter("bkdms_chain_outcomes", "Records of the chain log by outcome", ["outcome"])
SEQUENCE_GAPS = Counter("bkdms_chain_sequence_gaps", "Sequence numbers that sites left out of their packets")
VOTES = Counter("bkdms_node_votes", "Cosignature messages by what became of them", ["node", "outcome"])
REPAIRS = Counter("bkdms_ledger_repairs", "Repairs of the Redis ledger by reason", ["reason"])
RETRIES = Counter("bkdms_node_retries", "Attempts that failed for now and are repeated", ["code"])
LOG_LAG = Gauge("bkdms_node_log_lag_records", "Records of the chain log that this node has not consumed")
FORGED = Counter("bkdms_node_forged_blocks", "Records of the blocks topic that are not the certified block")
POLICY_NODES = Gauge("bkdms_policy_nodes", "Accounting nodes that the chain's policy names")
QUORUM_NODES = Gauge("bkdms_policy_quorum_nodes", "Accounting nodes that a certificate needs")
TREE_SIZE = Gauge("bkdms_node_tree_size_leaves", "Leaves in the tree after the last committed block")
COMMIT_SECONDS = Histogram(
    "bkdms_commit_latency_seconds",
    "Time from the broker time of an entry to the commit of its block",
    buckets=(0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 300, 3600),
)
LEASE = Gauge("bkdms_node_publishing_lease", "1 while this node holds the publishing lease")


def count_stage(stage: str, height: int) -> None:
    """Set the height that this node reached in a stage: derived, cosigned, certified, committed, published."""
    HEIGHT.labels(stage).set(height)
