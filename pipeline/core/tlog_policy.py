"""C2SP tlog-policy: which logs and witnesses a verifier trusts, reading such a file, and checking a note by it.

Owns the format and its quorum rule. A policy file is octets: names and URLs are opaque, so they are kept as a text
that tells any two of them apart. Bytes from outside never raise.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pipeline.core.checkpoint import Checkpoint, CheckpointProblem, parse_checkpoint
from pipeline.core.keys import Algorithm, key_problem
from pipeline.core.note import (
    MLDSA44,
    SIGNATURE_TYPES,
    NoteProblem,
    VerifierKey,
    open_note,
    parse_verifier_key,
)

POLICY_FILE: Final = "policy.txt"
"""The name of such a file beside a genesis file and in an export."""
MAX_POLICY_BYTES: Final = 1024 * 1024
"""Room for MAX_OF_EACH logs and witnesses with post-quantum keys."""
MAX_OF_EACH: Final = 256
"""Most logs, witnesses and groups of a file; the specification asks for 32 of each."""
NO_QUORUM: Final = "none"
"""The predefined name that asks for no cosignature."""

_FORBIDDEN: Final = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_BLANKS: Final = re.compile(rb"[ \t]+")
_THRESHOLD: Final = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A log that is trusted; the name of ``key`` is its origin."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness; ``name`` counts in the policy file alone, ``url`` is where add-checkpoint is offered."""

    name: str
    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Members (witnesses or groups, by name) of which ``threshold`` must have witnessed.

    Raises:
        ValueError: the threshold is not 1 to the number of members.
    """

    name: str
    threshold: int
    members: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= len(self.members):
            raise ValueError("a group's threshold is 1 to the number of its members")


@dataclass(frozen=True, slots=True)
class TlogPolicy:
    """A policy; groups name only what stands before them, ``quorum`` a witness, a group or ``none``."""

    logs: tuple[LogEntry, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    def is_met(self, cosigners: Collection[str]) -> bool:
        """Say whether these witnesses (by name) make the quorum."""
        witnessed = {witness.name for witness in self.witnesses if witness.name in cosigners}
        for group in self.groups:
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum == NO_QUORUM or self.quorum in witnessed


@dataclass(frozen=True, slots=True)
class PolicyFileProblem:
    """Why bytes are no policy: the first line that is wrong, from 1 on (0: the file as a whole), and what is."""

    line: int
    detail: str

    def __str__(self) -> str:
        """Return the problem with its place."""
        return f"line {self.line}: {self.detail}" if self.line else self.detail


class PolicyReason(StrEnum):
    """Why a note is refused by a policy; ``PolicyRefusal.detail`` says more."""

    BAD_NOTE = "bad_note"
    BAD_CHECKPOINT = "bad_checkpoint"
    NOT_SIGNED_BY_LOG = "not_signed_by_log"
    NO_QUORUM = "no_quorum"


@dataclass(frozen=True, slots=True)
class PolicyRefusal:
    """Why a note is refused; ``detail`` is for people."""

    reason: PolicyReason
    detail: str


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What a note states that a policy accepts.

    ``log`` is the listed log that signed, None where the policy lists none: then any origin is accepted, and which one
    is right is the caller's affair. ``cosigners`` are the witnesses, by name in the policy's order, each with the
    earliest time of its cosignatures in seconds since 1970.
    """

    checkpoint: Checkpoint
    log: VerifierKey | None
    cosigners: tuple[tuple[str, int], ...]


def parse_policy(data: bytes) -> TlogPolicy | PolicyFileProblem:
    """Read a policy file. Total: any other bytes give the first line that is wrong."""
    if len(data) > MAX_POLICY_BYTES:
        return PolicyFileProblem(0, f"a policy file has at most {MAX_POLICY_BYTES} bytes")
    draft = _Draft()
    *lines, rest = data.split(b"\n")
    for number, line in enumerate([*lines, rest] if rest else lines, 1):
        problem = draft.add(line)
        if problem is not None:
            return PolicyFileProblem(number, problem)
    if rest:
        return PolicyFileProblem(len(lines) + 1, "the last line does not end in a newline")
    if draft.quorum is None:
        return PolicyFileProblem(0, "there is no quorum line")
    return TlogPolicy(tuple(draft.logs), tuple(draft.witnesses), tuple(draft.groups), draft.quorum)


