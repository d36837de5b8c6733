"""Who was registrar, which nodes and which contract were in force: the genesis file's, until root keys change them.

Made from records that somebody shows: whether no other change lies between them is for those to say who saw all of
the ledger. Owns what follows from the records; that they are in the tree is the caller's affair.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable

from pipeline.core.contract import Contract
from pipeline.core.control import Control, NewContract, Nodes, Registrars, TermsBody
from pipeline.core.entitlement import Placed
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey
from pipeline.core.quorum import Policy

_HEADER_LEAVES = 1


class Authorities:
    """What is in force at a leaf of the tree or at its end, by records of enough root keys."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._changes: list[tuple[int, Registrars | TermsBody]] = []

    def add(self, leaf_index: int, control: Control) -> None:
        """Take a record that enough root keys signed, in any order, once or more; a reanchor changes nothing here."""
        known = any(index == leaf_index for index, _ in self._changes)
        if isinstance(control.body, Registrars | TermsBody) and not known:
            insort(self._changes, (leaf_index, control.body), key=lambda item: item[0])

    def registrars_at(self, leaf_index: int) -> tuple[PublicKey, ...]:
        """Return who could issue the record at a leaf: a change counts from the next leaf on."""
        found = self._last(Registrars, leaf_index)
        return found.keys if isinstance(found, Registrars) else self._genesis.registrars

    def policy_at(self, tree_size: int) -> Policy:
        """Return the policy that certifies the block which ends at this tree size."""
        found = self._last(Nodes, _before_block(tree_size))
        return found.policy if isinstance(found, Nodes) else self._genesis.policy

    def contract_at(self, tree_size: int) -> Contract:
        """Return the contract that the block keeps to which ends at this tree size."""
        found = self._last(NewContract, _before_block(tree_size))
        return found.contract if isinstance(found, NewContract) else self._genesis.contract

    def _last(self, kind: type[Registrars | TermsBody], end: int) -> Registrars | TermsBody | None:
        until = bisect_left(self._changes, end, key=lambda item: item[0])
        return next((body for _, body in reversed(self._changes[:until]) if isinstance(body, kind)), None)


def authorities_of(genesis: Genesis, records: Iterable[Placed]) -> Authorities:
    """Return who is in force by the genesis file and these records; those about sites change nothing."""
    found = Authorities(genesis)
    for placed in records:
        found.add(placed.leaf_index, placed.control)
    return found


def _before_block(tree_size: int) -> int:
    """Return the leaf before which a change of terms counts: it is the last entry of its block, then comes a header."""
    return tree_size - 1 - _HEADER_LEAVES
