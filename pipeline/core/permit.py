"""Permits: what a caller of the API may do and where, and how a scope of a token writes one (Y.4810 access control).

A scope is ``ACTION`` or ``ACTION/COUNTRY/CITY/LAST``; each part behind the action is a value, percent-encoded, or
``*`` for any. Nothing is implied: where a part is left out nothing is permitted.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote

MAX_SCOPES: Final = 64
MAX_SCOPES_CHARS: Final = 8192
_ANY: Final = "*"
# RFC 6749 3.3 allows these and more; what isn't here is percent-encoded.
_PLAIN: Final = ":-._~"


class Action(StrEnum):
    """What the API can be asked for, beside what is public."""

    HEADS = "heads"
    ASSESSMENTS = "assessments"
    TRACES = "traces"
    METRICS = "metrics"


FIELDS: Final[dict[Action, tuple[str, ...]]] = {
    Action.HEADS: ("country", "city", "site"),
    Action.ASSESSMENTS: ("country", "city", "indicator"),
    Action.TRACES: (),
    Action.METRICS: (),
}
"""What a scope of an action names, in its order."""

Where = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Permit:
    """An action and where it is allowed: a value for each of the action's ``FIELDS``, None for any.

    Raises:
        ValueError: there are more or fewer values than the action has fields.
    """

    action: Action
    where: Where = ()

    def __post_init__(self) -> None:
        if len(self.where) != len(FIELDS[self.action]):
            raise ValueError(f"a scope for {self.action} names {', '.join(FIELDS[self.action]) or 'nothing'}")

    def __str__(self) -> str:
        parts = (_ANY if part is None else quote(part, safe=_PLAIN) for part in self.where)
        return "/".join((self.action.value, *parts))

    def covers(self, action: Action, where: Where) -> bool:
        """Tell whether a request lies within this scope; None in ``where`` asks for all values of a field."""
        if action is not self.action or len(where) != len(self.where):
            return False
        return all(mine is None or mine == asked for mine, asked in zip(self.where, where, strict=True))


def everywhere(action: Action) -> Permit:
    """Return the scope of an action without bounds."""
    return Permit(action, (None,) * len(FIELDS[action]))


def parse_permit(text: str) -> Permit | None:
    """Return the scope that a text writes in its one spelling, or None."""
    head, *parts = text.split("/")
    if head not in set(Action):
        return None
    try:
        where = tuple(None if part == _ANY else unquote(part, errors="strict") for part in parts)
        permit = Permit(Action(head), where)
        return permit if str(permit) == text else None
    except ValueError:
        return None


def parse_permits(text: str) -> frozenset[Permit]:
    """Return the scopes of a token's ``scope`` claim (RFC 8693 4.2); what is none of ours grants nothing.

    Raises:
        ValueError: the text is too long or has too many parts.
    """
    parts = text.split(" ") if len(text) <= MAX_SCOPES_CHARS else []
    if not 0 < len(parts) <= MAX_SCOPES:
        raise ValueError(f"at most {MAX_SCOPES} scopes of {MAX_SCOPES_CHARS} characters together")
    return frozenset(permit for part in parts if (permit := parse_permit(part)) is not None)
