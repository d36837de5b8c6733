"""Prometheus metrics that several programs share, and those of the validator.

No label has an unbounded number of values: outcomes, codes, topics and partitions, never sites. Values of
indicators never appear. An accounting node's own metrics are in ``node_metrics``.

=============================================  ==============================================================
``bkdms_validator_outcomes_total{outcome}``    records of the packets topic by fate: ``admitted`` or the refusal
``bkdms_validator_batch_seconds``              time from fetching a batch to its commit
``bkdms_validator_delays_total``               times that a partition was held because of one site's rate
``bkdms_validator_abandoned_batches_total``    batches left to whoever holds their partitions now
``bkdms_validator_known_sites``                sites in the view of the registrations, revoked ones included
``bkdms_registrations_total{outcome}``         records of the sites topic by what was made of them
``bkdms_admission_latency_seconds``            broker time of a packet to its being on the chain log
``bkdms_consumer_lag_records{topic,partition}``  end offset minus committed offset
``bkdms_consumer_expired_records_total{topic}``  records that retention removed before they were read
``bkdms_consumer_rebalances_total{topic}``     times that a consumer group took partitions from us
``bkdms_kafka_send_failures_total``            batches of which not every record was acknowledged
``bkdms_worker_retries_total{code}``           steps that failed for now and are repeated
``bkdms_worker_ready``                         1 while the worker does its work
=============================================  ==============================================================
"""

from prometheus_client import Counter, Gauge, Histogram

VALIDATOR_OUTCOMES = Counter(
    "bkdms_validator_outcomes", "Records of the packets topic by their fate", ["outcome"]
)
VALIDATOR_BATCH_SECONDS = Histogram(
    "bkdms_validator_batch_seconds",
    "Time from fetching a batch to the commit of its offsets",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
VALIDATOR_DELAYS = Counter("bkdms_validator_delays", "Times that a partition was held for one site's rate")
VALIDATOR_ABANDONED = Counter(
    "bkdms_validator_abandoned_batches", "Batches left to whoever holds their partitions now"
)
KNOWN_SITES = Gauge("bkdms_validator_known_sites", "Sites in the view of the registrations")
REGISTRATIONS = Counter("bkdms_registrations", "Records of the sites topic by their fate", ["outcome"])
ADMISSION_SECONDS = Histogram(
    "bkdms_admission_latency_seconds",
    "Time from the broker time of a packet to its being on the chain log",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
)
CONSUMER_LAG = Gauge(
    "bkdms_consumer_lag_records", "End offset minus committed offset", ["topic", "partition"]
)
CONSUMER_EXPIRED = Counter(
    "bkdms_consumer_expired_records", "Records that retention removed before they were read", ["topic"]
)
CONSUMER_REBALANCES = Counter(
    "bkdms_consumer_rebalances", "Times that a consumer group took partitions from us", ["topic"]
)
SEND_FAILURES = Counter(
    "bkdms_kafka_send_failures", "Batches of which not every record was acknowledged by Kafka"
)
WORKER_RETRIES = Counter("bkdms_worker_retries", "Steps that failed for now and are repeated", ["code"])
WORKER_READY = Gauge("bkdms_worker_ready", "1 while the worker does its work, 0 while it starts or waits")
