"""A floor is the sum of a stage's list, of primitives whose cheapest way counts, measured on this machine."""

import time
from pathlib import Path

import pytest

from pipeline.apps.bench.floor import Case, Database, Floor, FloorRow, Stage, codecs, compute, reference
from pipeline.apps.bench.floor import lists as floor_lists
from pipeline.apps.bench.floor.compute import NODE_BYTES
from pipeline.apps.bench.floor.disk import floor_file
from pipeline.apps.bench.floor.floor import Cost
from pipeline.apps.bench.floor.lists import uses
from pipeline.apps.bench.floor.measure import summed
from pipeline.apps.bench.floor.shape import Shape
from pipeline.apps.bench.floor.stored import floor_sqlite
from pipeline.apps.bench.floor.timing import Primitive, local, lowest
from pipeline.apps.bench.report import Figure
from pipeline.core.avro import decode
from pipeline.core.block import parse_certified
from pipeline.core.errors import IntegrityError
from pipeline.core.packet import Opened, open_packet
from pipeline.core.sealing import Suite
from schemas import schema

SERVED = ("kafka ", "redis ", "postgresql ")


@pytest.fixture(scope="module")
def shape() -> Shape:
    return Shape(3, Suite.LIGHT, 4)


def counts(stage: Stage, shape: Shape) -> dict[str, float]:
    found: dict[str, float] = {}
    for use in uses(stage, shape):
        found[use.ways[0]] = found.get(use.ways[0], 0) + use.count
    return found


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("suite", Suite)
def test_every_way_on_a_list_is_a_primitive_that_is_measured(
    stage: Stage, suite: Suite, tmp_path: Path
) -> None:
    small = Shape(2, suite)
    named = {way for use in uses(stage, small) for way in use.ways if not way.startswith(SERVED)}
    appended = {"records": b"", "packet": b"", "block": b""}
    with floor_file(tmp_path, appended) as files, floor_sqlite(tmp_path, small) as store:
        made = [*compute.of_shape(small), *codecs.of_shape(small), *files, *store.primitives()]
        assert named <= {primitive.name for primitive in made}


def test_what_is_measured_is_a_real_packet_in_a_real_block(shape: Shape) -> None:
    assert isinstance(open_packet(shape.packet, shape.platform), Opened)
    parsed = parse_certified(shape.block)
    assert parsed is not None
    assert [entry.payload for entry in parsed[0].entries] == [shape.packet.raw] * shape.packets_per_block
    message = codecs.encoded(schema("Observations"), shape.message)
    opened = decode(schema("Observations"), message[5:])
    assert opened is not None
    assert len(opened["observations"]) == 3


def test_a_packet_costs_every_stage_one_signature_and_the_ends_one_hash_a_value(shape: Shape) -> None:
    size = len(shape.packet.signed)
    record = compute.sizes(shape)["record"]
    for stage in (Stage.VALIDATOR, Stage.NODE, Stage.PLATFORM):
        assert counts(stage, shape)[f"ed25519 verify {size}"] == 1
    assert counts(Stage.SITE, shape)[f"ed25519 sign {size}"] == 1
    for stage in (Stage.SITE, Stage.PLATFORM):
        found = counts(stage, shape)
        assert (found["salt by shared states"], found[f"sha256 {record}"]) == (3, 3)
        assert found[f"sha256 {NODE_BYTES}"] >= 2


def test_what_is_done_once_a_block_counts_with_a_packets_part(shape: Shape) -> None:
    found = counts(Stage.NODE, shape)
    assert found["kafka fetch block"] == pytest.approx(1 / shape.packets_per_block)
    assert found["redis commit"] == pytest.approx(1 / shape.packets_per_block / 4)
    assert found["mldsa44 verify 200"] == pytest.approx(3 / shape.packets_per_block)


