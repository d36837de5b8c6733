"""A loop that is made when it is opened waits for what is away, as every later step does."""

import pytest

from pipeline.apps.runtime import DeferredLoop
from pipeline.core.errors import TransientError


class NotingLoop:
    """Notes what is done with it."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    @property
    def is_ready(self) -> bool:
        return "open" in self._notes

    async def open(self) -> None:
        self._notes.append("open")

    async def step(self) -> None:
        self._notes.append("step")

    async def close(self) -> None:
        self._notes.append("close")


async def test_what_is_away_when_it_is_made_is_asked_for_again() -> None:
    notes: list[str] = []

    def make() -> NotingLoop:
        notes.append("made")
        if notes == ["made"]:
            raise TransientError("the disk refuses", code="disk")
        return NotingLoop(notes)

    loop = DeferredLoop(make)
    with pytest.raises(TransientError):
        await loop.open()
    assert not loop.is_ready
    for _ in range(2):
        await loop.open()
    await loop.step()
    await loop.close()
    assert notes == ["made", "made", "open", "open", "step", "close"]


async def test_one_that_was_never_made_closes_in_peace() -> None:
    await DeferredLoop(lambda: NotingLoop([])).close()
