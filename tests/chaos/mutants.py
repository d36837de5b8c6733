"""Removes one protection after the other from a copy of the tree, and shows that tests notice.

``python -m tests.chaos.mutants [NAME…]`` tries all of them, or those named. Exit 0 if each was caught, 1 if one
was not.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_FOLDERS: Final = ("pipeline", "schemas", "connectors", "ops", "tests", "docs")
_FILES: Final = ("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile")
_TESTS_FAILED: Final = 1
_TIMEOUT_S: Final = 3600
_PYTEST: Final = ("-m", "pytest", "-x", "-p", "no:cacheprovider", "--timeout=1800", "-o", "addopts=-q")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A protection and its removal: ``old`` stands once in ``file`` and becomes ``new``; ``tests`` must then fail."""

    name: str
    removes: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def text(self, root: Path) -> str:
        """Return the file's text without the protection.

        Raises:
            ValueError: the code is not what the mutation was written for.
        """
        text = (root / self.file).read_text("utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.file} no longer has this once: {self.old}")
        return text.replace(self.old, self.new)


MUTANTS: Final = (
    Mutant(
        "no-compare-and-swap",
        "Redis takes a block whatever its head is",
        "pipeline/adapters/redis_ledger/scripts.py",
        "  if tonumber(held[1]) + 1 ~= tonumber(ARGV[1]) or held[2] ~= ARGV[2] then return 0 end\n",
        "",
        ("tests/integration/test_ledger_conformance.py", "-k", "1"),
    ),
    Mutant(
        "forgotten-at-acknowledgement",
        "a site keeps records until their commit is verified",
        "pipeline/services/site_agent/send.py",
        "        again = sum(packet.made",
        '        done = (packets[-1].made.last_record,)\n        self._spool._database.execute("DELETE FROM records '
        'WHERE record_id <= ?", done)\n        self._spool._database.execute("UPDATE packets SET live = 0")\n'
        "        again = sum(packet.made",
        ("tests/unit/test_site_agent.py", "tests/property/test_site_delivery.py"),
    ),
    Mutant(
        "no-link-check",
        "a block names the hash of the one before",
        "pipeline/core/replica.py",
        "    if header.previous_hash != head.block_hash:",
        "    if header.previous_hash != header.previous_hash:",
        ("tests/unit/test_core_replica.py",),
    ),
    Mutant(
        "no-continuation",
        "a packet names its site's packet before",
        "pipeline/core/admission.py",
        "    if previous != last.last_id:",
        "    if previous != previous:",
        ("tests/unit/test_core_admission.py",),
    ),
    Mutant(
        "signature-before-record",
        "a node's signing record is on disk before its signature leaves",
        "pipeline/services/accounting/deriving.py",
        "        memory.links.store.record_signed(fresh)\n",
        "",
        ("tests/property/test_node_faults.py",),
    ),
    Mutant(
        "second-signature",
        "a node never signs two blocks at one height",
        "pipeline/adapters/sql/node_store.py",
        "                if held is not None and held != block.block_hash:",
        "                if held is not None and held != held:",
        ("tests/integration/test_accounting.py", "-k", "refuses_to_sign_a_second_block"),
    ),
    Mutant(
        "offsets-before-chain-log",
        "a validator commits offsets after what it admitted is in the chain log",
        "pipeline/services/validator.py",
        "            await self._send(items)\n            await self._reader.commit(_next_offsets(items))\n",
        "            await self._reader.commit(_next_offsets(items))\n            await self._send(items)\n",
        ("tests/unit/test_validator.py", "tests/property/test_validator_properties.py"),
    ),
    Mutant(
        "position-before-rows",
        "the platform's rows and its position are one transaction",
        "pipeline/adapters/sql/store.py",
        '        """Store blocks with everything that follows from them, and the position, all or nothing."""\n',
        '        """Store blocks with everything that follows from them, and the position, all or nothing."""\n'
        "        with transaction(self._engine) as connection:\n"
        '            connection.execute(platform_position.update(), {"next_offset": next_offset})\n',
        ("tests/unit/test_platform.py", "-k", "crash_before_any_write"),
    ),
    Mutant(
        "oracle-counts-nothing-missing",
        "the oracle names what is missing",
        "ops/oracle/compare.py",
        "        found.missing[point.place] += 1\n",
        "",
        ("tests/unit/test_oracle.py",),
    ),
)


def copy_tree(target: Path) -> None:
    """Copy what tests need; environment and caches are shared."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in _FOLDERS:
        shutil.copytree(ROOT / folder, target / folder, ignore=unwanted)
    for name in _FILES:
        shutil.copy(ROOT / name, target / name)
    for name in (".cache", ".venv"):
        (target / name).symlink_to(ROOT / name)


def is_caught(mutant: Mutant, tree: Path) -> bool:
    """Run the tests of a mutant on a copy that has it; put the file back."""
    file = tree / mutant.file
    good = file.read_bytes()
    file.write_text(mutant.text(tree), "utf-8")
    try:
        done = subprocess.run(
            [sys.executable, *_PYTEST, *mutant.tests],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    finally:
        file.write_bytes(good)
    failed = next((line for line in done.stdout.splitlines() if line.startswith("FAILED")), None)
    sys.stdout.write(f"{mutant.name}: {failed or done.stdout[-300:].strip()}\n")
    sys.stdout.flush()
    # A test that hangs ends pytest with the same code, and tells nothing about the mutation.
    return done.returncode == _TESTS_FAILED and failed is not None


def main(names: list[str]) -> int:
    """Try mutants; return the exit code."""
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        sys.stderr.write(f"no mutant is named {', '.join(sorted(unknown))}\n")
        return 2
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    tree = Path(tempfile.mkdtemp(prefix="bkdms-mutants-"))
    try:
        copy_tree(tree)
        caught = {mutant.name: is_caught(mutant, tree) for mutant in chosen}
    finally:
        shutil.rmtree(tree)
    for mutant in chosen:
        verdict = "caught" if caught[mutant.name] else "NOT CAUGHT"
        sys.stdout.write(f"{verdict:10}  {mutant.name}: without “{mutant.removes}”\n")
    return 0 if all(caught.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
