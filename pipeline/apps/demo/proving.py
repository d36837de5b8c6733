"""The demonstration's portable proof: one value, made from exported tiles, judged by both checkers, then damaged."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.apps.demo import commands
from pipeline.core.errors import TransientError

TILES = "tiles"
_SUFFIX = ".tlog-proof"


@dataclass(frozen=True, slots=True)
class Portable:
    """What became of the proof: its facts, and whether each checker accepted it and refused it damaged.

    ``second`` is None where the second checker is not there: it comes with the sources, not with the package.
    """

    facts: dict[str, Any]
    size: int
    ours: bool
    second: bool | None

    def as_json(self) -> dict[str, Any]:
        """Return what the report says of it."""
        shown = [value for record in self.facts["disclosed"] for value in record["values"]]
        return {
            "code": self.facts["tracing_code"],
            "bytes": self.size,
            "disclosed": shown[0] if shown else None,
            "cosigners": [item["name"] for item in self.facts["cosigners"]],
            "check_proof": self.ours,
            "second_checker": self.second,
        }


def prove_value(settings: Path, policy: Path, code: str, export: Path) -> Portable:
    """Export the ledger's tiles, prove a packet with its first record, and let both checkers judge it.

    Raises:
        TransientError: a command failed; the message has what it said.
    """
    _done(commands.bkdms(settings, "export", "tiles", str(export / TILES)))
    file = export / f"{code}{_SUFFIX}"
    arguments = ("prove", code, "-o", str(file), "--tiles", str(export / TILES), "--disclose", "0", "--json")
    facts = _done(commands.bkdms(settings, *arguments)).json()
    damaged = file.with_suffix(".damaged")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    damaged.write_bytes(content)
    judged = [
        (commands.command("check-proof", str(proof), "--policy", str(policy)), _second(proof, policy))
        for proof in (file, damaged)
    ]
    damaged.unlink()
    (ours, second), (ours_damaged, second_damaged) = judged
    is_second = (
        None if second is None or second_damaged is None else (second.code, second_damaged.code) == (0, 1)
    )
    return Portable(facts, len(content), (ours.code, ours_damaged.code) == (0, 1), is_second)


def _second(proof: Path, policy: Path) -> commands.Answer | None:
    return commands.second_checker(str(proof), "--policy", str(policy))


def _done(answer: commands.Answer) -> commands.Answer:
    if answer.code:
        raise TransientError(f"a command failed: {answer.talk.strip()[-500:]}")
    return answer
