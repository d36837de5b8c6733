"""The registrar's desk put together from the settings: key, journal, Kafka."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pipeline.adapters.access_book_file import AccessBookFile
from pipeline.adapters.journal_file import JournalFile
from pipeline.adapters.kafka import IdempotentProducer, KafkaPartitionReader
from pipeline.adapters.keystore import new_sealing_key
from pipeline.adapters.vault import KeyVault
from pipeline.apps.authority import load_genesis
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.keys import key_files, key_vault
from pipeline.config import Settings
from pipeline.core.genesis import Genesis
from pipeline.core.keys import Algorithm, PublicKey, Use
from pipeline.core.signing import Signer
from pipeline.services.registrar import RegistrarDesk
from pipeline.services.registration import MakeKey
from pipeline.services.registry_view import RegistryView


@dataclass(frozen=True, slots=True)
class OpenDesk:
    """A desk at work: the chain, the registrar's signer, where new platform keys go, the book of access."""

    genesis: Genesis
    signer: Signer
    desk: RegistrarDesk
    make_key: MakeKey
    book: AccessBookFile


def key_maker(keys: KeyVault) -> MakeKey:
    """Return what makes platform keys and keeps their private halves in the vault."""

    def make(algorithm: Algorithm) -> PublicKey:
        key = new_sealing_key(algorithm)
        keys.add(key)
        return key.public

    return make


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[OpenDesk]:
    """Open the registrar's desk, and leave Kafka and the journal at the end.

    Raises:
        ConfigError: a setting or file is missing or wrong.
        TransientError: another registrar command is at work.
    """
    genesis = load_genesis(settings.genesis)
    signer = key_files(settings).signer(settings.registrar.key, Use.REGISTRAR)
    connection = kafka_connection(settings, "registrar")
    blocks = KafkaPartitionReader(connection, settings.topics.blocks, genesis.partition)
    producer = IdempotentProducer(connection)
    with JournalFile(settings.registrar.key, genesis.chain) as journal:
        desk = RegistrarDesk(signer, genesis, RegistryView(genesis, blocks), journal, producer)
        try:
            book = AccessBookFile(settings.registrar.key, genesis.chain)
            yield OpenDesk(genesis, signer, desk, key_maker(key_vault(settings)), book)
        finally:
            await producer.close()
            await blocks.close()
