"""Genesis file: the first keys, nodes, policy and contract of a chain, pinned by its hash.

The file is JSON that people can read; its very bytes are hashed, so they are never rewritten.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, cast

from pipeline.core.block import MAX_CERTIFIED_BYTES
from pipeline.core.contract import Contract, SuiteTerm
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, PublicKey, Use
from pipeline.core.names import MAX_LONG, is_text
from pipeline.core.note import COSIGNATURE_V1, MLDSA44
from pipeline.core.quorum import NodeKey, Policy, certificate_room
from pipeline.core.sealing import SIGNING_ALGORITHM, Suite

_FORMAT = "bkdms-genesis/v1"
_MAX_GENESIS_BYTES = 1 << 20
_MAX_TOPIC_CHARS = 249  # Kafka's own limit; headers name the topic
_SCHEME = "https://"
_FRAMING_BYTES = 16  # schema id and the certificate's length
_NODE_KEY_FIELDS = {COSIGNATURE_V1: "ed25519", MLDSA44: "mldsa44"}
RULES_VERSION = 1


@dataclass(frozen=True, slots=True)
class Genesis:
    """A checked genesis file; ``raw`` are its bytes, ``chain`` their SHA-256."""

    url: str
    topic: str
    partition: int
    incarnation: int
    root_keys: tuple[PublicKey, ...]
    root_threshold: int
    registrars: tuple[PublicKey, ...]
    policy: Policy
    log_key: PublicKey
    contract: Contract
    raw: bytes

    @property
    def chain(self) -> bytes:
        """Identifier of the chain, 32 bytes; the previous hash of block 1."""
        return sha256(self.raw).digest()

    @property
    def origin(self) -> str:
        """C2SP origin: the URL without scheme and the first bytes of the chain's hash."""
        return f"{self.url.split('://', 1)[1].rstrip('/')}/{self.chain[:4].hex()}"


def encode_genesis(
    *,
    url: str,
    topic: str,
    partition: int,
    root_keys: tuple[PublicKey, ...],
    root_threshold: int,
    registrars: tuple[PublicKey, ...],
    policy: Policy,
    log_key: PublicKey,
    contract: Contract,
    incarnation: int = 1,
) -> bytes:
    """Return the bytes of a genesis file.

    Raises:
        ConfigError: the parts do not make a valid genesis.
    """
    document = {
        "format": _FORMAT,
        "url": url,
        "chain_log": {"topic": topic, "partition": partition, "incarnation": incarnation},
        "roots": {"threshold": root_threshold, "keys": [key_fields(key) for key in root_keys]},
        "registrars": [key_fields(key) for key in registrars],
        **policy_fields(policy),
        "log_key": key_fields(log_key),
        "rules_version": RULES_VERSION,
        "contract": contract_fields(contract),
    }
    raw = (json.dumps(document, indent=2) + "\n").encode()
    parse_genesis(raw)
    return raw


def largest_block(policy: Policy) -> int:
    """Return how large a contract's ``max_block`` may be, bytes, so that a record holds certificates, too."""
    return MAX_CERTIFIED_BYTES - certificate_room(policy) - _FRAMING_BYTES


def parse_genesis(raw: bytes) -> Genesis:
    """Check the bytes of a genesis file.

    Raises:
        ConfigError: the file is not a valid genesis; the message names the field.
    """
    if len(raw) > _MAX_GENESIS_BYTES:
        raise ConfigError(f"genesis file: more than {_MAX_GENESIS_BYTES} bytes")
    try:
        document = json.loads(raw)
        genesis = _build(document, raw)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"genesis file: field {error} is missing or has the wrong type") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"genesis file: {error}") from None
    return genesis


