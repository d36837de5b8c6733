"""The tree of RFC 6962 2.1 as its text defines it, recursively, and accept/reject vectors made from it.

Imports nothing of the pipeline, so that the two can disagree. ``python -m tests.vectors.generate_merkle`` writes
the files that the tests regenerate and compare.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
INCLUSION_SIZES = (1, 2, 3, 7, 8, 13)
CONSISTENCY_SIZES = (
    (0, 0),
    (0, 5),
    (1, 1),
    (1, 2),
    (2, 3),
    (3, 7),
    (4, 8),
    (6, 8),
    (7, 7),
    (8, 13),
    (12, 13),
)
OTHER = sha256(b"something else").digest()

Vector = dict[str, Any]


def node(left: bytes, right: bytes) -> bytes:
    """Hash two children."""
    return sha256(b"\x01" + left + right).digest()


def split(count: int) -> int:
    """Return the largest power of two below ``count``."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def root(leaves: list[bytes]) -> bytes:
    """Return the Merkle tree hash over leaf hashes."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node(root(leaves[:k]), root(leaves[k:]))


def inclusion(index: int, leaves: list[bytes]) -> list[bytes]:
    """Return PATH(index, leaves) of RFC 6962 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*inclusion(index, leaves[:k]), root(leaves[k:])]
    return [*inclusion(index - k, leaves[k:]), root(leaves[:k])]


def consistency(old: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """Return SUBPROOF(old, leaves, whole) of RFC 6962 2.1.2, and nothing for an empty old tree."""
    if old == 0:
        return []
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    k = split(len(leaves))
    if old <= k:
        return [*consistency(old, leaves[:k], whole), root(leaves[k:])]
    return [*consistency(old - k, leaves[k:], False), root(leaves[:k])]


def root_by_inclusion(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """Undo ``inclusion`` from the top down; None where the path has another shape."""
    if not 0 <= index < size:
        return None
    if size == 1:
        return None if path else leaf
    if not path:
        return None
    k = split(size)
    on_left = index < k
    below = root_by_inclusion(leaf, index if on_left else index - k, k if on_left else size - k, path[:-1])
    if below is None:
        return None
    return node(below, path[-1]) if on_left else node(path[-1], below)


def roots_by_consistency(
    old: int, new: int, path: list[bytes], old_root: bytes, whole: bool = True
) -> tuple[bytes, bytes] | None:
    """Undo ``consistency`` from the top down; None where the path has another shape."""
    if old == new:
        steps = [old_root, *path] if whole else path
        return (steps[0], steps[0]) if len(steps) == 1 else None
    if not path:
        return None
    k = split(new)
    if old <= k:
        below = roots_by_consistency(old, k, path[:-1], old_root, whole)
        return below and (below[0], node(below[1], path[-1]))
    below = roots_by_consistency(old - k, new - k, path[:-1], old_root, False)
    return below and (node(path[-1], below[0]), node(path[-1], below[1]))


def accepts_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: list[bytes]) -> bool:
    """Say whether a consistency proof holds; an empty tree has the empty root and needs no proof."""
    if not 0 <= old <= new:
        return False
    if old == 0:
        return not path and old_root == root([]) and (new > 0 or new_root == root([]))
    return roots_by_consistency(old, new, path, old_root) == (old_root, new_root)


def leaves(count: int) -> list[bytes]:
    """Return the leaf hashes of entries ``entry-0`` and so on."""
    return [sha256(b"\x00" + b"entry-%d" % i).digest() for i in range(count)]


def _paths(path: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    yield "path as it is", path
    yield "one more below", [OTHER, *path]
    yield "one more on top", [*path, OTHER]
    if path:
        yield "lowest missing", path[1:]
        yield "topmost missing", path[:-1]
        yield "reversed", path[::-1]
        yield "lowest twice", [path[0], *path]
    for i, step in enumerate(path):
        yield f"bit flipped in step {i}", [*path[:i], bytes([step[0] ^ 1]) + step[1:], *path[i + 1 :]]


def inclusion_vectors() -> list[Vector]:
    """Return good inclusion proofs and what becomes of them when one part is changed."""
    found: list[Vector] = []
    for size in INCLUSION_SIZES:
        tree = leaves(size)
        for index in sorted({0, size // 2, size - 1}):
            cases = [
                (what, tree[index], index, size, path, root(tree))
                for what, path in _paths(inclusion(index, tree))
            ]
            _, leaf, _, _, path, top = cases[0]
            cases += [
                ("other leaf", OTHER, index, size, path, top),
                ("other root", leaf, index, size, path, OTHER),
                ("next index", leaf, index + 1, size, path, top),
                ("negative index", leaf, -1, size, path, top),
                ("index is size", leaf, size, size, path, top),
                ("one leaf fewer", leaf, index, size - 1, path, top),
                ("twice the size", leaf, index, 2 * size, path, top),
                ("root as leaf of a tree of one", top, 0, 1, path, top),
            ]
            found += [
                _inclusion_vector(f"{size} leaves, index {index}: {what}", *rest) for what, *rest in cases
            ]
    return found


def _inclusion_vector(name: str, *case: Any) -> Vector:
    leaf, index, size, path, top = case
    return {
        "name": name,
        "leaf": leaf.hex(),
        "index": index,
        "size": size,
        "path": [step.hex() for step in path],
        "root": top.hex(),
        "accept": root_by_inclusion(leaf, index, size, path) == top,
    }


def consistency_vectors() -> list[Vector]:
    """Return good consistency proofs and what becomes of them when one part is changed."""
    found: list[Vector] = []
    for old, new in CONSISTENCY_SIZES:
        tree = leaves(new)
        before, after = root(tree[:old]), root(tree)
        path = consistency(old, tree)
        cases: list[tuple[Any, ...]] = [(what, old, new, before, after, p) for what, p in _paths(path)]
        cases += [
            ("other old root", old, new, OTHER, after, path),
            ("other new root", old, new, before, OTHER, path),
            ("roots exchanged", old, new, after, before, path),
            ("sizes exchanged", new, old, before, after, path),
            ("old size one more", old + 1, new, before, after, path),
            ("new size one more", old, new + 1, before, after, path),
            ("negative old size", -1, new, before, after, path),
        ]
        found += [_consistency_vector(f"{old} to {new} leaves: {what}", *rest) for what, *rest in cases]
    return found


def _consistency_vector(name: str, *case: Any) -> Vector:
    old, new, before, after, path = case
    return {
        "name": name,
        "old_size": old,
        "new_size": new,
        "old_root": before.hex(),
        "new_root": after.hex(),
        "path": [step.hex() for step in path],
        "accept": accepts_consistency(old, new, before, after, path),
    }


def files() -> dict[str, str]:
    """Return the vector files' names and contents."""
    return {
        name: json.dumps(vectors, indent=1) + "\n"
        for name, vectors in (
            ("merkle_inclusion.json", inclusion_vectors()),
            ("merkle_consistency.json", consistency_vectors()),
        )
    }


if __name__ == "__main__":
    for file_name, content in files().items():
        (FOLDER / file_name).write_text(content)
