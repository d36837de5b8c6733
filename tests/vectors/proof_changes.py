"""Ledgers in which root keys or a registrar changed something before the packet, for vectors of portable proofs.

Imports nothing of the pipeline.
"""

from collections.abc import Iterator
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.core_world import NOW
from tests.vectors.proof_bodies import REGISTRAR, ROOTS, Key, record, registrars
from tests.vectors.proof_case import LATER, NEW_KEY, Ledger

DAY = 86_400_000
STRANGER = bytes([0x99]) * 32
ECDSA: Key = (2, bytes([0x98]) * 32)
LATEST = bytes([0x69]) * 32
REPLACED = ("registrars", "enrol", "offer", "packet", "header")
AMENDED = ("enrol", "offer", "amend", "packet", "header")
TWICE = ("enrol", "offer", "amend", "amend-2", "packet", "header")
AGREED = ("enrol", "offer", "contract", 1, "packet", "header")
BY_LATER = {"enrol": LATER, "offer": LATER}


def fingerprint(key: Key) -> bytes:
    """Return the fingerprint of a site's key."""
    return plain.fingerprint(plain.SITE, key[0], plain.signing_public(*key))


def amended(*, signed: Key = NEW_KEY, order: tuple[str, ...] = AMENDED, **fields: Any) -> Ledger:
    """Return a ledger with an amendment before the packet, which is signed with a key of the site."""
    packet = {"site_key": fingerprint(signed)} | fields.pop("packet", {})
    return Ledger(order=order, packet=packet, site_secret=signed, **fields)


def former() -> Key:
    """Return the key that the site was enrolled with."""
    ledger = Ledger()
    return ledger.signing, ledger.site


def agreed(**fields: Any) -> Ledger:
    """Return a ledger whose last block is under a contract that root keys decided in the one before."""
    given: dict[str, Any] = {"order": AGREED, "begins": 4, "agreed": "contract"}
    return Ledger(**(given | fields))


def changed() -> Iterator[tuple[str, Ledger]]:
    """Yield what holds."""
    yield "enrolled by a later registrar", Ledger(order=REPLACED, issuers=BY_LATER)
    order: tuple[str, ...] = ("enrol", "registrars", "offer", "packet", "header")
    yield "a key offered by a later registrar", Ledger(order=order, issuers={"offer": LATER})
    order = ("registrars", "enrol", "registrars-2", "offer", "packet", "header")
    twice = {"registrars-2": registrars(LATEST)}
    yield (
        "registrars replaced twice",
        Ledger(order=order, changes=twice, issuers={"enrol": LATER, "offer": LATEST}),
    )
    both = {"registrars": registrars(REGISTRAR, LATER)}
    yield "a registrar who stays", Ledger(order=REPLACED, changes=both, issuers={"offer": LATER})
    yield (
        "registrars replaced by all root keys",
        Ledger(order=REPLACED, issuers=BY_LATER, signers={"registrars": (ROOTS[2], ROOTS[0], ROOTS[1])}),
    )
    order = ("enrol", "offer", "registrars", "packet", "header")
    yield "registrars replaced after the site's rights", Ledger(order=order)
    yield "registrars replaced, and not shown", Ledger(order=order, hidden=("registrars",))
    yield "a key that an amendment gave", amended()
    yield "the former key while it may", amended(signed=former(), packet_time=NOW + 10)
    ecdsa: dict[str, Any] = {"amend": {"key": ECDSA, "suites": [3]}}
    public = plain.sealing_public(plain.ECDH, bytes([0x97]) * 32)
    offer = {"algorithm": plain.ECDH, "public_key": public}
    reader = {"key": plain.fingerprint(plain.PLATFORM, plain.ECDH, public), "sealed_key": bytes(113)}
    yield (
        "another kind of key and suite",
        amended(signed=ECDSA, changes=ecdsa, offer=offer, packet={"suite": 3, "recipients": [reader]}),
    )
    again: dict[str, Any] = {"amend-2": {"site_key": fingerprint(NEW_KEY), "equipment": []}}
    yield "amended twice", amended(order=TWICE, changes=again)
    yield (
        "the former key through a second amendment",
        amended(order=TWICE, changes=again, signed=former()),
    )
    third: Key = (1, bytes([0x6A]) * 32)
    again = {"amend-2": {"site_key": fingerprint(NEW_KEY), "key": third}}
    yield "two keys later", amended(order=TWICE, changes=again, signed=third)
    other = record(2, 0, site_id=bytes(15) + b"\x08")
    more = {"amend": {"equipment": [bytes(15) + b"\x08"]}}
    yield "a record of equipment that was granted later", amended(changes=more, records=[other])
    order = ("enrol", "offer", "registrars", "amend", "packet", "header")
    yield "amended by a later registrar", amended(order=order, issuers={"amend": LATER})
    yield "under a later contract", agreed()
    older = {"contract": {"max_age_ms": 90 * DAY}}
    old = {"collected_from": NOW - 60 * DAY, "collected_to": NOW - 59 * DAY}
    aged = [record(2, 0, time=NOW - 60 * DAY)]
    yield "an age that a later contract allows", agreed(changes=older, packet=old, records=aged)


