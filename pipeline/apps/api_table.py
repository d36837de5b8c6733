"""What each route of the API asks of its caller, and how the scopes of certificates read as permits.

A route that is not here answers nobody. The scopes of each role are ``ops.access_table``'s.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ops.access_table import Scope, api_scopes
from ops.tls.principal import Role
from pipeline.core.permit import Action, Permit, everywhere


class Open(StrEnum):
    """A route without an action."""

    PUBLIC = "public"


HEAD_ROUTE: Final = "/v1/sites/{country}/{city:path}/{site_id}/head"
_SHOWN_TO_ALL: Final = (
    *("/v1/openapi.json", "/v1/chain", "/health/live", "/health/ready"),
    *("/v1/access-requests", "/v1/access-requests/{request}"),
    *("/tiles/checkpoint", "/tiles/policy.txt", "/tiles/tile/{place:path}"),
    *("/schemas/types", "/schemas/ids/{schema_id}", "/schemas/ids/{schema_id}/schema"),
    *("/schemas/ids/{schema_id}/versions", "/subjects", "/subjects/{subject}/versions"),
    "/subjects/{subject}/versions/{version}",
)
ROUTES: Final[Mapping[str, Action | Open]] = MappingProxyType(
    {
        **dict.fromkeys(_SHOWN_TO_ALL, Open.PUBLIC),
        HEAD_ROUTE: Action.HEADS,
        "/v1/trace/{code}": Action.TRACES,
        "/v1/assessments": Action.ASSESSMENTS,
        "/metrics": Action.METRICS,
    }
)
"""What each route asks of its caller, by its template."""

_ACTIONS: Final = {
    Scope.HEAD_ANY: Action.HEADS,
    Scope.TRACES: Action.TRACES,
    Scope.ASSESSMENTS: Action.ASSESSMENTS,
    Scope.METRICS: Action.METRICS,
}


def role_permits(role: Role) -> frozenset[Permit]:
    """Return what a certificate of a role permits; the head of a site's own depends on its name as well."""
    return frozenset(everywhere(_ACTIONS[scope]) for scope in api_scopes(role) if scope in _ACTIONS)


def has_own_head(role: Role) -> bool:
    """Tell whether a certificate of a role permits the head of the site that it is named after."""
    return Scope.HEAD_OWN in api_scopes(role)
