"""Proofs are made from tiles for any packet, through files that are damaged or missing for none."""

import shutil
from pathlib import Path

import pytest

from pipeline.adapters.tile_files import TileFiles
from pipeline.core.block import Kind
from pipeline.core.disclosure import disclose
from pipeline.core.packet import Opened, Packet, open_packet
from pipeline.core.proof import Proof, ProofProblem, verify_proof
from pipeline.core.tiles import TileId, tiles_of
from pipeline.core.tlog_policy import TlogPolicy
from pipeline.services.tile_prover import LogProblem, MadeProof, open_prover
from pipeline.services.trace import TraceProblem
from tests.support.proofs import ExportedChain, export_chain
from tests.support.tiles import exported_files


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedChain:
    return export_chain(tmp_path_factory.mktemp("proofs"))


def test_every_packet_gets_a_proof_that_holds_under_the_policy(exported: ExportedChain) -> None:
    prover, seen = exported.prover(), 0
    for derived in reversed(exported.chain.blocks):
        header = derived.block.header
        for number, entry in enumerate(derived.block.entries):
            if entry.kind is not Kind.PACKET or (number > 3 and number % 37):
                continue
            code = exported.code(header.height, number)
            made = prover.prove(code)
            assert isinstance(made, MadeProof), made
            proof = verify_proof(exported.policy, made.data)
            assert isinstance(proof, Proof)
            assert (proof.code, proof.packet.raw) == (code, entry.payload)
            seen += 1
    assert seen > 20


def test_places_without_a_packet_are_named(exported: ExportedChain) -> None:
    prover = exported.prover()
    assert prover.prove(exported.code(1, 0)) is TraceProblem.NOT_A_PACKET
    assert prover.prove(exported.code(2, 300)) is TraceProblem.NOT_COMMITTED
    assert prover.prove(exported.code(6, 0)) is TraceProblem.NOT_COMMITTED


def test_the_latest_enrolment_and_the_grant_are_found_in_any_order(exported: ExportedChain) -> None:
    for codes in ([(5, 1), (2, 0), (4, 449)], [(2, 299), (4, 0), (5, 1)]):
        prover = exported.prover()
        for height, entry in codes:
            assert isinstance(prover.prove(exported.code(height, entry)), MadeProof)


def test_disclosed_records_are_proven_without_their_neighbours(exported: ExportedChain) -> None:
    def opened(packet: Packet) -> Opened:
        found = open_packet(packet, exported.first.platform_key)
        assert isinstance(found, Opened)
        return found

    made = exported.prover().prove(
        exported.code(4, 450), lambda packet: disclose(packet, opened(packet), [3, 1])
    )
    assert isinstance(made, MadeProof)
    proof = verify_proof(exported.policy, made.data)
    assert isinstance(proof, Proof)
    assert [(index, record.values[0].unscaled) for index, record in proof.disclosed] == [(1, 6), (3, 8)]
    packet = opened(proof.packet)
    assert not any(packet.records[i] in made.data or packet.seed in made.data for i in (0, 2, 4))


@pytest.mark.parametrize("change", ["flip", "cut", "remove"])
def test_no_damaged_file_ever_gives_a_proof_that_does_not_hold(
    exported: ExportedChain, tmp_path: Path, change: str
) -> None:
    size, refused = exported.prover().tree_size, 0
    for number, tile in enumerate(tiles_of(size)):
        folder = shutil.copytree(exported.folder, tmp_path / str(number))
        path = folder / tile.path
        content = path.read_bytes()
        if change == "remove":
            path.unlink()
        else:
            middle = len(content) // 2
            flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            path.write_bytes(flipped if change == "flip" else content[:-1])
        prover = exported.prover(TileFiles(folder).read)
        for height, entry in [(2, 7), (4, 200), (5, 1)]:
            made = prover.prove(exported.code(height, entry))
            assert isinstance(made, MadeProof | LogProblem | ProofProblem)
            if isinstance(made, MadeProof):
                assert isinstance(verify_proof(exported.policy, made.data), Proof)
            refused += not isinstance(made, MadeProof)
    assert refused > 0


def test_a_missing_file_is_named(exported: ExportedChain, tmp_path: Path) -> None:
    folder = shutil.copytree(exported.folder, tmp_path / "log")
    tile = TileId(0, 1)
    (folder / tile.path).unlink()
    made = exported.prover(TileFiles(folder).read).prove(exported.code(4, 0))
    assert made == LogProblem(tile.path, "missing")


def test_a_tile_that_became_full_serves_for_its_former_part(exported: ExportedChain) -> None:
    files = exported_files(exported.folder)
    partial = next(path for path in files if path.startswith("tile/entries") and ".p/" in path)
    whole = {partial.split(".p/", maxsplit=1)[0]: files[partial] + b"\0\x01?"}
    level = next(path for path in files if path.startswith("tile/0/") and ".p/" in path)
    whole[level.split(".p/", maxsplit=1)[0]] = files[level] + bytes(32)
    kept = {path: data for path, data in files.items() if path not in (partial, level)} | whole
    made = exported.prover(lambda path: kept.get(path, b"")).prove(exported.code(5, 1))
    assert isinstance(made, MadeProof)


def test_a_log_without_a_good_checkpoint_gives_no_prover(exported: ExportedChain) -> None:
    genesis, policy = exported.world.genesis, exported.policy
    note = TileFiles(exported.folder).read("checkpoint")
    other = b"B" if note[-40:-39] == b"A" else b"A"
    for content in (b"", note[:-40] + other + note[-39:], note.replace(b"bkdms.local", b"bkdms.other")):
        assert isinstance(open_prover(genesis, policy, lambda _path, c=content: c), LogProblem)  # type: ignore[misc]
    nobody = TlogPolicy(policy.logs, policy.witnesses, policy.groups[:0], policy.witnesses[-1].name)
    assert isinstance(open_prover(genesis, nobody, lambda _path: note), LogProblem)
