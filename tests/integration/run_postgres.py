"""A program for tests: runs a PostgreSQL in the folder given, prints its process, waits to be ended."""

import sys
from pathlib import Path

from ops.signals import wait_for_interrupt
from tests.support.postgres import running_postgres


def main() -> None:
    """Run until killed."""
    with running_postgres(Path(sys.argv[1])) as postgres:
        print(postgres.status().pid, flush=True)  # noqa: T201
        wait_for_interrupt()


if __name__ == "__main__":
    main()
