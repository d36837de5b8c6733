"""Measures portable proofs: any entry of a large log, from its tiles on the disk, each verified before it counts."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pipeline.adapters.tile_files import TileFiles
from pipeline.apps.bench.chain_maker import BenchChain
from pipeline.apps.bench.figures import spread
from pipeline.core.errors import IntegrityError
from pipeline.core.policy_file import policy_text
from pipeline.core.proof import ProofProblem
from pipeline.core.tlog_policy import PolicyFileProblem, TlogPolicy, parse_policy
from pipeline.core.tracing import TracingCode
from pipeline.services.tile_prover import LogProblem, MadeProof, TileProver, open_prover
from pipeline.services.trace import TraceProblem

_SEED: Final = 4907
_MS: Final = 1000
COLD_PROOFS: Final = 5


def measure_proofs(
    chain: BenchChain, tiles: Path, samples: int, progress: Callable[[int], None]
) -> dict[str, Any]:
    """Prove packets drawn from the whole log and return how long each took, in milliseconds.

    ``proof`` is by one prover that keeps what it read, also as time of the processor, which other programs' load does
    not lengthen; ``cold`` opens a new one for each, checkpoint included.

    Raises:
        IntegrityError: a packet of the chain can't be proved.
    """
    draw = random.Random(_SEED)  # noqa: S311  samples, not secrets
    codes = [_code(chain, draw.randrange(chain.plan.entries)) for _ in range(samples)]
    policy = parse_policy(policy_text(chain.genesis).encode())
    if isinstance(policy, PolicyFileProblem):
        raise IntegrityError(f"the chain's policy: {policy}")
    prover = _prover(chain, policy, tiles)
    taken, busy, sizes = [], [], []
    for code in codes:
        begun, cpu = time.perf_counter(), time.process_time()
        made = prover.prove(code)
        taken.append((time.perf_counter() - begun) * _MS)
        busy.append((time.process_time() - cpu) * _MS)
        sizes.append(len(_good(made).data))
        progress(1)
    cold = []
    for code in codes[:COLD_PROOFS]:
        begun = time.perf_counter()
        made = _prover(chain, policy, tiles).prove(code)
        cold.append((time.perf_counter() - begun) * _MS)
        _good(made)
        progress(1)
    return {
        "leaves": prover.tree_size,
        "packets": chain.plan.entries,
        "samples": samples,
        "proof_ms": spread(taken),
        "proof_cpu_ms": spread(busy),
        "cold_ms": spread(cold),
        "proof_bytes": round(sum(sizes) / len(sizes)),
    }


def _prover(chain: BenchChain, policy: TlogPolicy, tiles: Path) -> TileProver:
    prover = open_prover(chain.genesis, policy, TileFiles(tiles).read)
    if isinstance(prover, LogProblem):
        raise IntegrityError(f"the exported log: {prover}")
    return prover


def _good(made: MadeProof | TraceProblem | LogProblem | ProofProblem) -> MadeProof:
    if not isinstance(made, MadeProof):
        raise IntegrityError(f"no proof: {made}")
    return made


def _code(chain: BenchChain, index: int) -> TracingCode:
    """Return the tracing code of the plan's packet ``index``; block 1 holds the enrolments."""
    height, entry = divmod(index, chain.plan.block_entries)
    return TracingCode(chain.genesis.chain[:5], 2 + height, entry)
