"""Evidence beside a tlog-proof: what an outsider needs to check site, admission and disclosed records offline.

One JSON document in one form only: sorted keys, no spaces, nothing but its own fields. Owns the document; what it
proves is ``proof``'s affair.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.disclosure import Disclosed
from pipeline.core.packet import MAX_RECORDS
from pipeline.core.proven import (
    Proven,
    base64_text,
    proven_json,
    read_bytes,
    read_long,
    read_path,
    read_proven,
)

FORMAT: Final = "bkdms-proof/v1"
MAX_CHANGES: Final = 256
"""Changes of registrars, and of a site's key, that a proof can carry."""
_SALT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is beside the proof of a packet; every ``Proven`` has its payload.

    ``genesis`` are the bytes of the genesis file, ``header`` the encoded header of the packet's block. Earlier in the
    ledger: ``enrolment`` that let the site in, ``key_offer`` of a key that the packet is sealed to, and ``grant``
    that allowed measurements of that age, where one was needed. What root keys changed before: ``registrars``, where
    those of the genesis file did not issue all of these, and ``contract``, where the block keeps to a later one.
    ``amendments`` of the enrolment that lead to what the packet was admitted under. Lists are in the order of the tree,
    ``disclosed`` in order of indexes.
    """

    genesis: bytes
    entry: Proven
    header: bytes
    header_path: tuple[bytes, ...]
    enrolment: Proven
    key_offer: Proven
    grant: Proven | None = None
    registrars: tuple[Proven, ...] = ()
    contract: Proven | None = None
    amendments: tuple[Proven, ...] = ()
    disclosed: tuple[Disclosed, ...] = ()

    def encode(self) -> bytes:
        """Return the document's bytes."""
        value = {
            "format": FORMAT,
            "genesis": base64_text(self.genesis),
            "entry": proven_json(self.entry),
            "header": {"payload": base64_text(self.header), "path": _path_json(self.header_path)},
            "enrolment": proven_json(self.enrolment),
            "key_offer": proven_json(self.key_offer),
            "grant": _optional_json(self.grant),
            "registrars": [proven_json(item) for item in self.registrars],
            "contract": _optional_json(self.contract),
            "amendments": [proven_json(item) for item in self.amendments],
            "disclosed": [
                {
                    "index": item.index,
                    "record": base64_text(item.record),
                    "salt": base64_text(item.salt),
                    "path": _path_json(item.path),
                }
                for item in self.disclosed
            ],
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def parse_evidence(data: bytes) -> Evidence | str:
    """Return the evidence that ``data`` encodes, or what is wrong, for people. Total."""
    try:
        evidence = _read(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"[:200]
    return evidence if evidence.encode() == data else "not in the one form that it is written in"


def _optional_json(proven: Proven | None) -> dict[str, Any] | None:
    return None if proven is None else proven_json(proven)


def _path_json(path: tuple[bytes, ...]) -> list[str]:
    return [base64_text(item) for item in path]


def _read(value: dict[str, Any]) -> Evidence:
    if value["format"] != FORMAT:
        raise ValueError("of a version that this release does not know; upgrade bkdms")
    if len(value["disclosed"]) > MAX_RECORDS:
        raise ValueError("disclosed")
    if max(len(value["registrars"]), len(value["amendments"])) > MAX_CHANGES:
        raise ValueError("registrars or amendments")
    return Evidence(
        read_bytes(value["genesis"]),
        _entry(value["entry"]),
        read_bytes(value["header"]["payload"]),
        read_path(value["header"]["path"]),
        _entry(value["enrolment"]),
        _entry(value["key_offer"]),
        _optional(value["grant"]),
        tuple(map(_entry, value["registrars"])),
        _optional(value["contract"]),
        tuple(map(_entry, value["amendments"])),
        tuple(map(_disclosed, value["disclosed"])),
    )


def _optional(value: dict[str, Any] | None) -> Proven | None:
    return None if value is None else _entry(value)


def _entry(value: dict[str, Any]) -> Proven:
    proven = read_proven(value)
    if proven.payload is None:
        raise ValueError("payload")
    return proven


def _disclosed(value: dict[str, Any]) -> Disclosed:
    salt = read_bytes(value["salt"])
    if len(salt) != _SALT_BYTES:
        raise ValueError("salt")
    return Disclosed(read_long(value["index"]), read_bytes(value["record"]), salt, read_path(value["path"]))
