"""Putting an audit of the platform's store together: the database and the sealing keys of the settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from pipeline.adapters.sql.store_snapshot import SqlStoreSnapshot
from pipeline.apps.keys import key_vault
from pipeline.config import Settings
from pipeline.core.genesis import Genesis
from pipeline.services.store_audit import StoreAudit

_KEYS_HELD = 1024


@contextmanager
def store_audit(settings: Settings, genesis: Genesis) -> Iterator[StoreAudit]:
    """Open the store as it stands now for an audit; open it before asking where a blocks topic ends.

    Raises:
        ConfigError: there is no store under ``store.url`` (code ``no_store``).
        IntegrityError: a table is missing (code ``database_rows``).
        TransientError: the database is away.
    """
    snapshot = SqlStoreSnapshot(settings.store.url)
    try:
        keys = lru_cache(_KEYS_HELD)(key_vault(settings).get)
        yield StoreAudit(genesis, snapshot, keys)
    finally:
        snapshot.close()
