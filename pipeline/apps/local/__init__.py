"""Everything on this machine: the embedded Kafka and Redis, a chain, and all workers, in one data folder."""
