"""The local deployment: starts, watches and stops every part in the right order."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ops.files import private_folder, write_private
from ops.local_servers import POSTGRES
from ops.ports import HOST, is_open, reserve
from ops.postgres.role_table import DatabaseRole
from ops.prometheus import server as prometheus
from ops.prometheus.configuration import Target
from ops.stack import EmbeddedStack
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Role
from pipeline.adapters.key_files import KeyFiles
from pipeline.apps.authority import ChainFiles, ChainPlan, create_chain
from pipeline.apps.keys import key_files
from pipeline.apps.local.probes import WATCHER, is_healthy
from pipeline.apps.local.rotation import KeyRotation
from pipeline.apps.local.settings_file import Table, write_settings
from pipeline.apps.token_issuer import JWKS_NAME, TokenIssuer
from pipeline.config import Settings, default_secrets_dir
from pipeline.core.genesis import Genesis
from pipeline.core.topics import Topics

# A person at a screen wants to see what just happened.
_SCRAPE_MS = 5_000
# Looks a few times a day whether the access log's head in the ledger is a day old.
_ANCHOR_S = 6 * 3600.0
DEFAULT_URL = "https://bkdms.local/city1"
API_NAME = "api"
PLATFORM_NAME = "platform"
ASSESS_NAME = "assess"
PROMETHEUS_NAME = "prometheus"
OPERATOR_NAME = "operator"
SETTINGS_NAME = "bkdms.toml"
SERVICE_NAME = "pg_service.conf"
# Beside the settings: whoever puts this file there has the stack assess by it.
ASSESS_PLAN_NAME = "assessment.toml"


@dataclass(frozen=True, slots=True)
class LocalPlan:
    """How much of everything to run; the chain plan counts only when the data folder has no chain yet."""

    chain: ChainPlan = field(default_factory=lambda: ChainPlan(DEFAULT_URL))
    validators: int = 2
    has_prometheus: bool = False
    # None: as the data folder was run before; a new one keeps its store in SQLite.
    has_postgres: bool | None = None
    assess_plan: Path | None = None
    # None: as many brokers as the data folder has; a new one gets one.
    brokers: int | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """One of our programs: its name, role, command and settings beside the common ones."""

    name: str
    role: Role
    command: tuple[str, ...]
    settings: Table
    port: int
    is_https: bool = False


class LocalDeployment:
    """Kafka, Redis, a chain and its workers in one data folder; resumes what the folder holds."""

    def __init__(
        self,
        data_dir: Path,
        plan: LocalPlan,
        *,
        is_short_lived: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.plan = plan
        self.say = say
        defaults: dict[str, Any] = {"data_dir": data_dir}
        settings = Settings(**defaults)
        self._quotas = settings.quotas
        kept = (data_dir / POSTGRES).exists()
        self.has_postgres = plan.has_postgres if plan.has_postgres is not None else kept
        self.stack = EmbeddedStack(
            data_dir,
            topics=Topics(plan.chain.topic_prefix),
            brokers=plan.brokers,
            has_postgres=self.has_postgres,
            is_short_lived=is_short_lived,
            lifetimes=settings.pki.lifetimes(),
            quotas=settings.quotas.given(),
            ca_keys=lambda: self.keys,
            say=say,
        )
        self.data_dir = self.stack.data_dir
        self.chain = ChainFiles(self.data_dir / "chain")
        self._is_short_lived = is_short_lived
        self._rotation: KeyRotation | None = None
        self._anchoring: KeyRotation | None = None
        self.secrets_dir = default_secrets_dir()

    @property
    def genesis(self) -> Genesis:
        """The chain's genesis."""
        return self.chain.genesis()

    @property
    def keys(self) -> KeyFiles:
        """What opens and makes this deployment's key files."""
        values: dict[str, Any] = {"data_dir": self.data_dir, "keys": self.keys_table()}
        return key_files(Settings(**values))

    def keys_table(self) -> dict[str, Any]:
        """Return where what opens the keys is kept, apart from the data folder, as a settings table has it."""
        return {
            "passphrase_file": self.secrets_dir / "passphrase",
            "generations_dir": self.secrets_dir / "generations",
        }

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"https://{HOST}:{self._ports()[API_NAME]}"

    @property
    def store_file(self) -> Path:
        """The platform's store when it is not in PostgreSQL."""
        return self.data_dir / "platform" / "store.sqlite"

    @property
    def store_command(self) -> str | None:
        """What an analyst types to see the store in PostgreSQL; None when it is a file."""
        if not self.has_postgres:
            return None
        return f"PGSERVICEFILE={self.data_dir / SERVICE_NAME} psql service={DatabaseRole.READER}"

    @property
    def settings_file(self) -> Path:
        """Settings for commands that a person runs beside the stack."""
        return self.data_dir / SETTINGS_NAME

    def start(self, *, servers_only: bool = False) -> None:
        """Start everything, or Kafka, Redis and PostgreSQL alone; returns when every part is ready.

        Raises:
            ConfigError: something is missing or the folder is in use.
            TransientError: a part did not get ready; the message names its log file.
        """
        if self.plan.has_prometheus:
            prometheus.find_program()  # says what is missing before anything runs
        self.stack.start()
        try:
            is_resumed = self.chain.genesis_file.exists()
            if not is_resumed:
                self.say("creating the chain")
                create_chain(self.chain.folder, self.plan.chain, save=self.keys.save)
            private_folder(self.data_dir / "settings")
            TokenIssuer(self.keys, self._token_key, self._jwks_file).signer()
            self._write_operator_settings()
            self.stack.credentials(WATCHER.role, WATCHER.name)
            programs = [(program, self._settings(program)) for program in self.programs()]
            if servers_only:
                return
            for program, settings in programs:
                self._run(program, settings)
            for program, _ in programs:
                self.say(f"waiting for {program.name}")
                self.stack.supervisor.await_ready(program.name)
            if self.plan.has_prometheus:
                self._run_prometheus()
            if not self._is_short_lived:
                command = ("--config", str(self.settings_file), "registrar", "rotate", "--due")
                # A folder that was left for long may hold keys that have ended.
                argv = self.python("pipeline.apps.cli", *command)
                self._rotation = KeyRotation(argv, self.say, is_due=is_resumed)
                anchor = ("--config", str(self.settings_file), "access-log", "anchor", "--appoint", "--due")
                argv = self.python("pipeline.apps.cli", *anchor)
                self._anchoring = KeyRotation(argv, self.say, is_due=False, interval_s=_ANCHOR_S)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything in order."""
        if self._rotation is not None:
            self._rotation.close()
            self._rotation = None
        if self._anchoring is not None:
            self._anchoring.close()
            self._anchoring = None
        self.stack.stop()

    def programs(self) -> list[Program]:
        """Return every program of ours that the deployment runs."""
        ports = self._ports()
        found = [
            Program(
                name,
                Role.NODE,
                ("worker", "account"),
                {"node": {"name": name}, "redis": self._redis(Role.NODE, name)},
                ports[name],
            )
            for name in self.genesis.policy.node_names
        ]
        found += [
            Program(name, Role.VALIDATOR, ("worker", "validate", "--name", name), {}, ports[name])
            for name in self._validator_names()
        ]
        found.append(
            Program(
                PLATFORM_NAME,
                Role.PLATFORM,
                ("worker", "platform"),
                self._store(Role.PLATFORM, PLATFORM_NAME),
                ports[PLATFORM_NAME],
            )
        )
        assess = self._store(Role.ASSESS, ASSESS_NAME) | self._assess_plan()
        found.append(Program(ASSESS_NAME, Role.ASSESS, ("worker", "assess"), assess, ports[ASSESS_NAME]))
        api = self._store(Role.API, API_NAME)
        found.append(Program(API_NAME, Role.API, ("serve",), api, ports[API_NAME], is_https=True))
        return found

    def targets(self) -> list[Target]:
        """Return every program of ours as Prometheus asks it for metrics."""
        files = self.stack.credentials(WATCHER.role, WATCHER.name)
        return [
            Target(program.role.value, program.name, f"{HOST}:{program.port}", files, program.role.page_host)
            for program in self.programs()
        ]

    @property
    def prometheus_url(self) -> str | None:
        """Where Prometheus answers, if it is run."""
        return f"http://{HOST}:{self._ports()[PROMETHEUS_NAME]}" if self.plan.has_prometheus else None

    def table(self, files: CertificateFiles) -> dict[str, Any]:
        """Return the three TLS files of a principal as a settings table has them."""
        return {"ca": files.ca, "certificate": files.certificate, "key": files.key}

    def kafka_table(self, role: Role, name: str) -> dict[str, Any]:
        """Return Kafka's address and the certificate of a principal."""
        return {"bootstrap": self.stack.kafka_bootstrap, **self.table(self.stack.credentials(role, name))}

    def _validator_names(self) -> list[str]:
        return [f"validator-{number}" for number in range(1, self.plan.validators + 1)]

    def _ports(self) -> dict[str, int]:
        names = [*self.genesis.policy.node_names, *self._validator_names()]
        names += [PLATFORM_NAME, ASSESS_NAME, API_NAME]
        names += [PROMETHEUS_NAME] * self.plan.has_prometheus
        return reserve(self.data_dir / "worker-ports.json", names)

    def _redis(self, role: Role, name: str) -> dict[str, Any]:
        address = self.stack.redis_account(role, name)
        return {
            "unix_socket": address.unix_socket,
            "host": address.host,
            "port": address.port,
            "username": address.username,
            "password_file": address.password_file,
            **(self.table(address.tls) if address.tls is not None else {}),
        }

    def _store(self, role: Role, name: str) -> dict[str, Any]:
        """Return where the platform's store is for a program; the default file when it is not in PostgreSQL."""
        return {"store": {"url": self.stack.database_url(role, name)}} if self.has_postgres else {}

    def _assess_plan(self) -> dict[str, Any]:
        """Return by which plan is assessed; without one nothing is expected and nothing scored."""
        file = self.plan.assess_plan or self.data_dir / ASSESS_PLAN_NAME
        return {"assess": {"plan": file}} if file.exists() else {}

    def _common(self) -> dict[str, Any]:
        return {
            "data_dir": self.data_dir,
            "topic_prefix": self.plan.chain.topic_prefix,
            "genesis": self.chain.genesis_file,
            "keys": self.keys_table(),
        }

    def _api_table(self) -> dict[str, Any]:
        port = self._ports()[API_NAME]
        files = self.stack.credentials(Role.API, API_NAME)
        # The API hears sites, too.
        return {"port": port, "url": self.api_url, **self.table(files), "ca": files.clients}

    @property
    def _token_key(self) -> Path:
        return self.data_dir / "access" / "token.json"

    @property
    def _jwks_file(self) -> Path:
        return self._token_key.with_name(JWKS_NAME)

    @property
    def _inbox(self) -> Path:
        return self.data_dir / "access" / "inbox"

    def _access_table(self) -> dict[str, Any]:
        """Return whose tokens the API takes: those of this deployment; nobody else needs a certificate to show one."""
        return {
            "issuer": self.genesis.url,
            "jwks_file": self._jwks_file,
            "require_certificate": False,
            "inbox": self._inbox,
        }

    def _write_operator_settings(self) -> None:
        """Settings with which a person on this machine runs registrar, trace, verify and the like."""
        write_settings(
            self.settings_file,
            {
                **self._common(),
                # Traces and audits of the store are work of the platform.
                **self._store(Role.PLATFORM, OPERATOR_NAME),
                **self._assess_plan(),
                # Sites that are approved and certificates that are issued beside the stack get the same.
                "quotas": self._quotas.model_dump(exclude_unset=True),
                "kafka": self.kafka_table(Role.REGISTRAR, OPERATOR_NAME),
                "redis": self._redis(Role.REGISTRAR, OPERATOR_NAME),
                "access": {
                    "issuer": self.genesis.url,
                    "jwks_file": self._jwks_file,
                    "inbox": self._inbox,
                },
                "api": {
                    "url": self.api_url,
                    **self.table(self.stack.credentials(Role.REGISTRAR, OPERATOR_NAME)),
                },
            },
        )

        if self.has_postgres:
            section = self.stack.database_service(Role.ANALYST, OPERATOR_NAME)
            write_private(self.data_dir / SERVICE_NAME, section.encode())

    def _settings(self, program: Program) -> Path:
        return write_settings(
            self.data_dir / "settings" / f"{program.name}.toml",
            {
                **self._common(),
                "kafka": self.kafka_table(program.role, program.name),
                "worker": {"metrics_port": program.port} if not program.is_https else {},
                "api": self._api_table() if program.is_https else {},
                "access": self._access_table() if program.is_https else {},
                **program.settings,
            },
        )

    def _run(self, program: Program, settings: Path) -> None:
        probe = (
            partial(is_open, program.port)
            if program.is_https
            else partial(is_healthy, self.data_dir, program.name, program.port)
        )
        argv = self.python("pipeline.apps.cli", "--config", str(settings), *program.command)
        self.stack.run(program.name, argv, probe=probe, is_awaited=False)

    def _run_prometheus(self) -> None:
        port = self._ports()[PROMETHEUS_NAME]
        place = prometheus.PrometheusPlace(prometheus.find_program(), self.data_dir / PROMETHEUS_NAME, port)
        prometheus.prepare(place, self.targets(), self.genesis.origin, scrape_ms=_SCRAPE_MS)
        self.stack.run(PROMETHEUS_NAME, prometheus.command(place), probe=partial(prometheus.is_ready, place))

    def python(self, module: str, *arguments: str) -> tuple[str, ...]:
        """Return the arguments that run one of our modules with this interpreter."""
        return (sys.executable, "-m", module, *arguments)
