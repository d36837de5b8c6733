"""Oracle: compares what each site was told to send with what the ledger and the platform's store hold.

A second opinion, so it shares no code with what it judges: it imports nothing of ``pipeline``, ``connectors`` or
``schemas``. The judging modules use the standard library and fastavro; ``kafka_values`` alone knows a Kafka client.
What it names may include indicator values: its output belongs to the platform zone.
"""

from ops.oracle.input_error import InputError
from ops.oracle.judge import Verdict, judge
from ops.oracle.plan import Plan, load_plan, sample_plan, write_plan

__all__ = ["InputError", "Plan", "Verdict", "judge", "load_plan", "sample_plan", "write_plan"]
