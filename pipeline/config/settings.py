"""The whole of the settings: top-level keys, the tables, and the defaults that follow from the data folder."""

import os
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ops.tls.holders import PKI_FOLDER
from ops.tls.revoked import REVOKED
from pipeline.config.access import AccessSettings
from pipeline.config.naming import ENV_DELIMITER, ENV_PREFIX, required
from pipeline.config.pki import PkiSettings
from pipeline.config.quotas import QuotaSettings
from pipeline.config.sections import (
    ApiSettings,
    AssessSettings,
    ExportSettings,
    FilePath,
    KafkaSettings,
    KeysSettings,
    NodeSettings,
    ParquetSettings,
    PlatformSettings,
    RedisSettings,
    RegistrarSettings,
    SiteSettings,
    StoreSettings,
    TracesSettings,
    WorkerSettings,
)
from pipeline.config.transport import TransportSettings
from pipeline.core.topics import Topics


def default_data_dir() -> Path:
    """The data folder without a setting: ``$XDG_DATA_HOME/bkdms``, else ``~/.local/share/bkdms``."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "bkdms"


def default_secrets_dir() -> Path:
    """The folder of what opens our keys, apart from the data: ``$XDG_CONFIG_HOME/bkdms``, else ``~/.config/bkdms``."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "bkdms"


class Settings(BaseSettings):
    """Settings of one program; the environment goes before the file. Made by ``load_settings``."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_DELIMITER, frozen=True, extra="forbid"
    )

    data_dir: FilePath = Field(default_factory=default_data_dir, description="folder of everything we keep")
    topic_prefix: str = Field("", description="start of our Kafka topics' names")
    genesis: FilePath = Field(description="the chain's genesis file")
    keys: KeysSettings
    pki: PkiSettings
    quotas: QuotaSettings
    kafka: KafkaSettings
    redis: RedisSettings
    store: StoreSettings
    api: ApiSettings
    access: AccessSettings
    node: NodeSettings
    platform: PlatformSettings
    assess: AssessSettings
    export: ExportSettings
    parquet: ParquetSettings
    site: SiteSettings
    registrar: RegistrarSettings
    traces: TracesSettings
    worker: WorkerSettings
    transport: TransportSettings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then what the file says (given to the constructor); nothing else."""
        return env_settings, init_settings

    @model_validator(mode="before")
    @classmethod
    def _place_in_data_dir(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Give every path that is not set its usual place in the data folder."""
        given_dir = values.get("data_dir")
        data_dir = Path(given_dir).expanduser() if isinstance(given_dir, str | Path) else default_data_dir()
        secrets_dir = default_secrets_dir()
        places: dict[str, dict[str, Any]] = {
            "keys": {
                "passphrase_file": secrets_dir / "passphrase",
                "generations_dir": secrets_dir / "generations",
            },
            "kafka": {},
            "redis": {},
            "api": {},
            "node": {},
            "worker": {},
            "assess": {},
            "parquet": {},
            "traces": {},
            "transport": {},
            "quotas": {},
            "store": {"url": f"sqlite:///{data_dir / 'platform' / 'store.sqlite'}"},
            "access": {
                "token_key": data_dir / "access" / "token.json",
                "log": data_dir / "access-log",
                "log_key": data_dir / "access" / "log.json",
            },
            "pki": {"revoked": data_dir / PKI_FOLDER / REVOKED},
            "platform": {"keys_dir": data_dir / "platform" / "keys"},
            "export": {"key": data_dir / "chain" / "keys" / "log.json"},
            "registrar": {"key": data_dir / "chain" / "keys" / "registrar.json"},
            "site": {
                "key": data_dir / "site" / "key.json",
                "access": data_dir / "site" / "access.json",
                "spool": data_dir / "site" / "spool.sqlite",
                "spool_key": data_dir / "site" / "keys" / "spool.key",
                "reading_keys": data_dir / "site" / "reading",
            },
        }
        placed = {"genesis": data_dir / "chain" / "genesis.json", **values}
        for section, defaults in places.items():
            given = placed.get(section, {})
            placed[section] = {**defaults, **given} if isinstance(given, dict) else given
        return placed

    @field_validator("topic_prefix")
    @classmethod
    def _is_prefix(cls, value: str) -> str:
        Topics(value)
        return value

    @property
    def topics(self) -> Topics:
        """The eight topics."""
        return Topics(self.topic_prefix)

    @property
    def node_name(self) -> str:
        """Name of this accounting node.

        Raises:
            ConfigError: it is not set.
        """
        return required(self.node.name, "node.name")

    @property
    def node_key(self) -> Path:
        """Key file of this accounting node: as set, else by its name beside the genesis file's keys."""
        return self.node.key or self.data_dir / "chain" / "keys" / f"{self.node_name}.json"

    @property
    def node_mldsa44_key(self) -> Path:
        """File of this node's ML-DSA-44 key: as set, else beside its other key."""
        return self.node.mldsa44_key or self.node_key.with_name(f"{self.node_key.stem}.mldsa44.json")

    @property
    def node_state_dir(self) -> Path:
        """State folder of this accounting node: as set, else by its name in the data folder."""
        return self.node.state_dir or self.data_dir / "nodes" / self.node_name
