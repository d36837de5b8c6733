"""A policy by which a registrar approves requests without a person looking: closed lists, and a token always."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import ConfigError
from pipeline.core.sealing import Suite
from pipeline.services.access import AccessRequest

_KEYS = frozenset({"cities", "indicators", "suites", "max_equipment"})


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """What may be approved: ``cities`` as COUNTRY/CITY, indicators, suites, number of further equipment."""

    cities: frozenset[str]
    indicators: frozenset[str]
    suites: frozenset[Suite]
    max_equipment: int = 0

    def problem(self, request: AccessRequest) -> str | None:
        """Return what a request asks for beyond the policy, or None."""
        city = f"{request.site.country}/{request.site.city}"
        if city not in self.cities:
            return f"city {city}"
        indicators = sorted(set(request.indicators) - self.indicators)
        if indicators:
            return f"indicators {', '.join(indicators)}"
        suites = sorted(suite.name.lower() for suite in set(request.suites) - self.suites)
        if suites:
            return f"suites {', '.join(suites)}"
        if len(request.equipment) > self.max_equipment:
            return f"more than {self.max_equipment} pieces of equipment"
        return None


def read_policy(document: Mapping[str, Any]) -> AccessPolicy:
    """Return the policy that a TOML file holds.

    Raises:
        ConfigError: a key is missing, unknown or of another kind; the message names it.
    """
    unknown = sorted(document.keys() - _KEYS)
    if unknown:
        raise ConfigError(f"access policy: {unknown[0]!r} is no key of it; use {', '.join(sorted(_KEYS))}")
    most = document.get("max_equipment", 0)
    if type(most) is not int or most < 0:
        raise ConfigError("access policy: max_equipment must be a whole number from 0")
    known = {suite.name.lower(): suite for suite in Suite}
    suites = _texts(document, "suites")
    wrong = sorted(suites - known.keys())
    if wrong:
        raise ConfigError(f"access policy: suite {wrong[0]!r} is unknown; choose from {', '.join(known)}")
    return AccessPolicy(
        _texts(document, "cities"),
        _texts(document, "indicators"),
        frozenset(known[name] for name in suites),
        most,
    )


def _texts(document: Mapping[str, Any], name: str) -> frozenset[str]:
    found = document.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(item, str) for item in found):
        raise ConfigError(f"access policy: {name} must be a list of texts, and not empty")
    return frozenset(found)
