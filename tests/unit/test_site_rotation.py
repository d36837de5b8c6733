"""A running site follows the platform's keys and its own rights as the ledger proves them, and loses nothing by it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from pipeline.core.agreement import Hold
from pipeline.core.contract import SuiteTerm
from pipeline.core.control import (
    Amend,
    Body,
    KeyOffer,
    NewContract,
    Resume,
    Suspend,
    possession_message,
    sign_control,
)
from pipeline.core.errors import IntegrityError
from pipeline.core.keys import Use
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.packet import parse_packet
from pipeline.core.sealing import PRIVATE_BYTES, SEALING_ALGORITHM, SealingKey, Suite
from pipeline.core.signing import Ed25519Signer, Signer
from pipeline.services.site_agent import SiteAgent, SiteParts, SiteStanding
from tests.support.site_bench import FAST, PACE, Bench, running, until
from tests.support.site_ledger import entitled, terms_of
from tests.support.world import NOW_MS, secret

DAY_MS = 86_400_000
QUICK = replace(PACE, registry_poll_s=0.02)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, list(range(100)))
    yield made
    made.spool.close()


def new_key(bench: Bench, label: str = "new", suite: Suite = Suite.LIGHT) -> SealingKey:
    algorithm = SEALING_ALGORITHM[suite]
    key = SealingKey(algorithm, secret(label, PRIVATE_BYTES[algorithm]))
    bench.ledger.keys.append(key)
    return key


def offer(bench: Bench, key: SealingKey, epoch: int = 2, valid_to: int = MAX_TIME_MS) -> KeyOffer:
    return KeyOffer(bench.site.name, epoch, key.algorithm, key.public.raw, valid_to)


def amendment(bench: Bench, signer: Signer, *suites: Suite, until_ms: int = MAX_TIME_MS) -> Amend:
    public, name, chain = signer.public, bench.site.name, bench.site.chain
    possession = signer.sign(possession_message(chain, name, public.fingerprint))
    return Amend(
        name,
        bench.site.signer.public.fingerprint,
        until_ms,
        public.algorithm,
        public.raw,
        possession,
        suites or (bench.site.suite,),
        ("LOCAL:TRAFFIC_SPEED",),
    )


def sealed_to(bench: Bench, key: SealingKey) -> list[bool]:
    """Tell for each packet sent whether it is sealed to a key."""
    packets = [parse_packet(value[5:]) for value in bench.ledger.sent]
    return [packet.is_sealed_to(key.public.fingerprint) for packet in packets]  # type: ignore[union-attr]


def agent(bench: Bench, **changes: object) -> SiteAgent:
    parts = bench.parts()
    fields = {name: getattr(parts, name) for name in SiteParts.__slots__} | changes
    return SiteAgent(SiteParts(**fields), FAST, QUICK)


def standing(bench: Bench, *signers: Signer, **changes: object) -> SiteStanding:
    terms, genesis = terms_of(bench.site), bench.ledger.chain.world.genesis
    found = replace(entitled(bench.site), **changes)  # type: ignore[arg-type]
    return SiteStanding(genesis, terms, found, signers or (bench.site.signer,), bench.spool)


async def test_a_key_offered_under_traffic_is_taken_up_and_earlier_packets_open_too(bench: Bench) -> None:
    key = new_key(bench)
    async with running(agent(bench)):
        await until(lambda: len(bench.committed) >= 20)
        bench.ledger.control(offer(bench, key))
        await until(lambda: bench.spool.depth().records == 0)
        bench.source.numbers += list(range(100, 140))
        await until(lambda: len(bench.committed) == 140)
    assert bench.committed == list(range(140))
    taken = sealed_to(bench, key)
    assert taken[0] is False
    assert taken[-1] is True
    assert taken == sorted(taken)
    assert "platform_key_taken_up" in bench.log.events


async def test_packets_spooled_before_a_rotation_are_sent_unchanged_and_open(bench: Bench) -> None:
    bench.ledger.kafka_away = True
    async with running(agent(bench)):
        await until(lambda: bench.spool.depth().packets > 0)
    spooled = [packet.raw for packet in bench.spool.live_packets(0, 100)]
    bench.reopen()
    bench.ledger.kafka_away = False
    bench.ledger.control(offer(bench, new_key(bench)))
    await agent(bench).run(until_committed=True)
    assert bench.committed == list(range(100))
    assert [value[5:] for value in bench.ledger.sent[: len(spooled)]] == spooled


async def test_an_idle_site_learns_of_a_new_key_without_sending(bench: Bench) -> None:
    bench.source.numbers.clear()
    key = new_key(bench)
    async with running(agent(bench)):
        await until(lambda: "platform_key_taken_up" in bench.log.events)
        bench.ledger.control(offer(bench, key, epoch=7))
        await until(bench.spool.standing)
        await until(lambda: bench.log.events.count("platform_key_taken_up") == 2)
    epoch = REGISTRY.get_sample_value("bkdms_site_platform_key_epoch", {"site": str(bench.site.name)})
    assert epoch == 7


async def test_what_was_learned_is_there_after_a_restart_without_the_api(bench: Bench) -> None:
    key = new_key(bench)
    bench.ledger.control(offer(bench, key))
    bench.source.numbers = [1]
    await agent(bench).run(until_committed=True)
    async with running(agent(bench)):
        await until(bench.spool.standing)
    bench.reopen()
    bench.ledger.api_away = True
    bench.source.numbers += [2, 3]
    before = len(bench.ledger.sent)
    async with running(agent(bench)):
        await until(lambda: len(bench.ledger.sent) > before)
    assert sealed_to(bench, key)[-1] is True


async def test_with_an_ended_key_nothing_is_sealed_or_lost_until_the_next_offer(bench: Bench) -> None:
    first = entitled(bench.site).offers[0]
    ended = standing(bench, offers=(replace(first, valid_to=NOW_MS - 1),))
    bench.ledger.control(offer(bench, new_key(bench, "ended"), 2, NOW_MS - 1))
    key = new_key(bench)
    made = agent(bench, standing=ended)
    async with running(made):
        await until(lambda: bench.spool.totals().spooled_records == 100)
        await until(lambda: "sealing_waits" in bench.log.events)
        assert "a new key of the platform" in (await made.status()).waiting_for
        assert bench.ledger.sent == []
        bench.ledger.control(offer(bench, key, 3))
        await until(lambda: len(bench.committed) == 100)
    assert bench.committed == list(range(100))
    assert all(sealed_to(bench, key))
    assert "sealing_goes_on" in bench.log.events


async def test_a_suspended_site_waits_and_goes_on_when_it_is_resumed(bench: Bench) -> None:
    fingerprint = bench.site.signer.public.fingerprint
    bench.ledger.control(Suspend(bench.site.name, fingerprint, "drill"))
    async with running(agent(bench)):
        await until(lambda: "sealing_waits" in bench.log.events)
        bench.ledger.control(Resume(bench.site.name, fingerprint, "drill"))
        await until(lambda: len(bench.committed) == 100)
    assert bench.committed == list(range(100))


async def test_a_site_signs_with_its_next_key_once_the_ledger_has_it(bench: Bench) -> None:
    following = Ed25519Signer(secret("next"), Use.SITE)
    both = standing(bench, bench.site.signer, following)
    async with running(agent(bench, standing=both)):
        await until(lambda: len(bench.committed) >= 20)
        bench.ledger.control(amendment(bench, following))
        await until(lambda: len(bench.committed) == 100)
        bench.source.numbers += [200, 201]
        await until(lambda: len(bench.committed) == 102)
    assert bench.committed == [*range(100), 200, 201]
    last = parse_packet(bench.ledger.sent[-1][5:])
    assert last.site_key == following.public.fingerprint  # type: ignore[union-attr]


async def test_a_stronger_suite_is_taken_up_and_no_weaker_one_afterwards(bench: Bench) -> None:
    key = new_key(bench, "strong", Suite.XWING)
    bench.ledger.control(amendment(bench, bench.site.signer, Suite.LIGHT, Suite.XWING), offer(bench, key))
    made = standing(bench)
    bench.source.numbers = [1]
    await agent(bench, standing=made).run(until_committed=True)
    bench.source.numbers.append(2)
    await agent(bench, standing=made).run(until_committed=True)
    assert sealed_to(bench, key)[-1] is True
    bench.ledger.control(offer(bench, new_key(bench, "weak"), 3))
    bench.source.numbers.append(3)
    await agent(bench, standing=made).run(until_committed=True)
    assert sealed_to(bench, key)[-1] is True


async def test_a_record_of_no_registrar_is_believed_neither_from_the_api_nor_from_the_spool(
    bench: Bench,
) -> None:
    impostor = Ed25519Signer(secret("impostor"), Use.REGISTRAR)
    body: Body = offer(bench, new_key(bench))
    raw = sign_control(bench.site.chain, impostor, 1, bytes(32), body)
    bench.spool.keep_standing([(0, raw)])
    with pytest.raises(IntegrityError) as halted:
        await agent(bench).run(until_committed=True)
    assert halted.value.code == "standing"


async def test_a_source_that_yields_what_is_not_granted_any_more_seals_nothing(bench: Bench) -> None:
    terms, genesis = terms_of(bench.site), bench.ledger.chain.world.genesis
    made = SiteStanding(
        genesis,
        terms,
        entitled(bench.site),
        (bench.site.signer,),
        bench.spool,
        yields=frozenset({"LOCAL:TRAFFIC_SPEED", "LOCAL:OTHER"}),
    )
    assert made.agree(NOW_MS) is Hold.NOT_GRANTED


async def test_the_end_of_key_and_suite_is_warned_of_once_and_in_time(bench: Bench) -> None:
    bench.ledger.control(offer(bench, new_key(bench), 2, NOW_MS + 2 * DAY_MS))
    contract = bench.ledger.chain.world.genesis.contract
    ends = SuiteTerm(Suite.LIGHT, NOW_MS + 89 * DAY_MS)
    bench.ledger.by_roots(NewContract(replace(contract, version=contract.version + 1, suites=(ends,))))
    async with running(agent(bench)):
        await until(lambda: len(bench.committed) == 100)
        await until(lambda: "suite_ends_soon" in bench.log.events)
        bench.source.numbers += [200]
        await until(lambda: len(bench.committed) == 101)
    events = bench.log.events
    assert (events.count("platform_key_ends_soon"), events.count("suite_ends_soon")) == (1, 1)


async def test_the_end_that_is_far_is_not_warned_of(bench: Bench) -> None:
    bench.ledger.control(offer(bench, new_key(bench), 2, NOW_MS + 4 * DAY_MS))
    await agent(bench).run(until_committed=True)
    assert "platform_key_ends_soon" not in bench.log.events
