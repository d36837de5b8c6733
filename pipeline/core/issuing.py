"""What an issuer of control records must remember, and what of it the ledger has not got yet."""

from dataclasses import dataclass

from pipeline.core.control import Control, parse_control
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.core.state import START, Position


@dataclass(frozen=True, slots=True)
class Journal:
    """An issuer's last position seen committed, and the encoded records that it signed since, in order."""

    position: Position = START
    pending: tuple[bytes, ...] = ()


def unseen(journal: Journal, committed: Position) -> tuple[Control, ...]:
    """Return the pending records that the ledger, standing at ``committed`` for this issuer, does not have.

    Raises:
        IntegrityError: the ledger has another record where the journal has one (code ``issuer_key_shared``).
        TransientError: the ledger as read ends before what was seen in it (code ``ledger_behind``).
    """
    records = tuple(c for c in map(parse_control, journal.pending) if isinstance(c, Control))
    known = {record.sequence: record.control_id for record in records}
    known[journal.position.sequence] = journal.position.last_id
    if known.get(committed.sequence, committed.last_id) != committed.last_id:
        raise IntegrityError(
            f"the ledger holds another record {committed.sequence} of this registrar than was issued here; "
            "somebody else has its key: stop, and have the holders of the root keys replace it",
            code="issuer_key_shared",
        )
    if committed.sequence < journal.position.sequence:
        raise TransientError(
            f"the published blocks end before record {journal.position.sequence} of this registrar, which was "
            "seen in them; wait for them, or check them with `bkdms verify`",
            code="ledger_behind",
        )
    return tuple(record for record in records if record.sequence > committed.sequence)
