"""Implementations of the ports on real systems: Kafka, Redis, SQL, files."""
