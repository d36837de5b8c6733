"""The chain of the golden vectors, as the code under test reads it."""

import json
from typing import Any, Final

from pipeline.core.genesis import parse_genesis
from tests.support.chain import MemoryTopic
from tests.vectors.core_world import FOLDER


def golden(name: str) -> Any:
    """Return a stored vector file."""
    return json.loads((FOLDER / f"{name}.json").read_text())


GENESIS: Final = parse_genesis(golden("core_genesis")["file"].encode())


def blocks_topic() -> MemoryTopic:
    """Return the blocks topic with the two golden blocks."""
    values: list[bytes | None] = [bytes.fromhex(record["value"]) for record in golden("message_block")]
    return MemoryTopic(values=values)
