"""A program for tests: runs a stack in the folder given, prints one line of JSON, waits to be ended."""

import json
import sys
from pathlib import Path

from ops.signals import interruptible, wait_for_interrupt
from ops.stack import EmbeddedStack


def main() -> None:
    """Run until interrupted."""
    with interruptible():
        try:
            with EmbeddedStack(Path(sys.argv[1]), is_short_lived=True) as stack:
                pids = [child.pid for child in stack.children()]
                print(json.dumps({"bootstrap": stack.kafka_bootstrap, "pids": pids}), flush=True)  # noqa: T201
                wait_for_interrupt()
        except KeyboardInterrupt:
            sys.exit(0)


if __name__ == "__main__":
    main()
