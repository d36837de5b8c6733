"""Where a program's Kafka is, by the settings."""

from pipeline.adapters.kafka import KafkaConnection
from pipeline.config import Settings, required


def kafka_connection(settings: Settings, name: str) -> KafkaConnection:
    """Return the connection of a program to the settings' Kafka.

    Raises:
        ConfigError: address or certificate are not set.
    """
    return KafkaConnection(
        required(settings.kafka.bootstrap, "kafka.bootstrap"), settings.kafka.tls_files(), f"bkdms-{name}"
    )
