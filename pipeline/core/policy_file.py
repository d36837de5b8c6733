"""The auditors' policy of a chain as a C2SP tlog-policy: who must have signed a checkpoint of it."""

from pipeline.core.genesis import Genesis
from pipeline.core.note import ED25519, VerifierKey

_GROUP = "accounting-nodes"


def log_verifier(genesis: Genesis) -> VerifierKey:
    """Return the key that checks the log's own signature; its name is the origin (C2SP tlog-checkpoint)."""
    return VerifierKey(genesis.origin, ED25519, genesis.log_key.raw)


def node_verifiers(genesis: Genesis) -> tuple[VerifierKey, ...]:
    """Return the accounting nodes' keys, in the order of the genesis file."""
    return tuple(node.verifier for node in genesis.policy.nodes)


def policy_text(genesis: Genesis) -> str:
    """Return the policy: the log, each accounting node as a witness, and how many of them must agree."""
    names = [key.name for key in node_verifiers(genesis)]
    group = _GROUP
    while group in names:  # groups and witnesses share one set of names
        group += "-group"
    lines = [
        f"# chain {genesis.chain.hex()}",
        f"log {log_verifier(genesis)}",
        *(f"witness {key.name} {key}" for key in node_verifiers(genesis)),
        f"group {group} {genesis.policy.quorum} {' '.join(names)}",
        f"quorum {group}",
    ]
    return "\n".join(lines) + "\n"
