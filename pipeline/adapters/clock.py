"""The wall clock."""

import time


class SystemClock:
    """The ``Clock`` port on this machine's clock."""

    def now_ms(self) -> int:
        """Return GMT in milliseconds since 1970."""
        return time.time_ns() // 1_000_000
