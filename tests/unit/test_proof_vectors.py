"""Both checkers of portable proofs agree with vectors that neither of them made."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.proof import Proof, verify_proof
from pipeline.core.tlog_policy import TlogPolicy, parse_policy
from tests.vectors import generate_proofs
from tests.vectors.core_world import FOLDER
from tests.vectors.proof_edits import applied

PROGRAM = Path(__file__).parents[2] / "docs" / "check_proof.py"


def second_checker() -> Callable[[bytes, bytes], Any]:
    """Return ``check(policy, proof)`` of the auditor's program."""
    spec = importlib.util.spec_from_file_location("check_proof", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    check: Callable[[bytes, bytes], Any] = module.check
    return check


CHECK = second_checker()


def stored(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def cases() -> list[Any]:
    """Return (name, policy, proof, reason or None) of every vector."""
    found = [(case["name"], case["policy"], case["proof"], None) for case in stored("proof_accept.json")]
    found += [
        (case["name"], case["policy"], case["proof"], case["reason"]) for case in stored("proof_lies.json")
    ]
    edited = stored("proof_edits.json")
    for case in edited["edits"]:
        found.append((case["name"], *applied(edited["base"], case), case["reason"]))
    return [pytest.param(*case[1:], id=case[0]) for case in found]


def says(policy: str, proof: str) -> Proof | str:
    parsed = parse_policy(policy.encode())
    assert isinstance(parsed, TlogPolicy)
    result = verify_proof(parsed, proof.encode())
    return result if isinstance(result, Proof) else result.reason.value


@pytest.mark.parametrize("name", sorted(generate_proofs.files()))
def test_the_stored_vectors_are_those_of_the_generator(name: str) -> None:
    assert (FOLDER / name).read_text() == generate_proofs.files()[name]


@pytest.mark.parametrize(("policy", "proof", "reason"), cases())
def test_our_checker_says_what_the_vector_says(policy: str, proof: str, reason: str | None) -> None:
    result = says(policy, proof)
    assert isinstance(result, Proof) if reason is None else result == reason


@pytest.mark.parametrize(("policy", "proof", "reason"), cases())
def test_the_second_checker_agrees(policy: str, proof: str, reason: str | None) -> None:
    try:
        CHECK(policy.encode(), proof.encode())
    except Exception as error:
        assert reason is not None, error
    else:
        assert reason is None


def test_the_base_of_the_edits_holds() -> None:
    parts = stored("proof_edits.json")["base"]
    assert isinstance(says(parts["policy"], parts["proof"]), Proof)
    assert CHECK(parts["policy"].encode(), parts["proof"].encode())


def test_the_second_checker_is_short_and_shares_no_code() -> None:
    lines = PROGRAM.read_text("utf-8").splitlines()
    imported = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert len(lines) <= 230
    assert imported <= set(sys.stdlib_module_names) | {"cryptography"}


@pytest.mark.parametrize(("damage", "code"), [(b"", 0), (b"x", 1)])
def test_the_second_checker_runs_as_a_program(tmp_path: Path, damage: bytes, code: int) -> None:
    parts = stored("proof_edits.json")["base"]
    (tmp_path / "policy").write_text(parts["policy"])
    (tmp_path / "proof").write_bytes(parts["proof"].encode() + damage)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path / "proof"), "--policy", str(tmp_path / "policy")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith("good\n") is (code == 0)
    assert done.stderr.startswith("BAD ") is (code == 1)
