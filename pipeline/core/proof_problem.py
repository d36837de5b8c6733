"""Why a portable proof proves nothing: the reasons, and carrying the first one out of the checks."""

from dataclasses import dataclass
from enum import StrEnum


class ProofReason(StrEnum):
    """Why bytes prove nothing."""

    MALFORMED = "malformed"
    POLICY = "policy"
    GENESIS = "genesis"
    WRONG_CHAIN = "wrong_chain"
    NOT_INCLUDED = "not_included"
    NOT_A_PACKET = "not_a_packet"
    HEADER = "header"
    REGISTRARS = "registrars"
    CONTRACT = "contract"
    ENROLMENT = "enrolment"
    AMENDMENT = "amendment"
    KEY_OFFER = "key_offer"
    GRANT = "grant"
    ADMISSION = "admission"
    SIGNATURE = "signature"
    RECORD = "record"


@dataclass(frozen=True, slots=True)
class ProofProblem:
    """A refused proof; ``detail`` is for people."""

    reason: ProofReason
    detail: str

    def __str__(self) -> str:
        """Return reason and detail."""
        return f"{self.reason.value.replace('_', ' ')}: {self.detail}"


class RefusedError(Exception):
    """Carries the first problem out of the checks; never leaves the core."""

    def __init__(self, reason: ProofReason, detail: str) -> None:
        super().__init__(detail)
        self.problem = ProofProblem(reason, detail)


def require(holds: object, reason: ProofReason, detail: str) -> None:
    """Go on where something holds.

    Raises:
        RefusedError: it does not.
    """
    if not holds:
        raise RefusedError(reason, detail)
