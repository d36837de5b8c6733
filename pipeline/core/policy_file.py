"""The auditors' policy of a chain as a C2SP tlog-policy: who must have signed a checkpoint of it."""

from collections.abc import Collection

from pipeline.core.genesis import Genesis
from pipeline.core.note import COSIGNATURE_V1, ED25519, MLDSA44, VerifierKey
from pipeline.core.quorum import Policy

_GROUP = "accounting-nodes"
_SUFFIXES = {COSIGNATURE_V1: "ed25519", MLDSA44: "mldsa44"}


def log_verifier(genesis: Genesis) -> VerifierKey:
    """Return the key that checks the log's own signature; its name is the origin (C2SP tlog-checkpoint)."""
    return VerifierKey(genesis.origin, ED25519, genesis.log_key.raw)


def node_verifiers(genesis: Genesis) -> tuple[VerifierKey, ...]:
    """Return the accounting nodes' keys, in the order of the genesis file."""
    return tuple(node.verifier for node in genesis.policy.nodes)


def policy_text(genesis: Genesis, in_force: Policy | None = None) -> str:
    """Return the policy: the log, each node's keys as witnesses of one voice, and how many nodes must agree.

    ``in_force`` are the nodes that root keys put in place of those in the genesis file, where they did.
    """
    policy = in_force or genesis.policy
    lines = [f"# chain {genesis.chain.hex()}", f"log {log_verifier(genesis)}"]
    taken = {"none", *policy.node_names}  # witnesses and groups share one set of names
    voices = []
    for node in dict.fromkeys(key.node for key in policy.nodes):
        keys = [key for key in policy.nodes if key.node == node]
        if len(keys) == 1:
            lines.append(f"witness {node} {keys[0].verifier}")
        else:
            names = [_free(f"{node}-{_SUFFIXES[key.algorithm]}", taken) for key in keys]
            taken.update(names)
            lines += [f"witness {name} {key.verifier}" for name, key in zip(names, keys, strict=True)]
            lines.append(f"group {node} any {' '.join(names)}")
        voices.append(node)
    group = _free(_GROUP, taken)
    lines += [f"group {group} {policy.quorum} {' '.join(voices)}", f"quorum {group}"]
    return "\n".join(lines) + "\n"


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "-group"
    return name
