"""``bkdms ledger rebuild store``: the platform's store again from the blocks topic, in whichever database it is."""

from dataclasses import dataclass

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.sql.rebuilt_schema import RebuiltSchema
from pipeline.adapters.sql.rebuilt_store import RebuiltStoreFile
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.adapters.vault import KeyVault
from pipeline.apps.keys import key_vault
from pipeline.apps.ledger_rebuild import Progress, Rebuild
from pipeline.apps.store_database import grant_rights, store_file
from pipeline.config import Settings
from pipeline.core.errors import ConfigError
from pipeline.services.platform import PlatformSink


@dataclass(frozen=True, slots=True)
class StoreRebuilt:
    """What the new store holds: last height, and how many packets opened before and don't now."""

    height: int
    lost: int


async def rebuild_store(settings: Settings, progress: Progress, *, lose_values: bool = False) -> StoreRebuilt:
    """Build the platform's store anew beside the old one and put it in its place; the old one is read meanwhile.

    Raises:
        ConfigError: the platform worker runs (codes ``folder_in_use``, ``store_in_use``), others' objects depend on the
            tables (code ``store_depended_on``), or keys are missing for packets that the old store holds in clear,
            unless ``lose_values`` (code ``keys_missing``).
        IntegrityError: the topic is damaged.
        TransientError: Kafka or the database are away, the disk refuses, or another program reads the old store.
    """
    rebuild = Rebuild(settings, progress)
    path = store_file(settings.store.url)
    draft = RebuiltSchema(settings.store.url) if path is None else RebuiltStoreFile(path)
    try:
        height = await _fill(rebuild, draft, key_vault(settings))
        lost = draft.lost()
        if lost and not lose_values:
            raise ConfigError(
                f"{lost} packets that the store holds in clear can't be opened any more: put their keys back into "
                f"{settings.platform.keys_dir}, or give --lose-values; the store was left as it is",
                code="keys_missing",
            )
        draft.finish()
        return StoreRebuilt(height, lost)
    finally:
        draft.close()


async def _fill(rebuild: Rebuild, draft: RebuiltSchema | RebuiltStoreFile, keys: KeyVault) -> int:
    """Fill the draft from the topic; what the old store knew as published counts as published."""
    store = SqlPlatformStore(draft.engine, rebuild.genesis, grant_rights)
    try:
        height = await rebuild.fill(PlatformSink(store, keys.get, SystemClock()))
        store.mark_published(*min(draft.published(), (height + 1, 0)))
    finally:
        store.close()
    return height
