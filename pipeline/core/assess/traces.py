"""What a figure rests on: tracing codes, sorted, bound, counted and digested."""

from collections.abc import Iterable
from hashlib import sha256

from pipeline.core.assess.model import MAX_TRACING_CODES, Traces


def traces_of(codes: Iterable[frozenset[str]]) -> Traces:
    """Return the traces of all codes in some sets, each code once."""
    everything = sorted(frozenset[str]().union(*codes))
    digest = sha256("".join(f"{code}\n" for code in everything).encode())
    return Traces(tuple(everything[:MAX_TRACING_CODES]), len(everything), digest.digest())
