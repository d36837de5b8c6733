"""Becomes another program that the kernel kills when the process that asked for it is gone.

Run as a file, with the standard library alone: ``python -I -S launcher.py PARENT_PID PROGRAM ARGUMENT…``.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
EXIT_NOT_STARTED = 127


def main(arguments: list[str]) -> int:
    """Replace this process; comes back only when that is impossible."""
    parent, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # It may have died before the call above.
        if os.getppid() != parent:
            return EXIT_NOT_STARTED
    try:
        os.execvp(program[0], program)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]}: {error}\n")
    return EXIT_NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
