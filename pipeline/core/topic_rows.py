"""Records of our topics as rows that people and programs read: decoded by the schemas that the topic carries.

Pure and total: every value gives rows or says why not. Bytes are in hex, site identifiers as addresses; whole
numbers stay whole. Nothing is verified here and nothing decrypted: what a packet seals stays sealed.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pipeline.core import avro
from pipeline.core.names import SITE_ID_BYTES, site_id_text
from pipeline.core.topics import Topics
from schemas import Schema, schema

SCHEMA_FIELD: Final = "schema"
PROBLEM_FIELD: Final = "problem"
VALUE_FIELD: Final = "value"
_SITE_ID: Final = "site_id"
_OBSERVATIONS: Final = "observations"
Row = dict[str, Any]


def topic_schemas(topics: Topics) -> Mapping[str, tuple[Schema, ...]]:
    """Return the schemas that each topic carries; no other id is accepted there."""
    names = {
        topics.packets: ("Packet",),
        topics.chain: ("Packet", "Control", "Tick"),
        topics.blocks: ("CertifiedBlock",),
        topics.rejected: ("Rejection",),
        topics.cosignatures: ("Cosignature",),
        topics.sites: ("SiteRegistration",),
        topics.observations: ("Observations",),
        topics.assessments: ("Assessment",),
    }
    return {topic: tuple(map(schema, found)) for topic, found in names.items()}


def rows_of(schemas: Iterable[Schema], value: bytes | None) -> list[Row]:
    """Return the rows of a record's value: one, but for observations one for each, with its packet's fields.

    What does not decode gives one row with ``problem`` and the bytes.
    """
    if value is None:
        return [{SCHEMA_FIELD: None, PROBLEM_FIELD: "no value"}]
    schema_id = avro.frame_id(value)
    found = next((item for item in schemas if item.id == schema_id), None)
    if found is None:
        problem = (
            "no schema id in front" if schema_id is None else f"schema id {schema_id} is not of this topic"
        )
        return [_undecoded(value, problem)]
    fields = avro.decode(found, value[avro.FRAME_BYTES :])
    if fields is None:
        return [_undecoded(value, f"not the encoding of any {found.name}")]
    return [{SCHEMA_FIELD: found.name, **row} for row in _flat(_readable(fields))]


def field_names(schemas: Iterable[Schema]) -> frozenset[str]:
    """Return the names of fields in the rows of a topic, inner ones with dots."""
    found = {SCHEMA_FIELD, PROBLEM_FIELD, VALUE_FIELD}
    for item in schemas:
        found |= set(_names(item.parsed, item.parsed["__named_schemas"], ""))
    return frozenset(found)


def _names(node: Any, named: Mapping[str, Any], prefix: str) -> Iterable[str]:
    definition = named.get(node, node) if isinstance(node, str) else node
    for inner in definition.get("fields", ()) if isinstance(definition, Mapping) else ():
        kind = inner["type"]
        if inner["name"] == _OBSERVATIONS:
            yield from _names(kind["items"], named, prefix)
            continue
        path = f"{prefix}{inner['name']}"
        yield path
        yield from _names(kind, named, f"{path}.")


def _flat(fields: Row) -> list[Row]:
    """Give each observation a row of its own, before it the fields of its packet."""
    rows = fields.pop(_OBSERVATIONS, None)
    return [fields] if rows is None else [{**fields, **row} for row in rows]


def _undecoded(value: bytes, problem: str) -> Row:
    return {SCHEMA_FIELD: None, PROBLEM_FIELD: problem, VALUE_FIELD: value.hex()}


def _readable(value: Any, name: str = "") -> Any:
    if isinstance(value, bytes):
        return site_id_text(value) if name == _SITE_ID and len(value) == SITE_ID_BYTES else value.hex()
    if isinstance(value, dict):
        return {key: _readable(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return value
