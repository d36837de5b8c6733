"""Making a chain: its keys, its genesis file and what auditors need, in one folder, all at once or not at all."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_bytes

from pipeline.adapters.keystore import PrivateKey, new_signing_key, save_key
from pipeline.adapters.private_files import PRIVATE_FOLDER_MODE
from pipeline.core.contract import Contract
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis, encode_genesis, largest_block, parse_genesis
from pipeline.core.keys import Algorithm, Use
from pipeline.core.note import MLDSA44
from pipeline.core.policy_file import log_verifier, node_verifiers, policy_text
from pipeline.core.quorum import NodeKey, Policy
from pipeline.core.signing import Signer
from pipeline.core.topics import Topics

SaveKey = Callable[[Path, PrivateKey], None]

DEFAULT_NODES = 4
DEFAULT_ROOTS = 3
DEFAULT_ROOT_THRESHOLD = 2
_NODE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,53}")
_TAKEN_NAMES = frozenset({"registrar", "log", "none"})


def node_names(count: int) -> tuple[str, ...]:
    """Return ``node-1`` … ``node-n``."""
    return tuple(f"node-{number}" for number in range(1, count + 1))


def usual_quorum(nodes: int) -> int:
    """Return how many of n nodes should agree so that a third of them less one may lie or be absent."""
    return nodes - (nodes - 1) // 3


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """What a new chain shall be; ``quorum`` of ``nodes`` and ``root_threshold`` of ``roots`` must agree.

    With ``mldsa44`` each node cosigns with an ML-DSA-44 key beside its Ed25519 key.

    Raises:
        ConfigError: a node's name does not fit a file and a policy, or the numbers do not fit.
    """

    url: str
    topic_prefix: str = ""
    partition: int = 0
    nodes: tuple[str, ...] = node_names(DEFAULT_NODES)
    quorum: int = usual_quorum(DEFAULT_NODES)
    roots: int = DEFAULT_ROOTS
    root_threshold: int = DEFAULT_ROOT_THRESHOLD
    contract: Contract = field(default_factory=Contract)
    mldsa44: bool = True

    def __post_init__(self) -> None:
        for name in self.nodes:
            if not _NODE_NAME.fullmatch(name) or name in _TAKEN_NAMES or name.startswith("root-"):
                raise ConfigError(
                    f"node name {name!r}: use lower-case letters, digits, '.', '_' and '-', and none of "
                    "the names of other keys (registrar, log, none, root-…)"
                )


@dataclass(frozen=True, slots=True)
class ChainFiles:
    """Where the files of a chain are; the keys are to be moved to those who hold them."""

    folder: Path

    @property
    def genesis_file(self) -> Path:
        """Public: pins the chain; every program and auditor has a copy."""
        return self.folder / "genesis.json"

    @property
    def policy_file(self) -> Path:
        """Public: the auditors' policy (C2SP tlog-policy)."""
        return self.folder / "policy.txt"

    @property
    def log_verifier_file(self) -> Path:
        """Public: the verifier key of the exported log (C2SP signed-note)."""
        return self.folder / "log.vkey"

    @property
    def node_verifiers_file(self) -> Path:
        """Public: the verifier keys of the accounting nodes, one a line."""
        return self.folder / "nodes.vkey"

    @property
    def registrar_key(self) -> Path:
        """Secret of the registrar."""
        return self.folder / "keys" / "registrar.json"

    @property
    def log_key(self) -> Path:
        """Secret of the exporter."""
        return self.folder / "keys" / "log.json"

    def node_key(self, name: str) -> Path:
        """Secret of one accounting node."""
        return self.folder / "keys" / f"{name}.json"

    def node_mldsa44_key(self, name: str) -> Path:
        """Secret of one accounting node for post-quantum cosignatures."""
        return self.folder / "keys" / f"{name}.mldsa44.json"

    def root_key(self, number: int) -> Path:
        """Secret of one root key holder, from 1; needed only to change authorities, so kept off-line."""
        return self.folder / "keys" / f"root-{number}.json"

    def genesis(self) -> Genesis:
        """Read the genesis file.

        Raises:
            ConfigError: it is missing or no valid genesis.
        """
        return load_genesis(self.genesis_file)


def load_genesis(path: Path) -> Genesis:
    """Read a genesis file.

    Raises:
        ConfigError: it is missing or no valid genesis; the message names file and remedy.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"genesis file {path}: {error.strerror}; make a chain with `bkdms genesis`, or name the file by "
            "the setting `genesis` or BKDMS_GENESIS"
        ) from None
    return parse_genesis(raw)


def create_chain(
    folder: Path,
    plan: ChainPlan,
    random_bytes: Callable[[int], bytes] = token_bytes,
    save: SaveKey = save_key,
) -> ChainFiles:
    """Make all keys and files of a new chain in ``folder``, which must not exist or be empty.

    ``save`` writes each key: ``KeyFiles.save`` seals it; without it the files are in clear.

    Raises:
        ConfigError: the folder is in use, or the plan makes no valid genesis.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; a chain is never overwritten: name another folder")
    draft = ChainFiles(folder.with_name(f".{folder.name}.new"))
    shutil.rmtree(draft.folder, ignore_errors=True)
    try:
        draft.folder.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True)
        _fill(draft, plan, random_bytes, save)
        draft.folder.replace(folder)
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {error.strerror}") from None
    finally:
        shutil.rmtree(draft.folder, ignore_errors=True)
    return ChainFiles(folder)


def _fill(files: ChainFiles, plan: ChainPlan, random_bytes: Callable[[int], bytes], save: SaveKey) -> None:
    def make(path: Path, use: Use, algorithm: Algorithm = Algorithm.ED25519) -> Signer:
        key = new_signing_key(use, algorithm, random_bytes)
        save(path, key)
        return key

    roots = [make(files.root_key(number), Use.ROOT) for number in range(1, plan.roots + 1)]
    nodes: list[NodeKey] = []
    for name in plan.nodes:
        nodes.append(NodeKey(name, make(files.node_key(name), Use.NODE).public.raw))
        if plan.mldsa44:
            second = make(files.node_mldsa44_key(name), Use.NODE, Algorithm.MLDSA44)
            nodes.append(NodeKey(name, second.public.raw, algorithm=MLDSA44))
    policy = Policy(tuple(nodes), plan.quorum)
    registrar = make(files.registrar_key, Use.REGISTRAR)
    log = make(files.log_key, Use.LOG)
    raw = encode_genesis(
        url=plan.url,
        topic=Topics(plan.topic_prefix).chain,
        partition=plan.partition,
        root_keys=tuple(root.public for root in roots),
        root_threshold=plan.root_threshold,
        registrars=(registrar.public,),
        policy=policy,
        log_key=log.public,
        contract=replace(plan.contract, max_block=min(plan.contract.max_block, largest_block(policy))),
    )
    genesis = parse_genesis(raw)
    files.genesis_file.write_bytes(raw)
    files.policy_file.write_text(policy_text(genesis))
    files.log_verifier_file.write_text(f"{log_verifier(genesis)}\n")
    files.node_verifiers_file.write_text("".join(f"{key}\n" for key in node_verifiers(genesis)))
