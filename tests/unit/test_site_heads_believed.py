"""The site agent believes only proven heads: nothing is forgotten unverified, and packets go again where they must."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.names import SiteName
from pipeline.core.outcome import Outcome
from pipeline.core.sealing import Suite
from pipeline.ports import Outgoing
from pipeline.services.site_agent import SiteAgent, SiteParts, check_receipt
from tests.support.site_bench import FAST, PACE, Bench, running, until
from tests.support.site_ledger import (
    ListSource,
    SiteLedger,
)
from tests.support.world import TestSite


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, list(range(100)))
    yield made
    made.spool.close()


class ForgedHead:
    """Serves documents changed on the way."""

    def __init__(self, ledger: SiteLedger, **changes: object) -> None:
        self.ledger, self.changes = ledger, changes

    async def head(self, site: SiteName, *, with_packet: bool = False, since: int = 0) -> bytes:
        document = json.loads(await self.ledger.head(site, with_packet=with_packet, since=since))
        return json.dumps(document | self.changes).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"certificate": "nothing\n"},
        {"tree_size": 1},
        {"path": []},
        {"header": base64.b64encode(b"no header").decode()},
        {"sequence": 99},
        {"chain": "00" * 32},
    ],
)
async def test_an_unproven_head_confirms_nothing(bench: Bench, changes: dict[str, object]) -> None:
    parts = bench.parts()
    forged = SiteParts(
        **{name: getattr(parts, name) for name in SiteParts.__slots__ if name != "heads"},
        heads=ForgedHead(bench.ledger, **changes),
    )
    async with running(SiteAgent(forged, FAST, PACE)):
        await until(lambda: "head_api_fails" in bench.log.events and len(bench.ledger.sent) >= PACE.window)
        await until(lambda: bench.spool.totals().spooled_records == 100)
    assert bench.spool.totals().confirmed_records == 0
    assert bench.spool.depth().records == 100


async def test_a_packet_that_this_spool_never_made_halts_the_agent_and_deletes_nothing(bench: Bench) -> None:
    bench.ledger.chain.packets(bench.site.packet([77]))
    with pytest.raises(IntegrityError, match="never made") as halted:
        await bench.agent().run(until_committed=True)
    assert halted.value.code == "unknown_packet"
    assert "bkdms site resync" in str(halted.value)
    assert bench.spool.depth().records == bench.spool.totals().spooled_records > 0


async def test_a_rolled_back_ledger_halts_the_agent_and_deletes_nothing(bench: Bench) -> None:
    bench.source.numbers = list(range(10))
    await bench.agent().run(until_committed=True)
    # Another chain under the same keys, longer than the one verified, that lacks the site's packets.
    fork = SiteLedger(bench.site)
    for number in range(8):
        fork.chain.packets(fork.chain.world.site(50 + number).packet([1]), *[b"x"] * 3)
        fork.chain.enrol(fork.chain.world.site(60 + number))
    bench.ledger.chain, bench.ledger.commits_when_asked = fork.chain, False
    bench.source.numbers = list(range(20))
    with pytest.raises(IntegrityError) as halted:
        await bench.agent().run(until_committed=True)
    assert halted.value.code == "rolled_back"
    assert bench.spool.depth().records == 10


async def test_a_lagging_api_is_waited_for(bench: Bench) -> None:
    bench.source.numbers = list(range(10))
    await bench.agent().run(until_committed=True)
    blocks = len(bench.ledger.chain.blocks)
    real, lagging = bench.ledger.document, [True]

    def document(site: SiteName, height: int, *, with_packet: bool = False, since: int = 0) -> bytes:
        return real(site, 1 if lagging[0] else height, with_packet=with_packet, since=since)

    bench.ledger.document = document  # type: ignore[method-assign]
    bench.source.numbers = list(range(20))
    async with running(bench.agent()):
        await until(lambda: "head_api_behind" in bench.log.events)
        assert bench.spool.depth().records == 10
        lagging[0] = False
        await until(lambda: "head_api_caught_up" in bench.log.events)
        await until(lambda: bench.spool.depth().records == 0)
    assert len(bench.ledger.chain.blocks) > blocks
    assert bench.committed == list(range(20))


async def test_resync_sends_everything_unconfirmed_again(bench: Bench) -> None:
    bench.ledger.api_away = True
    async with running(bench.agent()):
        await until(lambda: len(bench.ledger.sent) == PACE.window)
    bench.ledger.api_away, bench.ledger.commits_when_asked = False, False
    first = list(bench.ledger.sent)
    await bench.agent().resync()
    assert bench.ledger.sent[: 2 * PACE.window] == first * 2


async def test_resigning_seals_the_same_records_under_later_sequences(bench: Bench) -> None:
    bench.ledger.api_away = True
    real = bench.ledger.take
    bench.ledger.take = lambda record: Outcome.ADMITTED  # type: ignore[method-assign]
    async with running(bench.agent()):
        await until(lambda: bench.spool.depth().packets == PACE.window)
    bench.ledger.api_away = False
    bench.ledger.take = real  # type: ignore[method-assign]
    await bench.agent().resync(resign=True)
    await bench.agent().run(until_committed=True)
    assert bench.committed == list(range(100))
    assert bench.spool.totals().confirmed_packets == bench.spool.tip().sequence - PACE.window


async def test_a_superseded_packet_that_arrives_late_still_counts_once(bench: Bench) -> None:
    bench.ledger.api_away = True
    real, held = bench.ledger.take, []

    def hold(record: Outgoing) -> Outcome:
        held.append(record)
        return Outcome.ADMITTED

    bench.ledger.take = hold  # type: ignore[method-assign]
    async with running(bench.agent()):
        await until(lambda: len(held) == PACE.window)
    bench.ledger.api_away = False
    await bench.agent().resync(resign=True)
    bench.ledger.take = real  # type: ignore[method-assign]
    bench.ledger.take(held[0])
    bench.ledger.take(held[1])
    await bench.agent().run(until_committed=True)
    assert bench.committed == list(range(100))
    assert "earlier_sealing_admitted" in bench.log.events


async def test_a_new_spool_goes_on_from_the_ledger_after_adopting_its_head(tmp_path: Path) -> None:
    bench = Bench(tmp_path, list(range(10)))
    await bench.agent().run(until_committed=True)
    bench.spool.close()
    for path in tmp_path.glob("spool.sqlite*"):
        path.unlink()
    bench.spool, bench.source = bench.open_spool(), ListSource([50, 51])
    await bench.agent().resync(adopt=True)
    await bench.agent().run(until_committed=True)
    assert bench.committed == [*range(10), 50, 51]
    bench.spool.close()


async def test_the_receipt_in_the_spool_verifies_offline_and_a_changed_one_stops_the_start(
    bench: Bench,
) -> None:
    await bench.agent().run(until_committed=True)
    receipt = bench.spool.receipt()
    assert receipt is not None
    genesis = bench.ledger.chain.world.genesis
    proven = check_receipt(genesis, bench.site.name, receipt)
    assert not isinstance(proven, str)
    assert proven.sequence == bench.spool.tip().sequence
    bench.spool._database.execute("UPDATE receipt SET root = x'00'")
    with pytest.raises(IntegrityError) as halted:
        await bench.agent().run(until_committed=True)
    assert halted.value.code == "receipt"


def test_a_signing_key_of_another_algorithm_is_refused(bench: Bench) -> None:
    other: TestSite = bench.ledger.chain.world.site(1, Suite.P256)
    parts = bench.parts()
    wrong = SiteParts(
        **{name: getattr(parts, name) for name in SiteParts.__slots__ if name != "signer"},
        signer=other.signer,
    )
    with pytest.raises(ConfigError, match="ED25519"):
        SiteAgent(wrong, FAST, PACE)
