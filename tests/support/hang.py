"""Ends a test session that hangs, and says where: stacks of all threads and of all asyncio tasks.

A signal would not do: the event loop takes an exception that is raised inside a callback for that callback's own.
"""

import asyncio
import gc
import sys
import threading
from typing import Any

import pytest
import pytest_timeout


def watch(item: pytest.Item, settings: Any) -> None:
    """Start the clock of one test; ``settings`` are those of pytest-timeout."""
    timer = threading.Timer(settings.timeout, end_session, (item, settings))
    timer.daemon = True
    vars(item)["cancel_timeout"] = timer.cancel
    timer.start()


def end_session(item: pytest.Item, settings: Any) -> None:
    """Write what every task waits for, then let pytest-timeout write threads and output and end the process."""
    capture = item.config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(item)
    sys.stderr.write(f"\n{item.nodeid} did not end within {settings.timeout:.0f} s\n")
    for loop in [found for found in gc.get_objects() if isinstance(found, asyncio.BaseEventLoop)]:
        for task in asyncio.all_tasks(loop):
            task.print_stack(file=sys.stderr)
    pytest_timeout.timeout_timer(item, settings)
