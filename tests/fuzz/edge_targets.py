"""Targets for what people, portals and consumers hand over: documents, tokens, scopes, messages, sealed contents."""

import json
from base64 import urlsafe_b64encode
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from connectors.sinks.parquet_rows import read_message
from ops.tls.request import requested_key
from pipeline.adapters.keystore import key_document, parse_key
from pipeline.adapters.token_keys import parse_jwks
from pipeline.apps.api_errors import ApiError
from pipeline.apps.assessment_routes import _place, _token
from pipeline.core import avro
from pipeline.core.access_book import parse_token, token_text
from pipeline.core.access_log import Access, LogHead, after, beginning, encode_line, line_hash
from pipeline.core.admission import PACKET_SCHEMA
from pipeline.core.assess.document import parse_time, time_text
from pipeline.core.assess.message import assessment_value, parse_assessment
from pipeline.core.block import Kind
from pipeline.core.control import (
    Action,
    Control,
    Registrars,
    Rules,
    action_of,
    decode_body,
    encode_body,
    parse_control,
)
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Use
from pipeline.core.outcome import Outcome
from pipeline.core.packet import SEED_BYTES, Packet, _decode_records, _encode_records, _pad
from pipeline.core.permit import Action as Scope
from pipeline.core.permit import everywhere, parse_permits
from pipeline.core.proposal import Proposal, parse_proposal, proposal_problem, propose
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import Position
from pipeline.core.where import WhereError, parse_condition
from pipeline.services.access import AccessAnswer, read_answer, read_request, write_answer
from pipeline.services.access_bundle import Platform, read_bundle, write_bundle
from pipeline.services.validator import parse_submitted
from tests.fuzz.material import material
from tests.fuzz.target import Bytes, Target, text
from tests.support.access import request_of
from tests.support.golden import golden
from tests.support.observed import observed
from tests.support.world import NOW_MS, packet_value, secret

_LONG = 1 << 63
# Signatures of this kind never repeat, and what was found shall be found again.
_REQUEST = b"""-----BEGIN CERTIFICATE REQUEST-----
MIHIMHECAQAwDzENMAsGA1UEAwwEc2l0ZTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABJ0HuIytRO7yjqepoNHNUKMhabSu/Epu2Y7EOqfQ9Meo2Yi0nUcVSwaxmr6n
0MbPtLJUSf/Qt5vfPo12qk4hUSCgADAKBggqhkjOPQQDAgNHADBEAiB9n5SJ3xta
Xs6IROLkCvDBPGgsWAd5Gk30YGing2VHvQIgabmFMPAgGKr3iKQkUjvd04NAligu
Ial9z/JuDzr6oIU=
-----END CERTIFICATE REQUEST-----
"""


def body(data: bytes) -> bool:
    """A body of a control record has one encoding; the first byte says which."""
    if not data or not 1 <= data[0] <= len(Action):
        return False
    found = decode_body(Action(data[0]), data[1:])
    assert isinstance(found, Outcome) or encode_body(found) == data[1:]
    return not isinstance(found, Outcome)


def proposal(data: bytes) -> bool:
    """A proposal is read back, and no signature counts that a root key did not make."""
    found = parse_proposal(data)
    if not isinstance(found, Proposal):
        return False
    assert parse_proposal(found.encode()) == found
    if found.signatures and proposal_problem(material().world.genesis, found) is None:
        genuine = parse_proposal(_proposals()[0])
        assert isinstance(genuine, Proposal)
        assert found.clear == genuine.clear, "no root key signed this"
    return True


def access_answer(data: bytes) -> bool:
    """An answer holds only what the registrar signed."""
    genesis = material().world.genesis
    try:
        found = read_answer(data, genesis)
    except ConfigError:
        return False
    assert found == read_answer(_answers()[0], genesis), "the registrar never gave this answer"
    return True


def bundle(data: bytes) -> bool:
    """A bundle holds only what a registrar that it names signed."""
    try:
        found = read_bundle(data)
    except ConfigError:
        return False
    assert found == read_bundle(_bundles()[0]), "no registrar made this bundle"
    return True


