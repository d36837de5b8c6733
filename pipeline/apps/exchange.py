"""What becomes known of a request while it is answered: who asked, for what, and how it ended."""

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import Request

ANSWERED: Final = "answered"
NOBODY: Final = "nobody"
_STATE: Final = "bkdms_exchange"


@dataclass(slots=True)
class Exchange:
    """One request. ``is_admitted`` once the guard let it pass; a route that nobody guarded answers nothing."""

    who: str = NOBODY
    via: str = "none"
    route: str | None = None
    asked: dict[str, str] = field(default_factory=dict)
    is_public: bool = False
    is_admitted: bool = False
    outcome: str = ANSWERED


def begin_exchange(scope: MutableMapping[str, Any]) -> Exchange:
    """Put a new exchange beside a request."""
    made = Exchange()
    scope.setdefault("state", {})[_STATE] = made
    return made


def exchange_of(request: Request) -> Exchange:
    """Return what is known of a request."""
    found = request.scope.setdefault("state", {}).get(_STATE)
    return found if isinstance(found, Exchange) else begin_exchange(request.scope)
