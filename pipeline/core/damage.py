"""Naming the first bad bytes of a block that does not extend a chain: entry, field, and place in the file.

The fields are held, in the order of their bytes, against the chain so far, the contract and the signatures. What is
named is the first field that can't be right; which bit of it was changed, nobody can know.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from pipeline.core.admission import SignatureCheck, is_signed
from pipeline.core.avro_places import Path, Place, places
from pipeline.core.block import CERTIFIED_BLOCK, HEADER_VERSION, Block, make_block, parse_certified
from pipeline.core.damaged_entries import ENTRIES, HEADER, Damage, DamagedEntries, begins_anew, named
from pipeline.core.derive import entries_root
from pipeline.core.quorum import Certified, check_certificate
from pipeline.core.state import ChainState

__all__ = ["Damage", "locate_damage"]

_PERIOD: Final = ((*HEADER, "period_start"), (*HEADER, "period_end"))
_AFTER_END: Final = ("after the end",)


def locate_damage(state: ChainState, data: bytes, check: SignatureCheck = is_signed) -> Damage | None:
    """Return the first bad field of an encoded certified block that does not extend ``state``.

    None for a block that is good. The state stays as it is. Total.
    """
    found = list(places(CERTIFIED_BLOCK, data))
    values = {place.path: place for place in found}
    damage = (
        _bad_header(state, found, data)
        or _bad_period(state, values)
        or _bad_count(values, is_whole=found[-1].value is not None)
        or DamagedEntries(state, values, data, check).first_bad()
    )
    if damage is not None:
        return damage
    if found[-1].value is None:
        return _bad_form(state, values, found[-1], data)
    parsed = parse_certified(data)
    if parsed is None:
        return Damage("block", None, 0, len(data), "these bytes are not a canonical certified block")
    return _bad_whole(state, *parsed, values)


def _bad_form(state: ChainState, values: dict[Path, Place], last: Place, data: bytes) -> Damage:
    """Return where the walk stopped, or the certificate if bytes after the end are its own by a wrong length."""
    certificate = values.get(("certificate",))
    if last.path == _AFTER_END and certificate is not None and certificate.value is not None:
        rest = data[last.start :]
        alone, whole = (
            isinstance(check_certificate(text, state.genesis.origin, state.policy), Certified)
            for text in (certificate.value, certificate.value + rest)
        )
        if whole or not alone:
            return replace(named(certificate, "its length is not the certificate's"), end=len(data))
    return named(last, "these bytes are not of the block's form")


def _bad_header(state: ChainState, found: list[Place], data: bytes) -> Damage | None:
    """Return the first header field that does not follow from the chain so far."""
    expected = _expected_header(state, is_anew=begins_anew(state, {place.path: place for place in found}))
    unruled: list[Place] = []
    for place in found:
        if place.path[:2] != HEADER or place.value is None:
            break
        rule = expected.get(place.path)
        if rule is None or (place.path in _PERIOD and rule(place.value)):
            unruled.append(place)
            if _is_period(unruled, state.contract.period_ms):
                unruled.clear()
        elif rule(place.value):
            unruled.clear()
        elif unruled and _is_shifted(state, found, data):
            # A length or number before it, which nothing rules, took too many or too few bytes.
            return replace(named(unruled[0], "is not what the header after it calls for"), end=place.end)
        else:
            return named(place, "does not follow from the chain before it and its contract")
    return None


def _is_period(ends: list[Place], length: int) -> bool:
    """Say whether these are the two ends of one period; by themselves, shifted bytes can look like an end."""
    return tuple(place.path for place in ends) == _PERIOD and ends[1].value - ends[0].value == length


def _is_shifted(state: ChainState, found: list[Place], data: bytes) -> bool:
    """Say whether a hash that the header must hold is in the bytes, but not where the walk came upon it."""
    starts = {place.path[-1]: place.start for place in found if place.path[:2] == HEADER}
    hashes = {"previous_hash": state.head.block_hash, "contract_hash": state.contract.hash}
    return any(data.find(value) not in (-1, starts.get(name, -1)) for name, value in hashes.items())


def _expected_header(state: ChainState, *, is_anew: bool) -> dict[Path, Callable[[Any], bool]]:
    head, genesis, length = state.head, state.genesis, state.contract.period_ms

    def equals(value: Any) -> Callable[[Any], bool]:
        encoded = value.encode() if isinstance(value, str) else value
        return lambda found: bool(found == encoded)

    rules = {
        "version": equals(HEADER_VERSION),
        "rules_version": equals(state.rules_version),
        "chain": equals(genesis.chain),
        "chain_id": equals(genesis.url),
        "height": equals(head.height + 1),
        "period_start": lambda start: start >= 0 and start % length == 0,
        "period_end": lambda end: end > 0 and end % length == 0,
        "previous_hash": equals(head.block_hash),
        "first_index": equals(head.frontier.size),
        "contract_hash": equals(state.contract.hash),
    }
    source = {
        "incarnation": equals(head.incarnation + is_anew),
        "topic": equals(genesis.topic),
        "partition": equals(genesis.partition),
    }
    if not is_anew:
        source["first"] = equals(head.next_offset)
    return {(*HEADER, name): rule for name, rule in rules.items()} | {
        (*HEADER, "source", name): rule for name, rule in source.items()
    }


def _bad_period(state: ChainState, values: dict[Path, Place]) -> Damage | None:
    """Return the end of the period that contradicts the other end and the first entry's time."""
    start, end = values.get((*HEADER, "period_start")), values.get((*HEADER, "period_end"))
    time = values.get((*ENTRIES, 0, "time"))
    length = state.contract.period_ms
    if (
        start is None
        or end is None
        or time is None
        or time.value is None
        or end.value - start.value == length
    ):
        return None
    wrong = start if start.value != time.value - time.value % length else end
    return named(wrong, "is not of the period of the first entry")