def changed_wrongly() -> Iterator[tuple[str, str, Ledger]]:
    """Yield what has to be refused, and the reason."""
    signers = {
        "one root key": ROOTS[:1],
        "the same root key twice": (ROOTS[0], ROOTS[0]),
        "a root key and a stranger": (ROOTS[0], STRANGER),
        "enough root keys and a stranger": (*ROOTS[:2], STRANGER),
        "a stranger and enough root keys": (STRANGER, *ROOTS[:2]),
        "the registrar": (REGISTRAR,),
    }
    for who, keys in signers.items():
        yield (
            f"registrars replaced by {who}",
            "registrars",
            Ledger(order=REPLACED, issuers=BY_LATER, signers={"registrars": keys}),
        )
        yield f"a contract of {who}", "contract", agreed(signers={"contract": keys})
    yield "a former registrar enrols", "enrolment", Ledger(order=REPLACED, issuers={"offer": LATER})
    order: tuple[str, ...] = ("enrol", "registrars", "offer", "packet", "header")
    yield "a former registrar offers a key", "key_offer", Ledger(order=order)
    yield (
        "enrolled by a later registrar before the change",
        "enrolment",
        Ledger(order=order, issuers=BY_LATER),
    )
    hidden: dict[str, Any] = {"issuers": BY_LATER, "hidden": ("registrars",)}
    yield "a later registrar whose appointment is hidden", "enrolment", Ledger(order=REPLACED, **hidden)
    order = ("enrol", "offer", "packet", "registrars", "header")
    yield "registrars replaced after the packet", "registrars", Ledger(order=order)
    yield (
        "a change of registrars under the kind of packets",
        "registrars",
        Ledger(order=REPLACED, issuers=BY_LATER, kinds={"registrars": 1}),
    )
    yield from _amended_wrongly()
    yield "a contract that the header does not name", "header", agreed(agreed=None)
    yield "a contract that is hidden", "header", agreed(hidden=("contract",))
    yield "a contract decided in the block itself", "contract", agreed(begins=2)
    yield "a contract decided after the packet", "contract", _late_contract()
    yield "the same contract again", "contract", agreed(changes={"contract": {"version": 1}})
    older = {"contract": {"max_age_ms": DAY}}
    old = {"collected_from": NOW - 3 * DAY}
    yield "an age that a later contract refuses", "admission", agreed(changes=older, packet=old)


def _late_contract() -> Ledger:
    return Ledger(order=("enrol", "offer", "packet", "contract", "header"), agreed="contract")


def _amended_wrongly() -> Iterator[tuple[str, str, Ledger]]:
    yield "the former key after its time", "admission", amended(signed=former(), packet_time=NOW + 11)
    none = {"amend": {"previous_until": 0}}
    yield "the former key at once no longer", "admission", amended(signed=former(), changes=none)
    yield "a key that an amendment hidden here gave", "admission", amended(hidden=("amend",))
    again: dict[str, Any] = {"amend-2": {"site_key": fingerprint(NEW_KEY), "equipment": []}}
    yield (
        "the first of two amendments is hidden",
        "amendment",
        amended(order=TWICE, changes=again, hidden=("amend",)),
    )
    third: Key = (1, bytes([0x6A]) * 32)
    again = {"amend-2": {"site_key": fingerprint(NEW_KEY), "key": third}}
    yield "the key before the former", "admission", amended(order=TWICE, changes=again, signed=former())
    other = {"amend": {"site_key": bytes(32)}}
    yield "an amendment of another key", "amendment", amended(changes=other)
    other = {"amend": {"site_id": bytes(16)}}
    yield "an amendment of another site", "amendment", amended(changes=other)
    stranger = {"amend": {"possession": (1, STRANGER)}}
    yield "a new key that the site does not hold", "amendment", amended(changes=stranger)
    small = {"amend": {"signing_key": b"\1" + bytes(31)}}
    yield "a new key of small order", "amendment", amended(changes=small)
    yield "an amendment by a stranger", "amendment", amended(issuers={"amend": STRANGER})
    order: tuple[str, ...] = ("enrol", "offer", "registrars", "amend", "packet", "header")
    yield "an amendment by a former registrar", "amendment", amended(order=order)
    order = ("enrol", "offer", "packet", "amend", "header")
    yield "an amendment after the packet", "amendment", amended(order=order)
    order = ("amend", "enrol", "offer", "packet", "header")
    yield "an amendment before the enrolment", "amendment", amended(order=order)
    fewer = {"amend": {"suites": [1, 3]}}
    yield "a suite that an amendment took back", "admission", amended(changes=fewer)


def fewer_indicators() -> Ledger:
    """Return a ledger whose packet discloses a value of an indicator that an amendment took back."""
    return amended(changes={"amend": {"indicators": ["LOCAL:OTHER"]}})
