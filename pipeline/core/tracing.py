"""Tracing code (Y.4907 Table 10-3): locates a packet by itself and is never an authorisation.

Form: ``CHAIN-HEIGHT-ENTRY-C`` in Crockford's base 32, where CHAIN are the first 40 bits of the
chain's hash and C is an ISO/IEC 7064 MOD 37,36 check character over the rest.
"""

from typing import NamedTuple

from pipeline.core.names import MAX_LONG

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CHECK_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CHAIN_CHARS = 8
_MAX_CHARS = 40


class TracingCode(NamedTuple):
    """Where a packet is: first 5 bytes of the chain's hash, block height, index of the entry."""

    chain: bytes
    height: int
    entry: int

    def __str__(self) -> str:
        chain = _base32(int.from_bytes(self.chain[:5], "big")).rjust(_CHAIN_CHARS, "0")
        body = f"{chain}-{_base32(self.height)}-{_base32(self.entry)}"
        return f"{body}-{_check_character(body)}"


def parse_tracing_code(text: str) -> TracingCode | None:
    """Return the place that a code names, or None for a mistyped or foreign code. Total."""
    if len(text) > _MAX_CHARS or not text.isascii():
        return None
    parts = text.strip().upper().split("-")
    if len(parts) != 4 or not all(parts):
        return None
    if any(symbol not in _ALPHABET for part in parts[:3] for symbol in part):
        return None
    if parts[3] != _check_character("-".join(parts[:3])) or len(parts[0]) != _CHAIN_CHARS:
        return None
    chain, height, entry = (_number(part) for part in parts[:3])
    code = TracingCode(chain.to_bytes(5, "big"), height, entry)
    in_range = 1 <= height <= MAX_LONG and entry <= MAX_LONG
    return code if in_range and str(code) == "-".join(parts) else None


def _base32(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 32)
        digits = _ALPHABET[digit] + digits
        if not number:
            return digits


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 32 + _ALPHABET.index(digit)
    return value


def _check_character(body: str) -> str:
    product = 36
    for symbol in body.replace("-", ""):
        total = (product + _CHECK_ALPHABET.index(symbol)) % 36 or 36
        product = total * 2 % 37
    return _CHECK_ALPHABET[(37 - product) % 36]