def site_token(data: bytes) -> bool:
    """A token of a site is what it spells."""
    typed, chain = text(data), material().world.genesis.chain
    found = parse_token(typed, chain) if typed is not None else None
    if found is None or typed is None:
        return False
    token_id, key = typed.strip().rsplit(".", 2)[1:]
    spelled = token_text(bytes.fromhex(token_id), bytes.fromhex(key))
    assert parse_token(spelled, chain) == found
    return True


def jwks(data: bytes) -> bool:
    """A key set gives keys with names, at least one for what was accepted here."""
    try:
        found = parse_jwks(data)
    except ValueError:
        return False
    assert all(name and key.algorithm for name, key in found.items())
    return bool(found)


def scopes(data: bytes) -> bool:
    """A scope has one spelling; what is none grants nothing."""
    typed = text(data)
    if typed is None:
        return False
    try:
        found = parse_permits(typed)
    except ValueError:
        return False
    assert {str(permit) for permit in found} <= set(typed.split(" "))
    return bool(found)


def condition(data: bytes) -> bool:
    """A condition is refused by name, or judges a record whatever is in it."""
    typed = text(data)
    if typed is None:
        return False
    try:
        found = parse_condition(typed)
    except WhereError:
        return False
    record = dict.fromkeys(found.names, 7)
    assert found.is_met(record) in (True, False)
    return True


def place(data: bytes) -> bool:
    """What a caller says was the last row of a page goes into a question to the store: it has to fit its columns."""
    typed = text(data)
    if typed is None:
        return False
    try:
        found = _place(typed)
    except ApiError:
        return False
    for item in found:
        assert -_LONG <= item < _LONG if isinstance(item, int) else item.encode() is not None
        assert isinstance(item, int) or "\0" not in item
    return True


