"""The assessment worker: what it stores and sends follows from the store alone, however often it fails or hears."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from pipeline.adapters.sql.engine import open_sqlite
from pipeline.core.assess.model import Kind
from pipeline.core.errors import ConflictError, TransientError
from pipeline.services.assess import worker as worker_module
from pipeline.services.assess.messages import announced_height
from tests.support.assessing import Assessing, plan_of, settle
from tests.support.chain import MemoryProducer
from tests.support.sql_faults import CrashError, crash_at


@pytest.fixture
def case(tmp_path: Path) -> Assessing:
    return Assessing(open_sqlite(tmp_path / "store.sqlite", durable=False))


async def test_what_is_sent_and_stored_is_what_the_core_finds_in_the_store(case: Assessing) -> None:
    await case.grow(0, 1, 30)
    await settle(case.worker())
    assert case.heard() == case.expected()
    assert len(case.rows()["assessments"]) == len(case.heard()) > 0
    assert {item.kind for item in case.heard().values()} >= {Kind.COMPLETENESS, Kind.VALIDITY, Kind.VALUE}
    assert case.rows()["assessments_unsent"] == []


async def test_growing_in_steps_gives_the_rows_that_growing_at_once_gives(
    case: Assessing, tmp_path: Path
) -> None:
    worker = case.worker()
    for hour in (0, 5, 1, 30, 0):
        await case.grow(hour)
        await settle(worker)
    other = Assessing(open_sqlite(tmp_path / "other.sqlite", durable=False))
    await other.grow(0, 5, 1, 30, 0)
    await settle(other.worker())
    assert case.rows() == other.rows()
    assert case.heard() == other.heard()


async def test_assessing_again_from_the_beginning_changes_nothing_and_sends_nothing(case: Assessing) -> None:
    await case.grow(0, 1)
    await settle(case.worker())
    before, count = case.rows(), len(case.sent.sent)
    with case.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE assess_position SET height = 0")
    await settle(case.worker())
    assert case.rows() == before
    assert len(case.sent.sent) == count


async def test_a_crash_between_any_two_statements_loses_and_leaves_nothing(
    case: Assessing, tmp_path: Path
) -> None:
    await case.grow(0, 1)
    calm = case.copied(tmp_path / "calm.sqlite")
    await settle(calm.worker())
    undisturbed, sent = calm.rows(), calm.heard()
    for step in range(1000):
        other = case.copied(tmp_path / f"{step}.sqlite")
        crashed = True
        with crash_at(other.engine, step):
            try:
                await settle(other.worker())
                crashed = False
            except CrashError:
                pass
        await settle(other.worker())
        assert other.rows() == undisturbed, step
        assert other.heard() == sent, step
        if not crashed:
            assert step > 20
            return
    pytest.fail("it never came to its end")


async def test_a_round_of_several_turns_moves_the_position_at_its_end_only(
    case: Assessing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await case.grow(0, 1, 30)
    calm = case.copied(tmp_path / "calm.sqlite")
    await settle(calm.worker())
    monkeypatch.setattr(worker_module, "_TURN_VALUES", 0)  # one cell a turn
    for turns in range(3):
        worker = case.worker()
        assert await worker.step() == 1, turns
        assert case.position()[0] == 0
    await settle(case.worker())
    assert (case.rows(), case.heard()) == (calm.rows(), calm.heard())


async def test_what_was_stored_but_not_sent_is_sent_after_a_restart(case: Assessing) -> None:
    await case.grow(0)
    producer = MemoryProducer(fail_after=0)
    with pytest.raises(TransientError):
        await settle(case.worker(producer))
    assert case.rows()["assessments_unsent"]
    await settle(case.worker())
    assert case.heard() == case.expected()


async def test_a_failed_send_is_repeated_by_the_same_worker(case: Assessing) -> None:
    await case.grow(0)
    case.sent.fail_after = 0
    worker = case.worker()
    with pytest.raises(TransientError):
        await settle(worker)
    assert not worker.is_ready
    await settle(worker)
    assert case.heard() == case.expected()


async def test_another_plan_assesses_everything_again_and_takes_back_what_it_does_not_know(
    case: Assessing,
) -> None:
    await case.grow(0, 1)
    await settle(case.worker())
    windows = {item.window.period.value for item in case.heard().values()}
    case.plan = plan_of(windows=("day",), high="50")
    await settle(case.worker())
    assert windows == {"hour", "day"}
    assert {item.window.period.value for item in case.heard().values()} == {"day"}
    assert case.heard() == case.expected()
    plausible = [item for item in case.heard().values() if item.formula == "plausible_range"]
    assert {(item.achieved, item.possible) for item in plausible if item.site_id} == {(2, 4)}


async def test_a_store_that_went_back_is_assessed_from_its_beginning(case: Assessing) -> None:
    await case.grow(0)
    with case.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO assess_position VALUES (1, 99, x'')")
    await settle(case.worker())
    assert case.heard() == case.expected()


async def test_a_second_worker_finds_the_position_moved_and_goes_on_from_there(case: Assessing) -> None:
    first, second = case.worker(), case.worker()
    await case.grow(0)
    await first.open()
    await second.open()
    await settle(first)
    before = case.rows()
    with pytest.raises(ConflictError):
        await settle(second)
    await settle(second)
    assert case.rows() == before
    await case.grow(1)
    await settle(second)
    with pytest.raises(ConflictError):
        await settle(first)
    assert case.heard() == case.expected()


async def test_a_message_is_acknowledged_when_its_block_is_assessed_and_a_repeated_one_at_once(
    case: Assessing,
) -> None:
    await case.grow(0)
    worker = case.worker()
    await worker.open()
    values = [item.value for item in case.events.sent]
    hearing = asyncio.ensure_future(worker.hear(values[0]))
    await asyncio.sleep(0)
    assert not hearing.done()
    await settle(worker)
    await asyncio.wait_for(hearing, 5)
    before, count = case.rows(), len(case.sent.sent)
    for value in (*values, *values):
        await asyncio.wait_for(worker.hear(value), 10)
    await settle(worker)
    assert (case.rows(), len(case.sent.sent)) == (before, count)


@pytest.mark.parametrize("value", [None, b"", b"\x00\x00\x00\x00\x0c", b"rubbish"])
async def test_a_bad_message_is_passed_over(case: Assessing, value: bytes | None) -> None:
    worker = case.worker()
    await asyncio.wait_for(worker.hear(value), 10)


async def test_a_message_of_another_chain_says_nothing(case: Assessing) -> None:
    await case.grow(0)
    value = case.events.sent[0].value
    assert value is not None
    assert announced_height(value, case.chain.world.genesis.url) == 2
    assert announced_height(value, "https://other.example/city1") is None
    assert announced_height(value + b"\0", case.chain.world.genesis.url) is None


async def test_messages_that_come_while_it_rests_are_assessed_in_one_round(case: Assessing) -> None:
    await case.grow(0)
    worker = case.worker()
    await settle(worker)
    count = len(case.sent.sent)
    for _ in range(5):
        await case.grow(0)
    await settle(worker)
    figures = len(case.sent.sent) - count
    assert 0 < figures <= len(case.heard())


async def test_a_database_that_goes_away_between_two_rows_of_a_cell_is_tried_again(
    case: Assessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads the rows then is not inside of the transaction."""
    await case.grow(0)
    execute = Connection.execute

    def cut(connection: Connection, query: Any, *more: Any) -> Any:
        found = execute(connection, query, *more)
        return until_cut(found) if "observations.exact" in str(query) else found

    def until_cut(rows: Any) -> Iterator[Any]:
        yield next(rows)
        raise OperationalError("FETCH", None, Exception("the connection is lost"))

    worker = case.worker()
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "execute", cut)
        with pytest.raises(TransientError):
            await settle(worker)
    await settle(worker)
    assert case.heard() == case.expected()
