"""Where each value of an Avro encoding is: walks the bytes by the schema and stops where they make no sense."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from schemas import Schema

Path = tuple[str | int, ...]
_MAX_VARINT_BYTES = 10


class Place(NamedTuple):
    """One value: its path, the bytes [start, end) that hold it, and the value; None where they make no sense."""

    path: Path
    start: int
    end: int
    value: Any


class _Broken(Exception):  # noqa: N818  ends a walk, never leaves this module
    pass


@cache
def _definition(text: str) -> tuple[Any, dict[str, Any]]:
    names: dict[str, Any] = {}

    def collect(node: Any) -> None:
        match node:
            case {"name": str(name), "type": "record" | "fixed"}:
                names[f"{node.get('namespace', 'bkdms.v1')}.{name}"] = node
                for field in node.get("fields", ()):
                    collect(field["type"])
            case {"type": "array", "items": items}:
                collect(items)

    root = json.loads(text)
    collect(root)
    return root, names


def places(schema: Schema, data: bytes) -> Iterator[Place]:
    """Yield the places of all values in the order of their bytes; the last one has no value where the walk stopped.

    Arrays yield a place for their count, with the array's own path. Total.
    """
    root, names = _definition(schema.text)
    walk = _Walk(data, names)
    try:
        yield from walk.node(root, ())
    except _Broken:
        yield Place(walk.path, walk.start, len(data), None)
        return
    if walk.at < len(data):
        yield Place(("after the end",), walk.at, len(data), None)


class _Walk:
    def __init__(self, data: bytes, names: dict[str, Any]) -> None:
        self._data = data
        self._names = names
        self.at = 0
        self.start = 0
        self.path: Path = ()

    def node(self, node: Any, path: Path) -> Iterator[Place]:
        self.path, self.start = path, self.at
        match node:
            case {"type": "record", "fields": list(fields)}:
                for field in fields:
                    yield from self.node(field["type"], (*path, field["name"]))
            case {"type": "array", "items": items}:
                yield from self._array(items, path)
            case {"type": "fixed", "size": int(size)}:
                yield self._place(self._take(size))
            case "long":
                yield self._place(self._long())
            case "bytes" | "string":
                yield self._place(self._take(self._long()))
            case str():
                yield from self.node(self._names[node], path)

    def _array(self, items: Any, path: Path) -> Iterator[Place]:
        count = self._long()
        yield self._place(count)
        if count < 0:
            raise _Broken
        for index in range(count):
            yield from self.node(items, (*path, index))
        self.path, self.start = (*path, "end"), self.at
        if count and self._long():
            raise _Broken

    def _place(self, value: Any) -> Place:
        return Place(self.path, self.start, self.at, value)

    def _take(self, size: int) -> bytes:
        if not 0 <= size <= len(self._data) - self.at:
            raise _Broken
        self.at += size
        return self._data[self.at - size : self.at]

    def _long(self) -> int:
        number = 0
        for index in range(_MAX_VARINT_BYTES):
            byte = self._take(1)[0]
            number |= (byte & 127) << (7 * index)
            if byte == 0 < index:  # over-long, which no writer of ours makes
                break
            if byte < 128:
                return (number >> 1) ^ -(number & 1)
        raise _Broken
