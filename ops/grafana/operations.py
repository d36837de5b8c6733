"""Dashboard *operations*: does everything run, does it flow, what is refused, what lags, how long does it take."""

from dataclasses import replace

from grafana_foundation_sdk.builders import timeseries

from ops.grafana.board import Board, Part
from ops.grafana.panels import ANY_IS_BAD, RATE, SMALL, Bounds, Look, number, prom, series, states
from ops.grafana.troubles import ANALYSIS, RESOURCES, TROUBLE


def _quantiles(metric: str, over: str = RATE) -> tuple[str, str, str]:
    """Return the median, the 95th and the 99th percentile of a histogram over all programs."""
    of = f"sum by (le) (rate({metric}_bucket{{}}{over}))"
    return _share(0.5, of), _share(0.95, of), _share(0.99, of)


def _share(share: float, of: str) -> str:
    return f"histogram_quantile({share}, {of})"


def _latency(title: str, description: str, metric: str) -> timeseries.Panel:
    names = ("half", "95 %", "99 %")
    queries = [prom(expression, name) for expression, name in zip(_quantiles(metric), names, strict=True)]
    return series(title, description, Look(unit="s", width=6), *queries)


GLANCE = Part(
    "At a glance",
    (
        number(
            "Programs not answering",
            "Programs whose metrics could not be fetched just now. Anything but 0: look at the strips below, then "
            "at `bkdms status`.",
            replace(SMALL, bounds=ANY_IS_BAD),
            prom('count(up{job!="site"} == 0) or vector(0)'),
        ),
        number(
            "Programs not ready",
            "Programs that answer and do no work: starting, or waiting for Kafka, Redis or the database. What they "
            "wait for is under Trouble.",
            replace(SMALL, bounds=ANY_IS_BAD),
            prom("count(bkdms_worker_ready{} == 0) or vector(0)"),
        ),
        number(
            "Committed height",
            "Height of the last block that a quorum certified and that is in Redis.",
            replace(SMALL, unit="none"),
            prom('max(bkdms_node_height{stage="committed"})'),
        ),
        number(
            "Blocks without quorum",
            "Blocks that nodes derived and that are not committed. A few for a moment are normal; a number that "
            "grows means that too few nodes agree.",
            replace(SMALL, unit="none", bounds=Bounds(4, 16)),
            prom('max(bkdms_node_height{stage="derived"}) - max(bkdms_node_height{stage="committed"})'),
        ),
        number(
            "Admission to store, 95 %",
            "Within this time 19 of 20 packets of the time shown were admitted, certified, opened and stored.",
            replace(SMALL, unit="s", bounds=Bounds(30, 300), decimals=1),
            prom(_quantiles("bkdms_platform_admission_to_store_seconds", "[$__range]")[1]),
        ),
        number(
            "Signatures for another block",
            "Cosignatures of nodes for another block than ours since the nodes started. Anything but 0: a node is "
            "faulty or lies; its name is in Votes that do not count.",
            replace(SMALL, unit="none", bounds=ANY_IS_BAD),
            prom('max(sum by (instance) (bkdms_node_votes_total{outcome="divergent"})) or vector(0)'),
        ),
        states(
            "Programs that answer",
            "Each program, as Prometheus could reach it.",
            Look(names={"0": "down", "1": "up"}, width=12, highest=1),
            prom("up{}", "{{instance}}"),
        ),
        states(
            "Programs that are ready",
            "Each program, as it says of itself: it does its work, or it starts or waits.",
            Look(names={"0": "waiting", "1": "ready"}, width=12, highest=1),
            prom("bkdms_worker_ready{}", "{{instance}}"),
        ),
    ),
)

FLOW = Part(
    "Flow and refusals",
    (
        series(
            "Packets by stage",
            "Packets per second that validators let through, nodes put into blocks, the platform stored and sent on. "
            "The lines lie on one another when nothing waits.",
            Look(unit="pps", width=8),
            prom(f'sum(rate(bkdms_validator_outcomes_total{{outcome="admitted"}}{RATE}))', "validated"),
            prom(
                f'max(sum by (instance) (rate(bkdms_chain_outcomes_total{{outcome="admitted"}}{RATE})))',
                "in blocks",
            ),
            prom(f"sum(rate(bkdms_platform_packets_total{{}}{RATE}))", "stored"),
            prom(f"sum(rate(bkdms_platform_published_packets_total{{}}{RATE}))", "sent on"),
        ),
        series(
            "Indicator values stored",
            "Values per second that the platform opened and stored.",
            Look(unit="cps", width=8),
            prom(f"sum(rate(bkdms_platform_observations_total{{}}{RATE}))", "values"),
        ),
        series(
            "Stored without values",
            "Packets per second whose content did not fit what was signed or granted (mismatch), or for which the "
            "platform has no key (unopened).",
            Look(unit="pps", width=8),
            prom(
                f'sum by (status, reason) (rate(bkdms_platform_packets_total{{status!="ok"}}{RATE}))',
                "{{status}} {{reason}}",
            ),
        ),
        series(
            "Refused by validators",
            "Records of the packets topic per second that were refused, by reason; their bytes are on kpi.rejected.v1.",
            Look(unit="pps", width=8, is_stacked=True),
            prom(
                f'sum by (outcome) (rate(bkdms_validator_outcomes_total{{outcome!="admitted"}}{RATE})) > 0',
                "{{outcome}}",
            ),
        ),
        series(
            "Refused by the chain",
            "Records of the chain log per second that did not enter a block, by reason. Duplicate and stale are normal "
            "after sites sent again; equivocation never is.",
            Look(unit="pps", width=8, is_stacked=True),
            prom(
                "max by (outcome) (sum by (instance, outcome) (rate(bkdms_chain_outcomes_total"
                f'{{outcome!~"admitted|tick"}}{RATE}))) > 0',
                "{{outcome}}",
            ),
        ),
        series(
            "Sequence numbers left out",
            "Packets that sites signed a gap for: records that they made and did not send.",
            Look(unit="cps", width=8),
            prom(f"max(sum by (instance) (rate(bkdms_chain_sequence_gaps_total{{}}{RATE})))", "left out"),
        ),
    ),
)

