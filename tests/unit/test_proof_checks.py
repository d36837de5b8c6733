"""What our checker of proofs looks at beyond the shared vectors."""

from typing import Any

import pytest

from pipeline.core.proof import Proof, ProofProblem, verify_proof
from pipeline.core.tlog_policy import TlogPolicy, parse_policy
from tests.vectors.proof_case import Ledger


def result(ledger: Ledger) -> Proof | ProofProblem:
    policy = parse_policy(ledger.policy().encode())
    assert isinstance(policy, TlogPolicy)
    return verify_proof(policy, ledger.proof().encode())


def test_the_genesis_file_has_to_be_that_of_the_log() -> None:
    ledger = Ledger()
    ledger.origin = "other.example/log"
    found = result(ledger)
    assert isinstance(found, ProofProblem)
    assert "genesis file" in found.detail


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"header": {"contract_hash": bytes(32)}}, "contract_hash"),
        ({"offer": {"public_key": bytes(32)}}, "not sealed to this key"),
        ({"packet": {"module_id": "a b"}}, "no packet"),
    ],
)
def test_what_the_second_checker_leaves_out_is_refused(changes: dict[str, Any], detail: str) -> None:
    found = result(Ledger(**changes))
    assert isinstance(found, ProofProblem)
    assert detail in found.detail


def test_a_proof_says_what_it_is_about() -> None:
    found = result(Ledger(order=(3, "enrol", "offer", 4, "packet", "header", 5)))
    assert isinstance(found, Proof)
    facts = found.as_json()
    assert (facts["height"], facts["entry"], facts["sequence"]) == (3, 9, 7)
    assert (facts["leaf_index"], facts["tree_size"], facts["records"]) == (9, 16, 5)
    assert [item["name"] for item in facts["cosigners"]] == ["node-0"]
    assert facts["attested_by_cosigners"]
