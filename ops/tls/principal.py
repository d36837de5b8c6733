"""Who a certificate speaks for: a role and a name, written ``role:name``.

The subject is ``CN=role:name, OU=role``; Kafka's principal becomes ``User:role:name``.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

# RFC 5280 A.1 allows a common name of 64 characters; the longest role and the colon take 10 of them.
MAX_NAME_CHARACTERS = 54
# No character here needs escaping in an RFC 2253 name, so the broker's mapping rule sees the name as it is.
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_CHARACTERS - 1}}}")


class Role(StrEnum):
    """What a program is; decides what its certificate may do."""

    ADMIN = "admin"
    BROKER = "broker"
    REDIS = "redis"
    POSTGRES = "postgres"
    SITE = "site"
    VALIDATOR = "validator"
    NODE = "node"
    PLATFORM = "platform"
    EXPORTER = "exporter"
    ASSESS = "assess"
    ANALYST = "analyst"
    API = "api"
    REGISTRAR = "registrar"
    AUDITOR = "auditor"
    # A consumer beside the platform: what it may read is granted to its name alone, not to the role.
    CLIENT = "client"
    # Asks programs for their metrics; it has no rights in Kafka or anywhere else.
    MONITOR = "monitor"

    @property
    def is_server(self) -> bool:
        """Whether its certificate may stand for a server as well as for a client, under its host's names."""
        return self in {Role.BROKER, Role.REDIS, Role.POSTGRES, Role.API}

    @property
    def page_host(self) -> str | None:
        """The only name under which a worker serves: that of its page of metrics and health, wherever it runs.

        No client of Kafka, Redis, PostgreSQL or the API asks for it: a stolen worker's key makes no such server.
        """
        if self not in _PAGE_ROLES:
            return None
        return f"{self.value}.{PAGE_DOMAIN}"


PAGE_DOMAIN: Final = "metrics.bkdms.internal"
"""No name server knows it: who asks for a page says it as the name to expect."""
# The Parquet sink runs with an analyst's certificate; a site's is a client's alone.
_PAGE_ROLES: Final = frozenset(
    {Role.VALIDATOR, Role.NODE, Role.PLATFORM, Role.EXPORTER, Role.ASSESS, Role.ANALYST}
)


@dataclass(frozen=True, slots=True)
class Principal:
    """One holder of a certificate.

    Raises:
        ValueError: the name has other characters than letters, digits, ``.``, ``_``, ``-``, or is too long.
    """

    role: Role
    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"principal name {self.name!r}: use 1 to {MAX_NAME_CHARACTERS} of A-Z a-z 0-9 . _ - "
                "and begin with a letter or digit"
            )

    @classmethod
    def parse(cls, text: str) -> "Principal":
        """The principal of ``role:name``.

        Raises:
            ValueError: there is no such role, or the name has other characters.
        """
        role, _, name = text.partition(":")
        return cls(Role(role), name)

    def __str__(self) -> str:
        return f"{self.role.value}:{self.name}"

    @property
    def kafka(self) -> str:
        """The principal as Kafka's ACLs write it."""
        return f"User:{self}"
