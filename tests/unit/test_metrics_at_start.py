"""What alarms wait for is shown at zero from the start, so that its first count is seen as an increase."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from pipeline.core.outcome import Outcome
from pipeline.core.replica import BlockReason
from pipeline.core.storage import NO_KEY, Mismatch
from pipeline.services.accounting.committer import Repair
from pipeline.services.accounting.shown import show_policy
from pipeline.telemetry import node_metrics, platform_metrics
from tests.support.world import World
from tests.unit.test_platform import Case


def shown(name: str, **labels: str) -> bool:
    return REGISTRY.get_sample_value(name, labels) is not None


@pytest.fixture
def node() -> World:
    """A node of this world has just started; what other tests counted is gone."""
    for counter in (node_metrics.VOTES, node_metrics.REPAIRS, node_metrics.OUTCOMES):
        counter.clear()
    world = World()
    show_policy(world.genesis.policy)
    return world


@pytest.mark.parametrize("outcome", ["divergent", "invalid", "counted"])
def test_a_node_shows_the_votes_of_every_node_of_the_policy(node: World, outcome: str) -> None:
    for name in node.genesis.policy.node_names:
        assert shown("bkdms_node_votes_total", node=name, outcome=outcome)


def test_a_node_shows_votes_of_strangers(node: World) -> None:
    assert shown("bkdms_node_votes_total", node="unknown", outcome="invalid")


@pytest.mark.parametrize("repair", Repair)
def test_a_node_shows_every_reason_of_a_repair(node: World, repair: Repair) -> None:
    assert shown("bkdms_ledger_repairs_total", reason=repair.value)


@pytest.mark.parametrize("outcome", Outcome)
def test_a_node_shows_every_outcome_of_the_chain_log(node: World, outcome: Outcome) -> None:
    assert shown("bkdms_chain_outcomes_total", outcome=outcome.label)


def test_a_node_shows_how_many_are_needed(node: World) -> None:
    assert REGISTRY.get_sample_value("bkdms_policy_nodes") == 4
    assert REGISTRY.get_sample_value("bkdms_policy_quorum_nodes") == 3


async def test_the_platform_shows_every_fate_of_a_packet_and_every_reason_to_skip(tmp_path: Path) -> None:
    platform_metrics.PACKETS.clear()
    platform_metrics.SKIPPED.clear()
    worker = Case(tmp_path).worker()
    await worker.open()
    await worker.close()
    assert shown("bkdms_platform_packets_total", status="unopened", reason=NO_KEY)
    assert all(
        shown("bkdms_platform_packets_total", status="mismatch", reason=reason.value) for reason in Mismatch
    )
    assert all(shown("bkdms_platform_skipped_records_total", reason=reason.value) for reason in BlockReason)
