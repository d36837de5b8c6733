"""What authorities decided in a block, for people: who is registrar, which nodes certify, contract, rules."""

from pipeline.core.state import ChainState, Changes, Office

_SHOWN_DIGITS = 16
_OFFICES = {Office.REGISTRARS: "registrars", Office.ACCESS_LOG: "key of the access log"}


def decisions(state: ChainState, changes: Changes) -> tuple[str, ...]:
    """Return what a block decided by its ``changes``; ``state`` is the one after it or after a later block."""
    found = []
    for office, keys in changes.tables.offices.items():
        names = ", ".join(key.fingerprint.hex()[:_SHOWN_DIGITS] for key in keys)
        found.append(f"{_OFFICES[office]}: {names}")
    for size, terms in changes.tables.terms.items():
        earlier = [other for other in state.tables.terms if other < size]
        before = state.tables.terms[max(earlier)] if earlier else state.first_terms
        if terms.policy != before.policy:
            nodes = ", ".join(terms.policy.node_names)
            found.append(f"nodes: {nodes}; {terms.policy.quorum} must agree")
        if terms.contract != before.contract:
            found.append(f"contract version {terms.contract.version}, hash {terms.contract.hash.hex()}")
        if terms.rules_version != before.rules_version:
            found.append(f"rules version {terms.rules_version}")
    return tuple(found)
