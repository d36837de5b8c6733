"""Tasks end though a cancellation of theirs gets lost."""

import asyncio

import pytest

from pipeline.services import ending
from pipeline.services.ending import end


async def losing(count: int) -> None:
    """Lose the first cancellations, as clients do now and then."""
    for _ in range(count):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue
    await asyncio.sleep(3600)


async def started(count: int) -> asyncio.Task[None]:
    task = asyncio.create_task(losing(count))
    await asyncio.sleep(0)
    return task


async def test_tasks_that_lose_cancellations_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_AGAIN_S", 0.01)
    tasks = [await started(count) for count in (0, 1, 3)]
    await end(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_waiting_ends_with_the_time_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_AGAIN_S", 0.01)
    task = await started(1000)
    await end([task], timeout_s=0.05)
    assert not task.done()
    for _ in range(1001):
        task.cancel()
        await asyncio.sleep(0)


async def test_what_a_task_ended_with_stays_in_it() -> None:
    async def failing() -> None:
        raise ValueError("stays")

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await end([task])
    with pytest.raises(ValueError, match="stays"):
        task.result()
