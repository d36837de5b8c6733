"""Rotating the platform's keys while a deployment runs: the registrar's command, again and again, in a thread."""

import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Final

HOUR_S: Final = 3600.0
_SHOWN_CHARS: Final = 300


class KeyRotation:
    """Runs ``command`` every ``interval_s`` seconds until closed, at once where ``is_due``; tells when it fails.

    Most runs find nothing to do. One that fails is repeated at the next turn: keys are replaced long before they end.
    """

    def __init__(
        self,
        command: Sequence[str],
        say: Callable[[str], None],
        *,
        is_due: bool,
        interval_s: float = HOUR_S,
    ) -> None:
        self._command, self._say = tuple(command), say
        self._is_due, self._interval_s = is_due, interval_s
        self._ended = threading.Event()
        self._running: subprocess.Popen[bytes] | None = None
        self._mutex = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="rotation", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, and a run under way with it."""
        self._ended.set()
        with self._mutex:
            if self._running is not None:
                self._running.terminate()
        self._thread.join()

    def _run(self) -> None:
        if self._is_due:
            self._rotate()
        while not self._ended.wait(self._interval_s):
            self._rotate()

    def _rotate(self) -> None:
        with self._mutex:
            if self._ended.is_set():
                return
            self._running = subprocess.Popen(  # noqa: S603  our own program
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        _, talk = self._running.communicate()
        if self._running.returncode and not self._ended.is_set():
            reason = talk.decode(errors="replace").strip()[-_SHOWN_CHARS:]
            self._say(f"the platform's keys could not be rotated, and will be tried again: {reason}")