def test_the_cheapest_of_several_ways_counts() -> None:
    use = floor_lists.Use(("dear", "cheap"), 2)
    found = summed(Case(Stage.NODE, 1, Suite.LIGHT), [use], {"dear": Cost(9), "cheap": Cost(4, 1)})
    assert found.rows == (FloorRow("cheap", 2, 4, 1),)
    assert (found.us_per_packet, found.server_us_per_packet) == (8, 2)


def test_a_ratio_and_the_figures_of_a_floor() -> None:
    found = Floor("node", 1, "light", (FloorRow("a", 2, 10, 1), FloorRow("b", 0.5, 20)))
    assert found.ratio(45) == 1.5
    assert found.figures() == (
        Figure("floor_us_per_packet", 30, "µs"),
        Figure("floor_server_us_per_packet", 2, "µs"),
        Figure("a", 20, "µs"),
        Figure("b", 10, "µs"),
    )


def test_the_lowest_round_of_this_thread_and_the_mean_of_the_server_count() -> None:
    rounds = iter([Cost(5, 10), Cost(3, 20), Cost(4, 30)])
    found = lowest([Primitive("x", lambda: next(rounds))], rounds=3)
    assert found == {"x": Cost(3, 20)}


def test_primitives_take_turns() -> None:
    """So that a busy moment of the machine does not fall on one of them alone."""
    order: list[str] = []

    def measured(name: str) -> Primitive:
        def measure() -> Cost:
            order.append(name)
            return Cost(1)

        return Primitive(name, measure)

    lowest([measured("a"), measured("b")], rounds=2)
    assert order == ["a", "b", "a", "b"]


def test_waiting_does_not_count() -> None:
    """A step that sleeps costs the processor much less than it takes by the wall."""
    assert local("wait", lambda: time.sleep(0.002)).measure().us < 2000


def test_a_primitive_that_does_several_at_once_tells_what_one_costs() -> None:
    step = lambda: sum(range(2000))  # noqa: E731
    assert local("hundred", step, 100).measure().us < local("one", step).measure().us / 10


def test_rows_are_inserted_with_the_packets_of_a_whole_block_and_each_cost_is_told_once(
    tmp_path: Path, shape: Shape
) -> None:
    with floor_sqlite(tmp_path, shape) as store:
        costs = lowest(list(store.primitives()), rounds=2)
    assert set(costs) == {"sqlite insert observation", "sqlite insert record", "sqlite commit"}
    assert all(cost.us > 0 for cost in costs.values())


def references(factor: float, **changed: float) -> dict[str, reference.Verdict]:
    costs = {name: Cost(most * factor) for name, (_, most) in reference.REFERENCES.items()}
    costs |= {name.replace("_", " "): Cost(value) for name, value in changed.items()}
    return {each.primitive: each.verdict for each in reference.compared(costs)}


def test_a_machine_that_is_slower_in_all_is_within_the_references() -> None:
    assert set(references(3).values()) == {reference.Verdict.WITHIN}


@pytest.mark.parametrize(
    ("us", "verdict"),
    [(195 * 1.24, "within"), (195 * 1.27, "slower"), (195 * 0.76, "within"), (195 * 0.73, "faster")],
)
def test_a_primitive_more_than_a_quarter_off_is_told(us: float, verdict: str) -> None:
    assert references(1, kem_seal_xwing=us)["kem seal xwing"].value == verdict


def test_a_reference_that_was_not_measured_is_named() -> None:
    with pytest.raises(IntegrityError, match="kem open light"):
        reference.compared({name: Cost(1) for name in reference.REFERENCES if name != "kem open light"})


def test_what_has_a_reference_is_measured_here_or_at_kafka() -> None:
    here = {primitive.name for primitive in reference.here()}
    assert {name for name in reference.REFERENCES if not name.startswith("kafka ")} <= here


def test_the_platforms_database_decides_its_list() -> None:
    shape = Case(Stage.PLATFORM, 1, Suite.LIGHT, database=Database.POSTGRESQL)
    assert any(use.ways == ("postgresql insert observation",) for use in shape.uses())
