"""What a whole deployment takes of the processors when no site sends anything."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ops.local_servers import KAFKA
from pipeline.apps.bench.load.whole import whole_stack
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.report import Figure

_SETTLE_S: Final = 10.0


def measure_idle(seconds: float, folder: Path, nodes: int, progress: Callable[[int], None]) -> list[Figure]:
    """Run a deployment in an empty ``folder`` for ``seconds`` after it has settled; return each program's share.

    Raises:
        ConfigError: Kafka or Redis can't be run here.
        TransientError: a part did not get ready.
    """
    plan = BenchPlan(1, nodes=nodes)
    with whole_stack(plan, folder, validators=2, period_ms=plan.chain_plan().contract.period_ms) as stack:
        time.sleep(_SETTLE_S)
        programs = stack.programs()
        for _ in range(round(seconds)):
            time.sleep(1)
            progress(1)
        used, peaks = programs.used(), programs.peaks()
    beside = sum(spent for name, spent in used.by_name.items() if name != KAFKA)
    share = Figure("share_of_a_core_beside_kafka", 100 * beside / used.wall_s, "%")
    return [share, *used.shares(), *peaks]