def api_time(data: bytes) -> bool:
    """A time in a question is one that the store can hold."""
    typed = text(data)
    found = parse_time(typed) if typed is not None else None
    assert found is None or (-_LONG <= found < _LONG and parse_time(time_text(found)) == found // 1000 * 1000)
    return found is not None


def submitted(data: bytes) -> bool:
    """A value of the packets topic is a packet, whole, or refused."""
    found = parse_submitted(data)
    assert not isinstance(found, Packet) or avro.frame(PACKET_SCHEMA, found.raw) == data
    return isinstance(found, Packet)


def observations(data: bytes) -> bool:
    """A message of observations fits the columns of a table, or is none."""
    found = read_message(data)
    if found is None:
        return False
    for rows in found.rows.values():
        assert all(0 <= row["quality"] < 128 and 0 <= row["record"] < 1 << 16 for row in rows)
    return True


def assessment(data: bytes) -> bool:
    """An assessment has one encoding."""
    found = parse_assessment(data)
    assert found is None or assessment_value(found) == data
    return found is not None


def log_line(data: bytes) -> bool:
    """A line of the access log has a number and the hash of the line before it."""
    found = after(data)
    assert found is None or (found.count >= 1 and len(found.hash) == 32)
    return found is not None


def sealed(data: bytes) -> bool:
    """What a site sealed is records in their one padding, or nothing."""
    found = _decode_records(data)
    assert found is None or all(isinstance(item, bytes) for item in found)
    return found is not None


def key_file(data: bytes) -> bool:
    """A key file holds a key whose halves belong together."""
    try:
        found = parse_key(data, Path("key.json"), None)
    except ConfigError:
        return False
    assert found.public.raw in {bytes.fromhex(json.loads(data)["public"])}
    return True


def certificate_request(data: bytes) -> bool:
    """A certificate request counts only where the key that it names signed it."""
    try:
        found = requested_key(data)
    except ConfigError:
        return False
    assert isinstance(found.curve, ec.SECP256R1)
    return True


def _bodies() -> Bytes:
    found = []
    raws = [bytes.fromhex(item["raw"]) for item in golden("core_control")["records"]]
    for raw in [*material().payloads(Kind.CONTROL), *raws]:
        control = parse_control(raw)
        assert isinstance(control, Control)
        found.append(bytes([action_of(control.body)]) + encode_body(control.body))
    registrars = Registrars((material().world.registrar.public,))
    return [*found, bytes([Action.REGISTRARS]) + encode_body(registrars)]


@cache
def _proposals() -> Bytes:
    world = material().world
    root = world.roots[0]
    made = propose(world.genesis, root.public, Position(0, bytes(32)), Rules(2))
    assert isinstance(made, Proposal)
    return [made.signed_by(root).encode()]


@cache
def _answers() -> Bytes:
    world = material().world
    site = world.site(1)
    digest = read_request(request_of(world.genesis, site), world.genesis).digest
    granted = ((site.suite,), ("LOCAL:TRAFFIC_SPEED",), (), ())
    key = site.signer.public.fingerprint
    answer = AccessAnswer(world.genesis.chain, site.name, key, *granted, digest, NOW_MS, NOW_MS + 1000)
    return [write_answer(answer, world.registrar)]


@cache
def _bundles() -> Bytes:
    world = material().world
    platform = Platform("kafka.example:9093", "https://api.example", "", "")
    keys = (world.registrar.public,)
    site = world.site(1).name
    return [write_bundle(world.genesis, site, keys, platform, signer=world.registrar, expires_ms=NOW_MS)]


def _jwks() -> Bytes:
    numbers = ec.derive_private_key(4907, ec.SECP256R1()).public_key().public_numbers()
    x, y = (urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    key = {"kty": "EC", "crv": "P-256", "kid": "key-1", "use": "sig", "alg": "ES256", "x": x, "y": y}
    return [json.dumps({"keys": [key]}).encode()]


def _places() -> Bytes:
    names = ("US", "unlocode:USMES", "LOCAL:X", "", "", "mean", "1")
    return [_token((1_790_000_000_000, *names, 1_790_003_600_000)).encode()]


def _records() -> Bytes:
    site = material().world.site(1)
    lists: tuple[list[bytes], ...] = ([site.record(7)], [site.record(7), site.record(-(2**40))], [])
    return [_pad(bytes(SEED_BYTES) + _encode_records(records))[SEED_BYTES:] for records in lists]


def _log_lines() -> Bytes:
    access = Access(NOW_MS, "analyst", "token", "::1", "GET", "/v1/x", {"city": "a"}, 200, "answered")
    head = beginning(material().world.genesis.chain)
    first = encode_line(head, access)
    return [first, encode_line(LogHead(1, line_hash(first)), access)]


def _key_files() -> Bytes:
    return [key_document(Ed25519Signer(secret("site"), Use.SITE))]


TARGETS = (
    Target("body", body, _bodies),
    Target("proposal", proposal, _proposals),
    Target("access-answer", access_answer, _answers),
    Target("access-bundle", bundle, _bundles),
    Target("site-token", site_token, lambda: [token_text(secret("id", 16), secret("token")).encode()]),
    Target("jwks", jwks, _jwks),
    Target("scopes", scopes, lambda: [b" ".join(str(everywhere(action)).encode() for action in Scope)]),
    Target("condition", condition, lambda: [b"value > 3 and not (city == 'a' or 1 <= quality < 4)"]),
    Target("page-place", place, _places),
    Target("api-time", api_time, lambda: [b"2026-11-20T00:00:00Z", b"2026-11-20 00:00+01:00"]),
    Target("submitted", submitted, lambda: list(map(packet_value, material().payloads(Kind.PACKET)[:2]))),
    Target("observations", observations, lambda: [observed(1, 1.0, 2.5), observed(2)]),
    Target(
        "assessment",
        assessment,
        lambda: [bytes.fromhex(i["value"]) for i in golden("assessments")["figures"][:3]],
    ),
    Target("log-line", log_line, _log_lines),
    Target("sealed", sealed, _records),
    Target("key-file", key_file, _key_files),
    Target("csr", certificate_request, lambda: [_REQUEST]),
)
