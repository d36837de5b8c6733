"""A program that we did not write accepts our nodes' cosignatures of both kinds, and we accept its."""

import subprocess
from pathlib import Path

import pytest

from pipeline.core.checkpoint import Checkpoint
from pipeline.core.note import OpenedNote, open_note, parse_verifier_key
from pipeline.core.policy_file import log_verifier, node_verifiers
from tests.support.tiles import exported_files, exporter
from tests.support.witnessing import WitnessCase, export

pytestmark = pytest.mark.judges


@pytest.fixture(scope="module")
def case() -> WitnessCase:
    return WitnessCase(mldsa44=True)


def verified(cosigner: Path, keys: Path, note: bytes) -> list[str] | None:
    """Return the keys by which the note verified; None where it was refused."""
    ran = subprocess.run([cosigner, "verify", keys], input=note, capture_output=True, timeout=60, check=False)
    return ran.stdout.decode().split() if ran.returncode == 0 else None


async def test_an_exported_checkpoint_verifies_by_every_key(
    cosigner: Path, case: WitnessCase, tmp_path: Path
) -> None:
    genesis = case.world.genesis
    await export(exporter(tmp_path / "log", case.world, case.topic()))
    note = exported_files(tmp_path / "log")["checkpoint"]
    keys = tmp_path / "keys"
    keys.write_text("\n".join(map(str, (log_verifier(genesis), *node_verifiers(genesis)))))
    found = verified(cosigner, keys, note)
    assert found is not None
    signers = {key for key in node_verifiers(genesis) if key.name in ("node-0", "node-1", "node-2")}
    assert set(found) == {str(key) for key in (log_verifier(genesis), *signers)}
    assert len(found) == 7
    lines = note.split(b"\n")
    for number, line in enumerate(lines):
        if line.startswith("—".encode()):
            changed = line[:-5] + (b"A" if line[-5:-4] != b"A" else b"B") + line[-4:]
            assert (
                verified(cosigner, keys, b"\n".join([*lines[:number], changed, *lines[number + 1 :]])) is None
            )


def test_a_cosignature_made_elsewhere_is_accepted(cosigner: Path) -> None:
    body = Checkpoint("bkdms.local/city1", 5, bytes(range(32))).body()
    ran = subprocess.run(
        [cosigner, "sign", "w.example/one"], input=body, capture_output=True, timeout=60, check=True
    )
    encoded, _, note = ran.stdout.partition(b"\n")
    key = parse_verifier_key(encoded.decode())
    assert not isinstance(key, str)
    opened = open_note(note, [key])
    assert isinstance(opened, OpenedNote)
    assert opened.text == body
    assert [found.key for found in opened.verified] == [key]
