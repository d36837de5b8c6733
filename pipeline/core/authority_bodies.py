"""Bodies of control records about the chain itself: its authorities, rules and log (Y.4907 8.3, Appendix I.1).

Owns their fields, bounds and encoding; who must sign which is ``admission``'s affair.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from pipeline.core.contract import Contract, SuiteTerm
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, PublicKey, Use
from pipeline.core.names import MAX_LONG, is_time
from pipeline.core.quorum import NodeKey, Policy
from pipeline.core.sealing import SIGNING_ALGORITHM, Suite

MAX_REGISTRARS: Final = 64


@dataclass(frozen=True, slots=True)
class Reanchor:
    """Go on in another copy of the chain log, as ``incarnation``, after the block of this height and hash.

    Height 0 with the hash of the genesis file stands for a chain without blocks.
    """

    incarnation: int
    height: int
    block_hash: bytes


@dataclass(frozen=True, slots=True)
class Registrars:
    """The whole new set of registrars, from here on; what former ones issued before stays good."""

    keys: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True)
class Nodes:
    """The accounting nodes and their quorum, from the next block on."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class NewContract:
    """The contract from the next block on."""

    contract: Contract


@dataclass(frozen=True, slots=True)
class Rules:
    """The version of the rules from the next block on; releases that do not know it stop before it."""

    version: int


@dataclass(frozen=True, slots=True)
class AccessLogKey:
    """The one key that may anchor the log of API requests from here on."""

    key: PublicKey


@dataclass(frozen=True, slots=True)
class AccessLogHead:
    """An anchor of the log of API requests: lines, hash of the last one (32 bytes), time in milliseconds."""

    count: int
    head: bytes
    time_ms: int


TermsBody = Nodes | NewContract | Rules
"""What changes the rules of blocks, hence ends the block that it is in."""
RootBody = Reanchor | Registrars | TermsBody
"""What needs signatures of enough root keys."""
AuthorityBody = RootBody | AccessLogKey | AccessLogHead


def authority_fields(body: AuthorityBody) -> dict[str, Any]:
    """Return the Avro value of a body."""
    match body:
        case Reanchor() | Rules():
            return asdict(body)
        case Registrars():
            return {"keys": [{"algorithm": int(key.algorithm), "key": key.raw} for key in body.keys]}
        case Nodes():
            nodes = [
                {"node": key.node, "algorithm": key.algorithm, "key": key.public_key}
                for key in body.policy.nodes
            ]
            return {"nodes": nodes, "quorum": body.policy.quorum}
        case NewContract():
            return body.contract.as_value()
        case AccessLogKey():
            return {"algorithm": int(body.key.algorithm), "public_key": body.key.raw}
        case AccessLogHead():
            return {"count": body.count, "head": body.head, "time": body.time_ms}


Read = Callable[[Mapping[str, Any]], AuthorityBody]
"""Makes a body of a decoded Avro value; raises ValueError or ConfigError where a field is out of its bounds."""


def read_authority(read: Read, raw: Mapping[str, Any]) -> AuthorityBody | None:
    """Return the body of a decoded Avro value; None where a field is out of its bounds."""
    try:
        return read(raw)
    except (ValueError, ConfigError):
        return None


def _whole(value: int, least: int = 1) -> int:
    if not least <= value <= MAX_LONG:
        raise ValueError(f"{value} is not from {least} to 2^63-1")
    return value


def _signing_key(use: Use, algorithm: int, raw: bytes) -> PublicKey:
    key = PublicKey(use, Algorithm(algorithm), raw)
    if key.algorithm not in SIGNING_ALGORITHM.values():
        raise ValueError(f"a {key.algorithm.name.lower()} key signs nothing")
    return key


def _reanchor(raw: Mapping[str, Any]) -> Reanchor:
    return Reanchor(_whole(raw["incarnation"]), _whole(raw["height"], 0), raw["block_hash"])


def _registrars(raw: Mapping[str, Any]) -> Registrars:
    keys = tuple(_signing_key(Use.REGISTRAR, item["algorithm"], item["key"]) for item in raw["keys"])
    if not 0 < len({key.fingerprint for key in keys}) == len(keys) <= MAX_REGISTRARS:
        raise ValueError("registrars must be distinct, and at least one")
    return Registrars(keys)


def _nodes(raw: Mapping[str, Any]) -> Nodes:
    keys = tuple(NodeKey(item["node"], item["key"], algorithm=item["algorithm"]) for item in raw["nodes"])
    return Nodes(Policy(keys, _whole(raw["quorum"])))


def _contract(raw: Mapping[str, Any]) -> NewContract:
    terms = tuple(SuiteTerm(Suite(item["suite"]), item["expires"]) for item in raw["suites"])
    numbers = {field.name: raw[field.name.removesuffix("_ms")] for field in fields(Contract)}
    return NewContract(Contract(**(numbers | {"suites": terms})))


def _access_log_head(raw: Mapping[str, Any]) -> AccessLogHead:
    if not is_time(raw["time"]):
        raise ValueError("time")
    return AccessLogHead(_whole(raw["count"]), raw["head"], raw["time"])


AUTHORITY_READERS: Final[Mapping[type[AuthorityBody], Read]] = {
    Reanchor: _reanchor,
    Registrars: _registrars,
    Nodes: _nodes,
    NewContract: _contract,
    Rules: lambda raw: Rules(_whole(raw["version"])),
    AccessLogKey: lambda raw: AccessLogKey(_signing_key(Use.ACCESS_LOG, raw["algorithm"], raw["public_key"])),
    AccessLogHead: _access_log_head,
}
"""How each body about the chain is read."""