def check_note(policy: TlogPolicy, note: bytes) -> Witnessed | PolicyRefusal:
    """Check that a listed log signed a checkpoint of its own origin and that the quorum witnessed it.

    Signatures of other keys are ignored; one bad signature of a listed key refuses the note.
    """
    keys = [*(log.key for log in policy.logs), *(witness.key for witness in policy.witnesses)]
    opened = open_note(note, keys)
    if isinstance(opened, NoteProblem):
        return PolicyRefusal(PolicyReason.BAD_NOTE, opened)
    checkpoint = parse_checkpoint(opened.text)
    if isinstance(checkpoint, CheckpointProblem):
        return PolicyRefusal(PolicyReason.BAD_CHECKPOINT, checkpoint)
    earliest: dict[VerifierKey, int] = {}
    for found in opened.verified:
        earliest[found.key] = min(found.timestamp, earliest.get(found.key, found.timestamp))
    signers = [log.key for log in policy.logs if log.key in earliest and log.key.name == checkpoint.origin]
    if policy.logs and not signers:
        detail = f"no listed log of the name {checkpoint.origin} signed it"
        return PolicyRefusal(PolicyReason.NOT_SIGNED_BY_LOG, detail)
    cosigners = tuple((item.name, earliest[item.key]) for item in policy.witnesses if item.key in earliest)
    if not policy.is_met([name for name, _ in cosigners]):
        names = ", ".join(name for name, _ in cosigners) or "nobody"
        return PolicyRefusal(
            PolicyReason.NO_QUORUM, f"{names} cosigned it, which does not make {policy.quorum}"
        )
    return Witnessed(checkpoint, signers[0] if signers else None, cosigners)


@dataclass(slots=True)
class _Draft:
    """The lines read so far; each method returns what is wrong with its line, or None."""

    logs: list[LogEntry] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    quorum: str | None = None
    defined: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)

    def add(self, line: bytes) -> str | None:
        """Take the next line."""
        if _FORBIDDEN.search(line):
            return "control characters other than tab and newline are not allowed"
        match [item for item in _BLANKS.split(line) if item]:
            case []:
                return None
            case [first, *_] if first.startswith(b"#"):
                return None
            case [b"log", key, *rest] if len(rest) <= 1:
                return self._log(key, *map(_text, rest))
            case [b"witness", name, key, *rest] if len(rest) <= 1:
                return self._witness(_text(name), key, *map(_text, rest))
            case [b"group", name, threshold, *members] if members:
                return self._group(_text(name), _text(threshold), [*map(_text, members)])
            case [b"quorum", name]:
                return self._quorum(_text(name))
        forms = "'log KEY [URL]', 'witness NAME KEY [URL]', 'group NAME all|any|K NAME…' or 'quorum NAME'"
        return f"it is none of {forms}"

    def _log(self, encoded: bytes, url: str | None = None) -> str | None:
        key = _key(encoded)
        if isinstance(key, str):
            return key
        if key.public_key in {log.key.public_key for log in self.logs}:
            return "another log has the same public key"
        self.logs.append(LogEntry(key, url))
        return _too_many("logs", self.logs)

    def _witness(self, name: str, encoded: bytes, url: str | None = None) -> str | None:
        key = _key(encoded)
        if isinstance(key, str):
            return key
        if not SIGNATURE_TYPES[key.algorithm].timestamped:
            return f"signature type {key.algorithm} of the key is not one of witnesses"
        if key.public_key in {witness.key.public_key for witness in self.witnesses}:
            return "another witness has the same public key"
        self.witnesses.append(Witness(name, key, url))
        return _too_many("witnesses", self.witnesses) or self._define(name)

    def _group(self, name: str, threshold: str, members: list[str]) -> str | None:
        for member in members:
            if member not in self.defined:
                return f"no line above defines {member!r}"
            if member in self.members:
                return f"{member!r} is a member already"
            self.members.add(member)
        needed = {"any": 1, "all": len(members)}.get(threshold)
        if needed is None:
            needed = int(threshold) if _THRESHOLD.fullmatch(threshold) else 0
        if not 1 <= needed <= len(members):
            return f"{threshold!r} is not 'all', 'any' or 1 to {len(members)} in decimal"
        self.groups.append(Group(name, needed, tuple(members)))
        return _too_many("groups", self.groups) or self._define(name)

    def _quorum(self, name: str) -> str | None:
        if self.quorum is not None:
            return "there is a quorum line above"
        if name != NO_QUORUM and name not in self.defined:
            return f"no line above defines {name!r}"
        self.quorum = name
        return None

    def _define(self, name: str) -> str | None:
        if name == NO_QUORUM:
            return f"the name {NO_QUORUM!r} is taken"
        if name in self.defined:
            return f"the name {name!r} is defined already"
        self.defined.add(name)
        return None


def _text(octets: bytes) -> str:
    """Return a printable text that is another one for any other octets: UTF-8, the rest (and backslashes) escaped."""
    return octets.replace(b"\\", b"\\\\").decode(errors="backslashreplace")


def _key(encoded: bytes) -> VerifierKey | str:
    key = parse_verifier_key(encoded.decode(errors="surrogateescape"))
    if isinstance(key, NoteProblem):
        return f"the verifier key is refused: {key.replace('_', ' ')}"
    algorithm = Algorithm.MLDSA44 if key.algorithm == MLDSA44 else Algorithm.ED25519
    return key_problem(algorithm, key.public_key) or key


def _too_many(what: str, found: Collection[object]) -> str | None:
    return f"there are more than {MAX_OF_EACH} {what}" if len(found) > MAX_OF_EACH else None
