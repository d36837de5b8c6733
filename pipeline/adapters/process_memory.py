"""Keeps what a process holds in memory, keys among it, out of core dumps and away from other processes of its user."""

import ctypes
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def keep_memory_private() -> None:
    """Write no core dump, neither this process nor what it starts; on Linux let no other process attach to it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # A core pattern that pipes to a program ignores the limit, but not this; ptrace and /proc/PID/mem heed it, too.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
