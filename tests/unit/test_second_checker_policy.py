"""The second checker of proofs reads policy files as C2SP tlog-policy says, judged by the same vectors as ours."""

import importlib.util
import json
from typing import Any

import pytest

from tests.unit.test_proof_vectors import PROGRAM
from tests.vectors.core_world import FOLDER

GOLDEN: Any = json.loads((FOLDER / "tlog_policy.json").read_text())
WEAK = "a key of small order"


def check_note(policy: str, *signers: str) -> bool:
    """Say whether the second checker accepts the vectors' checkpoint with these signatures."""
    spec = importlib.util.spec_from_file_location("check_proof", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    signatures = "".join(GOLDEN["signatures"][name] for name in signers)
    try:
        module.check_note(policy.encode("latin-1"), f"{GOLDEN['body']}\n{signatures}".encode())
    except Exception:
        return False
    return True


@pytest.mark.parametrize("case", GOLDEN["good"], ids=lambda case: case["comment"])
def test_a_good_policy_is_met_by_the_right_witnesses_alone(case: Any) -> None:
    names_a_log = "log" in case["policy"].split()
    for signers in case["met"]:
        assert check_note(case["policy"], "log", *signers) is names_a_log, signers
    for signers in case["unmet"]:
        assert not check_note(case["policy"], "log", *signers), signers


@pytest.mark.parametrize(
    "case", [case for case in GOLDEN["bad"] if case["comment"] != WEAK], ids=lambda case: case["comment"]
)
def test_a_bad_policy_is_refused(case: Any) -> None:
    assert not check_note(case["policy"], *GOLDEN["signatures"])
