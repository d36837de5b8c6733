"""The registrar's inbox: access requests that came over HTTP, a file each, with the answers that he writes beside them.

A request is named by the hash of its bytes, so that sending it again changes nothing, and nobody who has not got the
request finds its answer. What waits too long and what was answered long ago is removed; at its limit the inbox takes
nothing more.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Final

from pipeline.adapters.private_files import create_private
from pipeline.core.errors import ConfigError, TransientError

REQUEST_SUFFIX: Final = ".request.json"
ANSWER_SUFFIX: Final = ".request.answer.json"
WAITING_KEPT_MS: Final = 8 * 86_400_000
"""A day longer than a registrar would take a request."""
ANSWERED_KEPT_MS: Final = 90 * 86_400_000
_NAME_CHARS: Final = 64
_MAX_ANSWER_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class InboxRequest:
    """A request in the inbox: its name (64 hexadecimal digits), file, and when it came, in ms."""

    name: str
    path: Path
    came_ms: int
    is_answered: bool


def request_name(raw: bytes) -> str:
    """Return the name of a request: the SHA-256 of its bytes, in hexadecimal."""
    return sha256(raw).hexdigest()


class RequestInbox:
    """The inbox in ``folder``, which takes up to ``limit`` requests. Calls from several threads are serialised."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self._limit = folder, limit
        self._mutex = Lock()

    def put(self, raw: bytes, now_ms: int) -> str:
        """Keep a request durably and return its name; one that is there already stays as it is.

        Raises:
            TransientError: the inbox is full (code ``inbox_full``), or the disk fails (code ``inbox``).
        """
        name = request_name(raw)
        with self._mutex:
            self._sweep(now_ms)
            path = self.folder / f"{name}{REQUEST_SUFFIX}"
            if path.exists():
                return name
            if len(self.requests()) >= self._limit:
                raise TransientError(f"{self.folder} holds {self._limit} requests", code="inbox_full")
            try:
                create_private(path, raw)
            except ConfigError as error:
                raise TransientError(str(error), code="inbox") from error
        return name

    def answer(self, name: str) -> bytes | None:
        """Return the answer to the request of this name, or None where there is none yet. ``name`` may be any text.

        Raises:
            TransientError: the disk fails (code ``inbox``).
        """
        if len(name) != _NAME_CHARS or not set(name) <= set("0123456789abcdef"):
            return None
        try:
            with (self.folder / f"{name}{ANSWER_SUFFIX}").open("rb") as file:
                content = file.read(_MAX_ANSWER_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TransientError(f"{error.filename}: {error.strerror}", code="inbox") from error
        return content if len(content) <= _MAX_ANSWER_BYTES and _is_whole(content) else None

    def requests(self) -> list[InboxRequest]:
        """Return the requests that are there, the oldest first.

        Raises:
            TransientError: the disk fails (code ``inbox``).
        """
        try:
            return sorted(self._found(), key=lambda item: (item.came_ms, item.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TransientError(f"{error.filename}: {error.strerror}", code="inbox") from error

    def _found(self) -> Iterator[InboxRequest]:
        names = {entry.name: entry for entry in os.scandir(self.folder)}
        for file, entry in names.items():
            name = file.removesuffix(REQUEST_SUFFIX)
            if file != name and len(name) == _NAME_CHARS:
                came_ms = entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000
                yield InboxRequest(name, self.folder / file, came_ms, f"{name}{ANSWER_SUFFIX}" in names)

    def _sweep(self, now_ms: int) -> None:
        for item in self.requests():
            if now_ms - item.came_ms <= (ANSWERED_KEPT_MS if item.is_answered else WAITING_KEPT_MS):
                continue
            with suppress(OSError):
                item.path.unlink(missing_ok=True)
                item.path.with_suffix(".answer.json").unlink(missing_ok=True)


def _is_whole(content: bytes) -> bool:
    """Tell whether a file was written to its end: the registrar may be at it."""
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False
