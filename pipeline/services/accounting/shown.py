"""What the metrics of a node show of the policy in force."""

from pipeline.core.outcome import Outcome
from pipeline.core.quorum import Policy
from pipeline.services.accounting.committer import Repair
from pipeline.services.accounting.votes import VoteOutcome
from pipeline.telemetry import node_metrics as metrics
from pipeline.telemetry.metrics import show_zeros


def show_policy(policy: Policy) -> None:
    """Show how many nodes there are and are needed, and everything that an alarm waits for, at zero."""
    names = policy.node_names
    metrics.POLICY_NODES.set(len(names))
    metrics.QUORUM_NODES.set(policy.quorum)
    show_zeros(metrics.VOTES, [(name, outcome.value) for name in names for outcome in VoteOutcome])
    show_zeros(metrics.VOTES, [("unknown", VoteOutcome.INVALID.value)])
    show_zeros(metrics.REPAIRS, [(repair.value,) for repair in Repair])
    show_zeros(metrics.OUTCOMES, [(outcome.label,) for outcome in Outcome])
