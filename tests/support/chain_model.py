"""The rules of admission once more, over facts instead of bytes, to compare the real ones with."""

from dataclasses import dataclass, field, replace

from pipeline.core.outcome import Outcome

HOUR_MS = 3_600_000
ZERO = bytes(32)


@dataclass(frozen=True)
class Sent:
    """What the model knows of a value in the log: who claims what. ``act`` is packet, enrol, offer, …

    A reanchor has ``signers``, numbers of root keys with the issuer first, and is ``good`` where it names the
    head and nothing was consumed since.
    """

    act: str
    site: int
    key: int = 0
    sequence: int = 0
    previous: bytes = ZERO
    own_id: bytes = ZERO
    time: int = 0
    number: int = 0
    good: bool = True
    signers: tuple[int, ...] = ()

    @property
    def who(self) -> int | str:
        """Whose records this one continues: a site's, a root key's, or the registrar's."""
        if self.act == "packet":
            return self.site
        return f"root {self.signers[0]}" if self.signers else "registrar"


@dataclass
class Member:
    """The model's view of an enrolled site."""

    key: int
    active: bool = True
    readers: list[int] = field(default_factory=list)
    spans: list[int] = field(default_factory=list)


class Model:
    """The rules of admission once more, over facts instead of bytes."""

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self.last: dict[int | str, tuple[int, bytes]] = {}

    def expect(self, sent: Sent, now: int) -> Outcome:
        """Return what has to become of a value, and remember it if it is let in."""
        found = self._packet(sent, now) if sent.act == "packet" else self._control(sent)
        if found is Outcome.ADMITTED:
            self.last[sent.who] = (sent.sequence, sent.own_id)
            if sent.act != "packet":
                self._change(sent)
        return found

    def _packet(self, sent: Sent, now: int) -> Outcome:
        member = self.members.get(sent.site)
        if member is None:
            return Outcome.UNKNOWN_SITE
        too_old = sent.time < now - HOUR_MS and not any(sent.time >= start for start in member.spans)
        checks = [
            (member.key != sent.key, Outcome.WRONG_KEY),
            (not member.active, Outcome.INACTIVE_SITE),
            (sent.number not in member.readers, Outcome.UNKNOWN_RECIPIENT),
            (not sent.good, Outcome.BAD_SIGNATURE),
            *self._order(sent),
            (sent.time > now + 5000, Outcome.TOO_NEW),
            (too_old, Outcome.TOO_OLD),
        ]
        return next((outcome for holds, outcome in checks if holds), Outcome.ADMITTED)

    def _order(self, sent: Sent) -> list[tuple[bool, Outcome]]:
        sequence, last_id = self.last.get(sent.who, (0, ZERO))
        return [
            (sent.own_id == last_id, Outcome.DUPLICATE),
            (sent.sequence == sequence, Outcome.EQUIVOCATION),
            (sent.sequence < sequence, Outcome.STALE),
            (sent.previous != last_id, Outcome.BROKEN_LINK),
            (sent.sequence > sequence + 10, Outcome.SEQUENCE_JUMP),
        ]

    def _control(self, sent: Sent) -> Outcome:
        if sent.act == "reanchor" and len(set(sent.signers)) < max(2, len(sent.signers)):
            return Outcome.BAD_SIGNATURE
        for holds, outcome in self._order(sent):
            if holds:
                return outcome
        if sent.act == "reanchor":
            return Outcome.ADMITTED if sent.good else Outcome.CONFLICTING
        member = self.members.get(sent.site)
        if sent.act == "enrol":
            if member is not None and member.active:
                return Outcome.CONFLICTING
            return Outcome.ADMITTED if sent.good else Outcome.BAD_POSSESSION
        if member is None:
            return Outcome.UNKNOWN_SITE
        if sent.act == "revoke" and not (member.active and member.key == sent.key):
            return Outcome.CONFLICTING
        if sent.act == "offer" and member.readers and sent.number <= member.readers[-1]:
            return Outcome.CONFLICTING
        return Outcome.ADMITTED

    def _change(self, sent: Sent) -> None:
        old = self.members.get(sent.site)
        match sent.act:
            case "enrol":
                self.members[sent.site] = replace(old, key=sent.key, active=True) if old else Member(sent.key)
            case "revoke":
                self.members[sent.site].active = False
            case "offer":
                self.members[sent.site].readers.append(sent.number)
            case "grant":
                self.members[sent.site].spans.append(sent.number)
