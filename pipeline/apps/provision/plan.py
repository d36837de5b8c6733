"""The plan of a deployment: its chain, where its servers are, which programs there are and where.

A TOML file without secrets. ``config`` and ``data`` are folders as the programs and servers see them, in a container or
on their machine; ``{name}`` there stands for the name of the one that looks.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ops.tls.principal import Principal, Role
from ops.tls.site_principal import site_principal
from pipeline.apps.authority import ChainPlan, node_names, usual_quorum
from pipeline.config.quotas import QuotaSettings, usual_quotas
from pipeline.core.contract import Contract
from pipeline.core.errors import ConfigError
from pipeline.core.names import SiteName, parse_site_id

_SHOWN_PROBLEMS = 5
# Folders beside those of the programs; ``authority`` is nobody's but its own.
AUTHORITY = "authority"
ADMIN = "admin"
KAFKA = "kafka"
REDIS = "redis"
POSTGRES = "postgres"
_TAKEN = frozenset({AUTHORITY, ADMIN, KAFKA, REDIS, POSTGRES})
_LAST_PORT = 65_535
PROGRAM_ROLES = frozenset(set(Role) - {Role.ADMIN, Role.BROKER, Role.REDIS, Role.POSTGRES})


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= _LAST_PORT:
        raise ValueError("use host:port, such as kafka:9092")
    return value


Address = Annotated[str, AfterValidator(_address)]


def host_of(address: str) -> str:
    """Return the host of ``host:port``, an IPv6 address without its brackets."""
    return address.rpartition(":")[0].strip("[]")


def port_of(address: str) -> int:
    """Return the port of ``host:port``."""
    return int(address.rpartition(":")[2])


class _Table(BaseModel):
    """A table of the plan whose keys are all known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ChainTable(_Table):
    """The chain, for when there is none yet."""

    url: str
    nodes: int = Field(4, ge=1, le=16)
    period_ms: int = Field(5_000, ge=100)
    topic_prefix: str = ""

    def plan(self) -> ChainPlan:
        """The chain as ``create_chain`` takes it."""
        return ChainPlan(
            self.url,
            self.topic_prefix,
            nodes=node_names(self.nodes),
            quorum=usual_quorum(self.nodes),
            contract=Contract(period_ms=self.period_ms),
        )


class KafkaTable(_Table):
    """Kafka: as programs call it, as others outside call it, brokers for each topic, the port of its controller."""

    address: Address
    outside: Address | None = None
    replicas: int = Field(1, ge=1, le=16)
    controller_port: int = Field(9093, ge=1, le=_LAST_PORT)


class RedisTable(_Table):
    """Redis, as nodes call it."""

    address: Address


class PostgresTable(_Table):
    """PostgreSQL, as programs call it."""

    address: Address
    database: str = "bkdms"


class ProgramTable(_Table):
    """One holder of a certificate; ``address`` is where it serves metrics, and the API all that it serves.

    ``settings`` are tables of its bkdms.toml that follow from nothing else; ``secrets`` are files with a password each.
    """

    name: str
    role: Role
    address: Address | None = None
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    secrets: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_a_program(self) -> Self:
        Principal(self.role, self.name)
        if self.role not in PROGRAM_ROLES:
            raise ValueError(
                f"role {self.role} is no program's; use one of {', '.join(sorted(PROGRAM_ROLES))}"
            )
        if self.name in _TAKEN:
            raise ValueError(f"the name {self.name} is taken by a folder of ours; choose another")
        if self.role is Role.API and self.address is None:
            raise ValueError("the API needs an address")
        return self

    @property
    def principal(self) -> Principal:
        """Whom its certificate names: a site's its place in the registry, where the plan tells it."""
        site = self.settings.get("site", {})
        if self.role is Role.SITE and {"country", "city", "site_id"} <= site.keys():
            return site_principal(SiteName(site["country"], site["city"], parse_site_id(site["site_id"])))
        return Principal(self.role, self.name)


class DeploymentPlan(_Table):
    """The whole plan; ``listen`` is the address that programs and servers bind."""

    config: str = "/etc/bkdms/{name}"
    data: str = "/var/lib/bkdms/{name}"
    listen: str = "127.0.0.1"
    # Networks whose clients the database hears at all; each still needs a certificate.
    networks: tuple[str, ...] = ("127.0.0.1/32",)
    # Data folders that more than one program sees.
    shared: tuple[str, ...] = ()
    chain: ChainTable
    kafka: KafkaTable
    redis: RedisTable
    postgres: PostgresTable | None = None
    quotas: QuotaSettings = Field(default_factory=usual_quotas)
    programs: tuple[ProgramTable, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [program.name for program in self.programs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two programs are named {', '.join(twice)}; give each its own name")
        known = set(self.chain.plan().nodes)
        unknown = sorted(program.name for program in self.of(Role.NODE) if program.name not in known)
        if unknown:
            raise ValueError(
                f"no node of the chain is named {', '.join(unknown)}; use {', '.join(sorted(known))}"
            )
        return self

    def of(self, role: Role) -> Iterator[ProgramTable]:
        """Yield the programs of one role."""
        return (program for program in self.programs if program.role is role)

    @property
    def api(self) -> str | None:
        """The API's address, where there is one."""
        return next((program.address for program in self.of(Role.API)), None)

    def config_of(self, name: str) -> PurePosixPath:
        """Return where ``name`` sees its folder."""
        return PurePosixPath(self.config.replace("{name}", name))

    def data_of(self, name: str) -> PurePosixPath:
        """Return where ``name`` sees its data."""
        return PurePosixPath(self.data.replace("{name}", name))


def read_plan(path: Path) -> DeploymentPlan:
    """Read a plan.

    Raises:
        ConfigError: it is missing or wrong; names what to change (code ``config.plan``).
    """
    try:
        return DeploymentPlan.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        problem = error.strerror
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = f"is no TOML: {error}"
    except ValidationError as error:
        problem = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'plan'}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()[:_SHOWN_PROBLEMS]
        )
    raise ConfigError(f"plan {path}: {problem}", code="config.plan")
