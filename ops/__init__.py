"""What runs around the pipeline: Kafka, Redis, TLS."""
