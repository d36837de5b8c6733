"""Root keys' decisions put together from the settings: what is in force, proposals as files, Kafka."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from pipeline.adapters.kafka import IdempotentProducer, KafkaPartitionReader
from pipeline.apps.authority import load_genesis
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.config import Settings
from pipeline.core.avro import require_compiled_reader
from pipeline.core.control import NewContract, Nodes, Reanchor, Registrars, RootBody
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import (
    Genesis,
    contract_fields,
    key_fields,
    policy_fields,
    read_contract,
    read_key,
    read_policy,
)
from pipeline.core.keys import PublicKey, Use
from pipeline.core.proposal import MAX_PROPOSAL_BYTES, Proposal, parse_proposal
from pipeline.core.state import ChainState
from pipeline.services.registry_view import RegistryView
from pipeline.services.root_records import RootDesk

_MAX_DOCUMENT_BYTES: Final = 1 << 20


@asynccontextmanager
async def open_root_desk(settings: Settings) -> AsyncIterator[RootDesk]:
    """Open the desk, and leave Kafka at the end.

    Raises:
        ConfigError: a setting or file is missing or wrong.
    """
    require_compiled_reader()
    genesis = load_genesis(settings.genesis)
    connection = kafka_connection(settings, "root")
    blocks = KafkaPartitionReader(connection, settings.topics.blocks, genesis.partition)
    producer = IdempotentProducer(connection)
    try:
        yield RootDesk(genesis, RegistryView(genesis, blocks), producer)
    finally:
        await producer.close()
        await blocks.close()


def body_fields(body: RootBody) -> dict[str, Any]:
    """Return what a record of root keys says, as JSON in the forms of the genesis file."""
    match body:
        case Registrars():
            return {"registrars": [_named(key) for key in body.keys]}
        case Nodes():
            return policy_fields(body.policy)
        case NewContract():
            return {"contract": contract_fields(body.contract)}
        case Reanchor():
            return {"height": body.height, "incarnation": body.incarnation}
        case _:
            return {"rules_version": body.version}


def in_force(state: ChainState) -> dict[str, Any]:
    """Return what is in force after the last block, in the forms of the genesis file."""
    genesis = state.genesis
    return {
        "height": state.head.height,
        "roots": {
            "threshold": genesis.root_threshold,
            "keys": [_named(key) | {"number": i} for i, key in enumerate(genesis.root_keys, 1)],
        },
        "registrars": [_named(key) for key in state.registrars.values()],
        **policy_fields(state.policy),
        "contract": contract_fields(state.contract),
        "contract_hash": state.contract.hash.hex(),
        "rules_version": state.rules_version,
    }


def read_body(path: Path, what: type[Nodes | NewContract]) -> Nodes | NewContract:
    """Read nodes or contract from a file in the form that ``in_force`` and the genesis file have; the rest is ignored.

    Raises:
        ConfigError: they are missing or wrong.
    """
    try:
        document = json.loads(_content(path, _MAX_DOCUMENT_BYTES))
        if what is Nodes:
            return Nodes(read_policy(document))
        return NewContract(read_contract(document["contract"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        wanted = "nodes and quorum" if what is Nodes else "a contract"
        raise ConfigError(
            f"{path} does not hold {wanted} ({type(error).__name__}: {error}); change what `bkdms root show "
            "--json` prints"
        ) from None


def read_proposal(path: Path) -> Proposal:
    """Read a proposal's file.

    Raises:
        ConfigError: it is missing or none.
    """
    found = parse_proposal(_content(path, MAX_PROPOSAL_BYTES))
    if isinstance(found, str):
        raise ConfigError(f"{path}: {found}", code="config.proposal")
    return found


def key_text(key: PublicKey) -> str:
    """Return a public key as people pass it on: ALGORITHM:HEX."""
    return f"{key.algorithm.name.lower()}:{key.raw.hex()}"


def parse_key(text: str, use: Use) -> PublicKey:
    """Read what ``key_text`` writes.

    Raises:
        ConfigError: it is no key that signs.
    """
    algorithm, _, raw = text.partition(":")
    try:
        return read_key({"algorithm": algorithm, "public": raw}, use)
    except (ValueError, KeyError):
        raise ConfigError(
            f"{text[:40]!r} is no public key; write it as `bkdms root new-key` prints it, ed25519:HEX"
        ) from None


def chosen_root(genesis: Genesis, number: int) -> PublicKey:
    """Return a root key by its number.

    Raises:
        ConfigError: there is none of that number.
    """
    if not 1 <= number <= len(genesis.root_keys):
        raise ConfigError(f"there is no root key {number}: the genesis file names {len(genesis.root_keys)}")
    return genesis.root_keys[number - 1]


def new_registrars(state: ChainState, add: list[str], remove: list[str]) -> Registrars:
    """Return the registrars in force with some more and without some, these by the first digits of a fingerprint.

    Raises:
        ConfigError: a key is none, one to remove is not there or not the only one, or nobody is left.
    """
    keys = dict(state.registrars)
    for start in remove:
        found = [name for name in keys if name.hex().startswith(start.lower())]
        if len(found) != 1 or not start:
            raise ConfigError(f"{start!r} names {len(found)} registrars; `bkdms root show` lists them")
        del keys[found[0]]
    for key in (parse_key(text, Use.REGISTRAR) for text in add):
        keys[key.fingerprint] = key
    if not keys:
        raise ConfigError("nobody would be registrar any more; --add the key of one")
    return Registrars(tuple(keys.values()))


def _named(key: PublicKey) -> dict[str, Any]:
    return key_fields(key) | {"fingerprint": key.fingerprint.hex()}


def _content(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(data) > limit:
        raise ConfigError(f"{path} has more than {limit} bytes")
    return data
