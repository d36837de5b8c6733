"""Everything that a panel shows is made to happen on a whole deployment, and the panel is seen to move.

``DASHBOARD_PICTURES=docs/images pytest -m faults tests/e2e/test_dashboards.py`` keeps the pictures of the dashboards.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pytest

from connectors.samples import sample_folder
from ops.grafana import macros
from ops.grafana.board import Board
from ops.grafana.boards import BOARDS
from ops.tls.principal import Role
from pipeline.apps.authority import ChainPlan
from pipeline.apps.demo.scene import set_scene
from pipeline.apps.local.deployment import DEFAULT_URL, LocalDeployment, LocalPlan
from pipeline.core.contract import Contract
from tests.support.asking import Asking
from tests.support.eventful import Eventful
from tests.support.panels import Question, questions
from tests.support.pictures import Answer, Points, draw
from tests.support.prometheus import running_prometheus

pytestmark = [pytest.mark.stack, pytest.mark.faults]
PERIOD_MS = 1_000
PACKET_RECORDS = 25
SCRAPE_S = 1.0
DEADLINE_S = 900
MEASURED = (datetime(2015, 9, 1, tzinfo=UTC), datetime(2015, 9, 18, tzinfo=UTC))
CHOSEN = {
    "country": ["US"],
    "city": ["unlocode:USMES"],
    "indicator": ["LOCAL:TRAVEL_TIME"],
    "site": ["fd62:6b64:6d73:1::387", "fd62:6b64:6d73:1::451"],
}
EVENTS = (
    Eventful.attack,
    Eventful.export,
    Eventful.forge,
    Eventful.lie,
    Eventful.move_the_lease,
    Eventful.lose_the_database,
    Eventful.wipe_redis,
    Eventful.lose_the_api,
    Eventful.lose_kafka,
    Eventful.outlast_retention,
    Eventful.send_again,
)
TITLES = sorted({str(question) for question in questions(is_sql=False)})


@dataclass(frozen=True)
class Seen:
    """What Prometheus answered to each panel's questions over the whole run, and where pictures were drawn."""

    lines: dict[str, list[dict[str, Points]]]
    rows: dict[str, int]
    pictures: Path


@asynccontextmanager
async def eventful(folder: Path) -> AsyncIterator[tuple[Eventful, Callable[[], Asking]]]:
    """Run everything, Prometheus and PostgreSQL included, with everybody enrolled."""
    chain = ChainPlan(DEFAULT_URL, contract=Contract(period_ms=PERIOD_MS))
    plan = LocalPlan(chain, has_postgres=True, assess_plan=sample_folder() / "assessment.toml")
    deployment = LocalDeployment(folder / "d", plan, is_short_lived=True)
    await asyncio.to_thread(deployment.start)
    try:
        beside, targets = Eventful.targets(folder, deployment)
        began, origin = time.time(), deployment.genesis.origin
        asked = [*deployment.targets(), *targets]
        with running_prometheus(folder, asked, chain=origin, scrape_ms=round(SCRAPE_S * 1000)) as prometheus:
            scene = await set_scene(deployment, PACKET_RECORDS)
            conninfo = deployment.stack.database_url(Role.ANALYST, "grafana").replace("+psycopg", "")

            def asking() -> Asking:
                now = datetime.now(UTC)
                start = datetime.fromtimestamp(began, UTC)
                shown = macros.Shown(start, now, 5, CHOSEN | {"chain": [origin]})
                return Asking(prometheus, conninfo, shown, began, SCRAPE_S)

            yield Eventful(deployment, scene, folder, prometheus, beside), asking
    finally:
        await asyncio.to_thread(deployment.stop)


async def everything(run: Eventful) -> None:
    """Make all events happen."""
    await run.run_slow_validator()
    run.run_sites()
    await run.happens("bkdms_validator_delays_total > 0")
    await run.happens("bkdms_platform_observations_total > 100")
    measuring = asyncio.create_task(run.measure())
    try:
        for event in EVENTS:
            await event(run)
    finally:
        measuring.cancel()


