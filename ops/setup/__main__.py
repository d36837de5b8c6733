"""Fetches Kafka's jars when they are missing, and says which Java, Kafka, Redis and PostgreSQL will be used."""

import sys

from ops.kafka import distribution
from ops.postgres.program import find_programs
from ops.redis import server
from pipeline.core.errors import ConfigError

EXIT_SETTINGS = 2


def main() -> int:
    """0 when everything is there, 2 with the remedy when something is not."""
    try:
        jars = distribution.ensure()
        redis = server.find_program()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_SETTINGS
    try:
        postgres = str(find_programs().folder)
    except ConfigError:
        postgres = "none here; `bkdms up --postgres` needs it"
    transport = "mutual TLS" if redis.has_tls else "a private Unix socket, since it has no TLS"
    sys.stderr.write(f"Java:  {jars.java}\nKafka: {jars.libs}\nRedis: {redis.path} on {transport}\n")
    sys.stderr.write(f"PostgreSQL: {postgres}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