LAG = Part(
    "Lag",
    (
        series(
            "Packets not validated",
            "Records of the packets topic that no validator has dealt with, per partition.",
            Look(width=8),
            prom("max by (topic, partition) (bkdms_consumer_lag_records{})", "{{topic}} {{partition}}"),
        ),
        series(
            "Chain log not consumed",
            "Records of the chain log that a node has not consumed.",
            Look(width=8),
            prom("bkdms_node_log_lag_records{}", "{{instance}}"),
        ),
        series(
            "Blocks behind",
            "How many published blocks each reader of the blocks topic has not dealt with.",
            Look(width=8),
            prom(
                'scalar(max(bkdms_node_height{stage="published"})) - max(bkdms_platform_stored_height{})',
                "platform",
            ),
            prom('scalar(max(bkdms_node_height{stage="published"})) - max(bkdms_api_view_height{})', "api"),
            prom("max(bkdms_export_lag_records{})", "exporter, in records"),
        ),
    ),
)

QUORUM = Part(
    "Heights and quorum",
    (
        number(
            "Nodes beyond the quorum",
            "Nodes that answer, less those that a certificate needs. 0: the next one that fails stops the chain; less: "
            "nothing is committed.",
            Look(unit="none", width=6, lowest=None, bounds=Bounds(1, 0, is_low_bad=True)),
            prom('count(up{job="node"} == 1) - max(bkdms_policy_quorum_nodes{})'),
        ),
        series(
            "Committed height by node",
            "A line that falls behind is a node that is away or slow.",
            Look(unit="none", width=6, lowest=None),
            prom('bkdms_node_height{stage="committed"}', "{{instance}}"),
        ),
        series(
            "Blocks by stage",
            "How far the furthest node is ahead of the published height, by stage. Growing: no quorum (derived, "
            "cosigned), Redis away (certified), Kafka away (committed).",
            Look(unit="none", width=6),
            prom(
                'max by (stage) (bkdms_node_height{stage!="published"})'
                ' - on () group_left () max(bkdms_node_height{stage="published"})',
                "{{stage}}",
            ),
        ),
        series(
            "Cosignatures counted by node",
            "Cosignatures per second that count, by who made them. A line at 0 is a node that is away.",
            Look(unit="cps", width=6),
            prom(
                f'max by (node) (sum by (instance, node) (rate(bkdms_node_votes_total{{outcome="counted"}}{RATE})))',
                "{{node}}",
            ),
        ),
        series(
            "Votes that do not count",
            "Cosignature messages per second by why they do not count. Late and repeated are normal; divergent and "
            "invalid never are.",
            Look(unit="cps", width=12),
            prom(
                "max by (node, outcome) (sum by (instance, node, outcome) (rate(bkdms_node_votes_total"
                f'{{outcome!="counted"}}{RATE}))) > 0',
                "{{node}} {{outcome}}",
            ),
        ),
        states(
            "Who publishes",
            "One node holds the lease for publishing blocks at a time; it moves when that node dies.",
            Look(names={"0": "no", "1": "holds it"}, width=12, highest=1),
            prom("bkdms_node_publishing_lease{}", "{{instance}}"),
        ),
    ),
)

LATENCY = Part(
    "Latency",
    (
        _latency(
            "Arrival to chain log",
            "Broker time of a packet to its being on the chain log.",
            "bkdms_admission_latency_seconds",
        ),
        _latency(
            "Chain log to commit",
            "Broker time of an entry to the commit of its block; a period and the agreement are in it.",
            "bkdms_commit_latency_seconds",
        ),
        _latency(
            "Admission to store",
            "Broker time of a packet's admission to its row in the store.",
            "bkdms_platform_admission_to_store_seconds",
        ),
        series(
            "API, 95 % by route",
            "Within this time 19 of 20 requests were answered.",
            Look(unit="s", width=6),
            prom(
                f"histogram_quantile(0.95, sum by (le, route) (rate(bkdms_api_request_seconds_bucket{{}}{RATE})))",
                "{{route}}",
            ),
        ),
    ),
)

OPERATIONS = Board(
    uid="operations",
    title="bkdms: operations",
    description="Does everything run, does it flow, what is refused, what lags and how long does it take.",
    parts=(GLANCE, FLOW, LAG, QUORUM, LATENCY, ANALYSIS, TROUBLE, RESOURCES),
    is_by_chain=True,
)
