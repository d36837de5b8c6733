"""Settings of all programs: from ``bkdms.toml`` and ``BKDMS_…``, checked once, frozen. Secrets only as files."""

from pipeline.config.access import AccessSettings
from pipeline.config.load import load_settings, required
from pipeline.config.sections import (
    ApiSettings,
    AssessSettings,
    ExportSettings,
    KafkaSettings,
    KeysSettings,
    NodeSettings,
    PlatformSettings,
    RedisSettings,
    RegistrarSettings,
    SiteSettings,
    StoreSettings,
    WorkerSettings,
)
from pipeline.config.settings import Settings, default_data_dir, default_secrets_dir

__all__ = [
    "AccessSettings",
    "ApiSettings",
    "AssessSettings",
    "ExportSettings",
    "KafkaSettings",
    "KeysSettings",
    "NodeSettings",
    "PlatformSettings",
    "RedisSettings",
    "RegistrarSettings",
    "Settings",
    "SiteSettings",
    "StoreSettings",
    "WorkerSettings",
    "default_data_dir",
    "default_secrets_dir",
    "load_settings",
    "required",
]
