"""The flat files of tree nodes: proofs from disk, and what opening makes of torn ones."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.adapters.hash_files import HashFiles
from pipeline.core.errors import ConflictError, IntegrityError, TransientError
from pipeline.core.merkle import EMPTY_ROOT, is_consistent, is_included
from tests.vectors import generate_merkle as naive

LEAVES = naive.leaves(70)


def _filled(folder: Path, count: int = 70) -> HashFiles:
    store = HashFiles.open(folder, 0)
    for at in range(0, count, 9):
        store.append(LEAVES[at : min(at + 9, count)])
    store.sync()
    return store


def _lengths(folder: Path) -> list[int]:
    return [(folder / f"level{level}.bin").stat().st_size for level in range(len(list(folder.iterdir())))]


def test_a_new_folder_is_an_empty_tree(tmp_path: Path) -> None:
    with HashFiles.open(tmp_path / "new" / "tree", 0) as store:
        assert store.size == 0
        assert store.root(0) == EMPTY_ROOT


def test_files_and_folder_are_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    _filled(folder).close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_every_root_and_proof_comes_from_the_files(tmp_path: Path) -> None:
    with _filled(tmp_path) as store:
        for size in range(1, 71):
            root = naive.root(LEAVES[:size])
            assert store.root(size) == root
            for index in range(size):
                assert is_included(LEAVES[index], index, size, store.inclusion(index, size), root)
            for old in range(size + 1):
                proof = store.consistency(old, size)
                assert is_consistent(old, size, naive.root(LEAVES[:old]), root, proof)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 63, 64, 69, 70])
def test_opening_at_a_smaller_size_cuts_the_surplus_off(tmp_path: Path, size: int) -> None:
    _filled(tmp_path).close()
    with HashFiles.open(tmp_path, size) as store:
        assert _lengths(tmp_path) == [(size >> level) * 32 for level in range(7)]
        assert store.frontier.root() == naive.root(LEAVES[:size])
        store.append(LEAVES[size:])
        assert store.root(70) == naive.root(LEAVES)


def test_a_torn_tail_is_cut_off(tmp_path: Path) -> None:
    _filled(tmp_path).close()
    for level in range(7):
        with (tmp_path / f"level{level}.bin").open("ab") as file:
            file.write(b"torn" * (level + 1))
    with HashFiles.open(tmp_path, 70) as store:
        assert store.root(70) == naive.root(LEAVES)
        assert _lengths(tmp_path) == [(70 >> level) * 32 for level in range(7)]


@pytest.mark.parametrize("level", [0, 3, 6])
def test_files_shorter_than_the_recorded_size_are_reported(tmp_path: Path, level: int) -> None:
    _filled(tmp_path).close()
    file = tmp_path / f"level{level}.bin"
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(ConflictError, match=f"level{level}") as refusal:
        HashFiles.open(tmp_path, 70)
    assert refusal.value.code == "tree_short"


def test_a_wiped_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConflictError) as refusal:
        HashFiles.open(tmp_path / "gone", 70)
    assert refusal.value.code == "tree_short"


def test_a_file_shortened_while_open_is_reported(tmp_path: Path) -> None:
    with _filled(tmp_path) as store:
        os.truncate(tmp_path / "level0.bin", 100)
        with pytest.raises(IntegrityError) as halt:
            store.node(0, 60)
        assert halt.value.code == "tree_damaged"


@pytest.mark.parametrize(("level", "index"), [(-1, 0), (0, -1), (0, 70), (1, 35), (6, 1), (7, 0)])
def test_there_are_no_other_nodes(tmp_path: Path, level: int, index: int) -> None:
    with _filled(tmp_path) as store, pytest.raises(ValueError, match="no node"):
        store.node(level, index)


def test_a_failed_append_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    with _filled(tmp_path, 40) as store:
        for good_writes in range(5):
            monkeypatch.setattr(os, "pwrite", _full_after(good_writes, real))
            with pytest.raises(TransientError) as refusal:
                store.append(reversed(LEAVES))
            assert refusal.value.code == "disk"
            assert store.root(40) == store.frontier.root() == naive.root(LEAVES[:40])
        monkeypatch.setattr(os, "pwrite", real)
        store.append(LEAVES[40:])
        assert store.root(70) == naive.root(LEAVES)


def test_writes_taken_in_parts_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: real(file, data[:7], offset))
    with _filled(tmp_path) as store:
        assert store.root(70) == naive.root(LEAVES)


def test_a_failed_sync_asks_to_be_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int) -> None:
        raise OSError(errno.EIO, "injected")

    with _filled(tmp_path, 40) as store:
        store.append(LEAVES[40:])
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(ConflictError) as refusal:
            store.sync()
        assert refusal.value.code == "tree_unsynced"
    monkeypatch.undo()
    with HashFiles.open(tmp_path, 40) as store:
        store.append(LEAVES[40:])
        assert store.root(70) == naive.root(LEAVES)


def _full_after(
    good_writes: int, real: Callable[[int, memoryview, int], int]
) -> Callable[[int, memoryview, int], int]:
    left = good_writes

    def write(file: int, data: memoryview, offset: int) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, "injected")
        left -= 1
        return real(file, data, offset)

    return write
