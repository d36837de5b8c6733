"""Avro schemas with their fixed ids. Owns the texts; encodes and decodes nothing.

Each schema lives in ``avro/<Name>.avsc`` and may name types of the other files;
``text`` is self-contained, so that any Avro tool can use it. A published schema never
changes in place: a change gets a new name and a new id.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastavro import parse_schema

_NAMESPACE = "bkdms.v1."


@dataclass(frozen=True, slots=True)
class Schema:
    """One published schema: its name, fixed id, self-contained JSON text and parsed form."""

    name: str
    id: int
    text: str
    parsed: Any


def schema_folder() -> Path:
    """Return the folder of the schema files, for tools that read them by themselves."""
    return Path(str(files(__name__).joinpath("avro")))


def _definition(name: str) -> dict[str, Any]:
    source = files(__name__).joinpath("avro", f"{name}.avsc").read_text("utf-8")
    definition: dict[str, Any] = json.loads(source)
    return definition


def _known(name: str) -> bool:
    return files(__name__).joinpath("avro", f"{name}.avsc").is_file()


def _inline(node: Any, seen: set[str]) -> Any:
    """Put the definition of each named type where the name first occurs."""
    match node:
        case str() if node in seen:
            return _NAMESPACE + node
        case str() if _known(node):
            seen.add(node)
            return _inline(_definition(node), seen)
        case {"type": "record", "fields": list(fields)}:
            return {**node, "fields": [{**field, "type": _inline(field["type"], seen)} for field in fields]}
        case {"type": "array", "items": items}:
            return {"type": "array", "items": _inline(items, seen)}
        case _:
            return node


@cache
def ids() -> dict[str, int]:
    """Return the fixed id of every published schema by name."""
    table: dict[str, int] = json.loads(files(__name__).joinpath("ids.json").read_text("utf-8"))
    return table


@cache
def schema(name: str) -> Schema:
    """Return the published schema of that name.

    Raises:
        KeyError: no schema of that name is published.
    """
    definition = _inline(name, set())
    return Schema(name, ids()[name], json.dumps(definition), parse_schema(definition))


@cache
def schema_by_id(schema_id: int) -> Schema | None:
    """Return the published schema with that id, or None."""
    names = [name for name, number in ids().items() if number == schema_id]
    return schema(names[0]) if names else None
