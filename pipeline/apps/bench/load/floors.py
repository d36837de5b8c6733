"""How near the whole pipeline is to what its programs can't do without, by the floors of its stages in the same run."""

from typing import Final

from pipeline.apps.bench.floor import FloorServers, measure_floor
from pipeline.apps.bench.load.whole import WholeStack
from pipeline.apps.bench.report import Figure

_ROUNDS: Final = 3


def floor_figures(stack: WholeStack, total_us: float) -> list[Figure]:
    """Return the floors of one packet, those of the servers asked included, and their share of ``total_us``.

    Every node counts. The share is also that of the throughput which the floors would allow on the same cores.

    Raises:
        TransientError: a server is away.
    """
    plan, servers, found, total = stack.plan, FloorServers(stack.deployment.stack), [], 0.0
    for stage, times in (("validator", 1), ("node", plan.nodes), ("platform", 1)):
        floor = measure_floor(
            stage, plan.values, plan.suite, nodes=plan.nodes, servers=servers, rounds=_ROUNDS
        )
        found.append(Figure(f"{stage}_floor_us_per_packet", floor.us_per_packet, "µs"))
        found.append(Figure(f"{stage}_servers_floor_us_per_packet", floor.server_us_per_packet, "µs"))
        total += times * (floor.us_per_packet + floor.server_us_per_packet)
    return [
        *found,
        Figure("floors_us_per_packet", total, "µs"),
        Figure("share_of_what_floors_allow", 100 * total / total_us, "%"),
    ]