@pytest.fixture(scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Let everything happen once, and ask every question at its end."""
    folder = tmp_path_factory.mktemp("dashboards")
    async with asyncio.timeout(DEADLINE_S), eventful(folder) as (run, asking):
        await everything(run)
        pictures = Path(os.environ.get("DASHBOARD_PICTURES", folder))
        await asyncio.to_thread(_draw_all, asking(), pictures)
        await run.halt_the_api()
        return await asyncio.to_thread(_ask_all, asking(), pictures)


def _draw_all(asking: Asking, pictures: Path) -> None:
    measured = replace(asking, shown=macros.Shown(*MEASURED, 3_600, asking.shown.choices))

    def answer(question: Question) -> Answer:
        """What is about times of measurement is asked for those of the bundled data, the rest for this run."""
        is_old = not question.board.is_by_chain or "window_start" in question.text
        return (measured if is_old else asking).answer(question)

    for board in BOARDS:
        draw(board, answer, pictures / f"dashboard-{board.uid}.png")


def _ask_all(asking: Asking, pictures: Path) -> Seen:
    # What a panel leaves out as long as it is nothing is asked for, too: else it would be there or not, and never move.
    whole = [replace(one, text=one.text.removesuffix(" > 0")) for one in questions(is_sql=False)]
    in_order = sorted(whole, key=str)
    lines = {
        title: [asking.series(question) for question in found] for title, found in groupby(in_order, key=str)
    }
    wide = macros.Shown(MEASURED[0], datetime.now(UTC) + timedelta(days=1), 86_400, asking.shown.choices)
    of_store = Asking(asking.prometheus, asking.conninfo, wide, asking.since)
    rows = {str(question): len(of_store.rows(question)[1]) for question in questions(is_sql=True)}
    return Seen(lines, rows, pictures)


def moves(lines: dict[str, Points]) -> bool:
    """Whether a line takes more than one value."""
    return any(len({value for _, value in points}) > 1 for points in lines.values())


@pytest.mark.timeout(DEADLINE_S + 60)
@pytest.mark.parametrize("title", TITLES)
async def test_a_panel_moves_when_its_event_happens(title: str, seen: Seen) -> None:
    assert any(moves(lines) for lines in seen.lines[title]), seen.lines[title]


@pytest.mark.parametrize(
    ("title", "least", "most"),
    [
        ("operations: Programs not answering", 0, 1),
        ("operations: Programs not ready", 0, 1),
        ("operations: Signatures for another block", 0, 1),
        ("operations: Ledger repairs", 0, 1),
        ("operations: Lost to retention", 0, 1),
        ("operations: API halted", 0, 1),
        ("ledger: Leaves awaiting witnesses", 0, 1),
    ],
)
async def test_a_number_that_warns_is_at_rest_before_its_event(
    title: str, least: int, most: int, seen: Seen
) -> None:
    """It shows 0 while all is well, and its bad colour afterwards."""
    values = [value for lines in seen.lines[title] for points in lines.values() for _, value in points]
    assert min(values) == least
    assert max(values) >= most


async def test_too_few_nodes_show_as_less_than_none_to_spare(seen: Seen) -> None:
    values = [value for _, value in next(iter(seen.lines["operations: Nodes beyond the quorum"][0].values()))]
    assert max(values) == 1
    assert min(values) <= -1  # on a slow machine a restarted node may still be away


@pytest.mark.parametrize("question", [*questions(is_sql=True)], ids=str)
async def test_a_question_to_the_store_is_answered_beside_running_workers(
    question: Question, seen: Seen
) -> None:
    assert str(question) in seen.rows


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
async def test_a_picture_can_be_drawn_of_each_dashboard(board: Board, seen: Seen) -> None:
    assert (seen.pictures / f"dashboard-{board.uid}.png").stat().st_size > 20_000