def _bad_count(values: dict[Path, Place], *, is_whole: bool) -> Damage | None:
    """Return which of the two counts of entries is wrong: where the bytes fit the second, the first one is."""
    count, entries = values.get((*HEADER, "entry_count")), values.get(ENTRIES)
    if count is None or entries is None or entries.value is None or entries.value == count.value > 0:
        return None
    return named(count if is_whole else entries, "is not the number of entries")


def _bad_whole(
    state: ChainState, block: Block, certificate: bytes, values: dict[Path, Place]
) -> Damage | None:
    """Return what is wrong where every field could be right by itself: the certificate tells."""
    certified = check_certificate(certificate, state.genesis.origin, state.policy)
    if not isinstance(certified, Certified):
        return named(values[("certificate",)], f"{certified.reason}: {certified.detail}")
    if _is_certified(state, block, certified):
        return None
    root = entries_root(block.entries)
    if root != block.header.entries_root:
        mended = make_block(replace(block.header, entries_root=root), block.entries)
        if _is_certified(state, mended, certified):
            return named(values[(*HEADER, "entries_root")], "is not the root of the entries")
        first, last = values[ENTRIES], values[("certificate",)]
        detail = "offset or time of an entry is not the certified one"
        return Damage("entries", None, first.end, last.start, detail)
    for part in (block.header.part, state.head.part + 1, 0):
        mended = make_block(replace(block.header, part=part), block.entries)
        if part != block.header.part and _is_certified(state, mended, certified):
            return named(values[(*HEADER, "part")], "is not the certified one")
    start, end = values[(*HEADER, "period_start")].start, values[(*HEADER, "log_digest")].end
    detail = "period, source or log digest are not the certified ones, or the certificate is another block's"
    return Damage("header", None, start, end, detail)


def _is_certified(state: ChainState, block: Block, certified: Certified) -> bool:
    after = state.head.frontier.extend(block.leaf_hashes)
    return (certified.checkpoint.size, certified.checkpoint.root) == (after.size, after.root())
