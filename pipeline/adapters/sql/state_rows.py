"""Chain state as rows: one row per registry entry, position, grant and offer list, office, change of terms; the head.

Values are compact JSON, one text per value, so that equal states have equal rows. What is not in the rows
(roots, first contract, policy and registrars) comes from the genesis file. One chain per database.
"""

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, Text, select

from pipeline.adapters.sql.engine import upsert
from pipeline.core.control import Action, BackfillGrant, NewContract, Nodes, decode_body, encode_body
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.genesis import Genesis
from pipeline.core.keys import Algorithm, PublicKey, Use
from pipeline.core.merkle import Frontier
from pipeline.core.names import SiteName
from pipeline.core.sealing import Suite
from pipeline.core.state import ChainState, Changes, Head, Offer, Office, Position, Site, Tables, Terms

STATE: Final = MetaData()
_ONE: Final = 1

chain_state = Table(
    "chain_state",
    STATE,
    Column("part", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
chain_identity = Table(
    "chain_identity",
    STATE,
    Column("one", Integer, primary_key=True),
    Column("chain", LargeBinary, nullable=False),
)
chain_head = Table(
    "chain_head",
    STATE,
    Column("one", Integer, primary_key=True),
    Column("height", BigInteger, nullable=False),
    Column("block_hash", LargeBinary, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("incarnation", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("period_start", BigInteger, nullable=False),
    Column("part", BigInteger, nullable=False),
    Column("chain_bytes", BigInteger, nullable=False),
)


class _Codec(NamedTuple):
    """How one table of ``Tables`` becomes rows: its keys and values to and from JSON values."""

    key: Callable[[Any], Any]
    read_key: Callable[[Any], Any]
    value: Callable[[Any], Any]
    read_value: Callable[[Any], Any]


def create_state_tables(connection: Connection, genesis: Genesis) -> None:
    """Create the tables where they are missing and bind the database to the chain.

    Raises:
        ConfigError: the database holds another chain's state (code ``other_chain``).
    """
    STATE.create_all(connection)
    bind_chain(connection, genesis)


def bind_chain(connection: Connection, genesis: Genesis) -> None:
    """Bind a database whose tables are there to the chain.

    Raises:
        ConfigError: the database holds another chain's state (code ``other_chain``).
    """
    bound = connection.execute(select(chain_identity.c.chain)).scalar()
    if bound is None:
        connection.execute(chain_identity.insert(), identity_row(genesis))
    elif bound != genesis.chain:
        raise ConfigError(
            f"the database holds chain {bytes(bound).hex()[:16]}, the genesis file names"
            f" {genesis.chain.hex()[:16]}; name another folder or the right genesis file",
            code="other_chain",
        )


def save_changes(connection: Connection, changes: Changes) -> None:
    """Store what a block (or several, in order) changed; the caller's transaction makes it count."""
    upsert(connection, chain_state, table_rows(changes.tables))
    upsert(connection, chain_head, [head_row(changes.head)])


def table_rows(tables: Tables) -> list[dict[str, Any]]:
    """Return the rows of ``chain_state`` for these tables."""
    return [
        {"part": part, "key": _dump(codec.key(key)), "value": _dump(codec.value(value))}
        for part, codec in _CODECS.items()
        for key, value in getattr(tables, part).items()
    ]


def head_row(head: Head) -> dict[str, Any]:
    """Return the row of ``chain_head`` for this head."""
    row = {name: getattr(head, name) for name in Head.__slots__}
    return row | {"one": _ONE, "frontier": head.frontier.encode()}


def identity_row(genesis: Genesis) -> dict[str, Any]:
    """Return the row of ``chain_identity`` for this chain."""
    return {"one": _ONE, "chain": genesis.chain}


def load_state(connection: Connection, genesis: Genesis) -> ChainState | None:
    """Return the stored state, or None where no block was stored yet.

    Raises:
        IntegrityError: a row can't be read (code ``state_rows``); rebuild the database from the blocks.
    """
    row = connection.execute(select(chain_head)).mappings().first()
    if row is None:
        return None
    try:
        tables = Tables()
        for part, key, value in connection.execute(
            select(chain_state.c.part, chain_state.c.key, chain_state.c.value)
        ):
            codec = _CODECS[part]
            getattr(tables, part)[codec.read_key(json.loads(key))] = codec.read_value(json.loads(value))
        head = _read_head({name: value for name, value in row.items() if name != "one"})
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise IntegrityError(f"stored chain state can't be read: {error}", code="state_rows") from error
    return ChainState(genesis, tables, head)


def clear_state(connection: Connection) -> None:
    """Forget the stored state, so that it is built again from block 1."""
    connection.execute(chain_state.delete())
    connection.execute(chain_head.delete())


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _read_head(row: dict[str, Any]) -> Head:
    return Head(**(row | {"frontier": Frontier.decode(row["frontier"])}))


def _name(name: SiteName) -> list[Any]:
    return [name.country, name.city, name.site_id.hex()]


def _read_name(value: list[str]) -> SiteName:
    country, city, site_id = value
    return SiteName(country, city, bytes.fromhex(site_id))


def _key(key: PublicKey) -> list[Any]:
    return [int(key.use), int(key.algorithm), key.raw.hex()]


def _read_key(value: list[Any]) -> PublicKey:
    use, algorithm, raw = value
    return PublicKey(Use(use), Algorithm(algorithm), bytes.fromhex(raw))


def _site(site: Site) -> list[Any]:
    return [
        _name(site.name),
        _key(site.key),
        [int(suite) for suite in site.suites],
        list(site.indicators),
        [item.hex() for item in site.equipment],
        site.active,
        site.suspended,
        None if site.previous is None else _key(site.previous),
        site.previous_until_ms,
    ]


def _read_site(value: list[Any]) -> Site:
    name, key, suites, indicators, equipment, active, *later = value
    suspended, previous, until = later or (False, None, 0)  # rows of a release before have none
    return Site(
        _read_name(name),
        _read_key(key),
        tuple(map(Suite, suites)),
        tuple(indicators),
        tuple(map(bytes.fromhex, equipment)),
        active,
        suspended,
        None if previous is None else _read_key(previous),
        until,
    )


def _position(position: Position) -> list[Any]:
    return [position.sequence, position.last_id.hex()]


def _read_position(value: list[Any]) -> Position:
    sequence, last_id = value
    return Position(sequence, bytes.fromhex(last_id))


def _grants(grants: tuple[BackfillGrant, ...]) -> list[Any]:
    return [[_name(g.site), g.collected_from, g.collected_to, g.expires_ms] for g in grants]


def _read_grants(value: list[Any]) -> tuple[BackfillGrant, ...]:
    return tuple(
        BackfillGrant(_read_name(name), first, last, expires) for name, first, last, expires in value
    )


def _offers(offers: tuple[Offer, ...]) -> list[Any]:
    return [[offer.epoch, _key(offer.key), offer.valid_to] for offer in offers]


def _read_offers(value: list[Any]) -> tuple[Offer, ...]:
    return tuple(Offer(epoch, _read_key(key), valid_to) for epoch, key, valid_to in value)


def _keys(keys: tuple[PublicKey, ...]) -> list[Any]:
    return [_key(key) for key in keys]


def _read_keys(value: list[Any]) -> tuple[PublicKey, ...]:
    return tuple(map(_read_key, value))


def _terms(terms: Terms) -> list[Any]:
    bodies = (Nodes(terms.policy), NewContract(terms.contract))
    return [*(encode_body(body).hex() for body in bodies), terms.rules_version]


def _read_terms(value: list[Any]) -> Terms:
    nodes, contract = (
        decode_body(action, bytes.fromhex(data)) for action, data in zip(_TERMS, value[:2], strict=True)
    )
    if not isinstance(nodes, Nodes) or not isinstance(contract, NewContract):
        raise ValueError("terms")
    return Terms(nodes.policy, contract.contract, int(value[2]))


_TERMS: Final = (Action.NODES, Action.CONTRACT)
_CODECS: Final = {
    "sites": _Codec(_name, _read_name, _site, _read_site),
    "positions": _Codec(_name, _read_name, _position, _read_position),
    "grants": _Codec(_name, _read_name, _grants, _read_grants),
    "offers": _Codec(_name, _read_name, _offers, _read_offers),
    "issuers": _Codec(bytes.hex, bytes.fromhex, _position, _read_position),
    "offices": _Codec(str, Office, _keys, _read_keys),
    "terms": _Codec(int, int, _terms, _read_terms),
}