def _build(document: dict[str, Any], raw: bytes) -> Genesis:
    if document["format"] != _FORMAT or document["rules_version"] != RULES_VERSION:
        raise ValueError(f"needs format {_FORMAT} with rules_version {RULES_VERSION}; upgrade bkdms")
    log, roots, url = document["chain_log"], document["roots"], document["url"]
    if not is_text(url) or not url.startswith(_SCHEME) or "+" in url or not url[len(_SCHEME) :].strip("/"):
        raise ValueError("url must be an https:// URL of at most 64 characters without '+'")
    topic, threshold = log["topic"], _whole(roots["threshold"])
    if not isinstance(topic, str) or not 0 < len(topic) <= _MAX_TOPIC_CHARS or not topic.isascii():
        raise ValueError(f"topic must be text of 1 to {_MAX_TOPIC_CHARS} ASCII characters")
    root_keys = tuple(read_key(item, Use.ROOT) for item in roots["keys"])
    registrars = tuple(read_key(item, Use.REGISTRAR) for item in document["registrars"])
    # One key signs once, so a repeated one would make the threshold unreachable.
    if not 1 <= threshold <= len({key.fingerprint for key in root_keys}) or not registrars:
        raise ValueError("needs at least one registrar and a root threshold within the number of root keys")
    policy = read_policy(document)
    contract = read_contract(document["contract"])
    most = largest_block(policy)
    if contract.max_block > most:
        raise ValueError(f"contract: max_block above {most} leaves no room for this policy's certificates")
    return Genesis(
        url,
        topic,
        _whole(log["partition"]),
        _whole(log["incarnation"]),
        root_keys,
        threshold,
        registrars,
        policy,
        read_key(document["log_key"], Use.LOG),
        contract,
        raw,
    )


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_LONG:
        raise ValueError(f"{value!r} is not a whole number from 0 to 2^63-1")
    return value


def policy_fields(policy: Policy) -> dict[str, Any]:
    """Return the JSON fields ``nodes``, in the policy's order and each with all its keys, and ``quorum``.

    Raises:
        ConfigError: a node has no Ed25519 key, or a key under another name than the node's.
    """
    nodes: dict[str, dict[str, str]] = {}
    for key in policy.nodes:
        nodes.setdefault(key.node, {"name": key.name})[_NODE_KEY_FIELDS[key.algorithm]] = key.public_key.hex()
    return {"nodes": list(nodes.values()), "quorum": policy.quorum}


def read_policy(fields: dict[str, Any]) -> Policy:
    """Read what ``policy_fields`` writes.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: a field is missing or wrong.
        ConfigError: a key is refused, or nodes and quorum make no policy.
    """
    keys = tuple(key for item in fields["nodes"] for key in _node_keys(item))
    return Policy(keys, _whole(fields["quorum"]))


def _node_keys(item: dict[str, str]) -> Iterator[NodeKey]:
    """Yield a node's keys; only the Ed25519 one must be there."""
    for kind, name in _NODE_KEY_FIELDS.items():
        if kind == COSIGNATURE_V1 or name in item:
            yield NodeKey(item["name"], bytes.fromhex(item[name]), algorithm=kind)


def key_fields(key: PublicKey) -> dict[str, str]:
    """Return the JSON fields of a signing key."""
    return {"algorithm": key.algorithm.name.lower(), "public": key.raw.hex()}


def read_key(item: dict[str, str], use: Use) -> PublicKey:
    """Read what ``key_fields`` writes.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: a field is missing, or the key is refused.
    """
    key = PublicKey(use, Algorithm[item["algorithm"].upper()], bytes.fromhex(item["public"]))
    if key.algorithm not in SIGNING_ALGORITHM.values():
        raise ValueError(f"a {key.algorithm.name.lower()} key signs nothing")
    return key


def contract_fields(contract: Contract) -> dict[str, Any]:
    """Return the JSON fields of a contract; times in milliseconds, sizes in bytes."""
    terms = [{"suite": term.suite.name.lower(), "expires_ms": term.expires_ms} for term in contract.suites]
    return asdict(contract) | {"suites": terms}


def read_contract(item: dict[str, Any]) -> Contract:
    """Read what ``contract_fields`` writes.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: a field is missing, unknown or out of its bounds.
    """
    terms = tuple(
        SuiteTerm(Suite[term["suite"].upper()], _whole(term["expires_ms"])) for term in item["suites"]
    )
    numbers = {name: _whole(value) for name, value in item.items() if name != "suites"}
    return Contract(**cast("dict[str, Any]", numbers), suites=terms)
