"""Control records: what is well formed, what exactly is signed, and ranges of every body field."""

from typing import Any

import pytest

from pipeline.core import avro
from pipeline.core.admission import is_issued
from pipeline.core.control import (
    MAX_CONTROL_BYTES,
    Action,
    BackfillGrant,
    Body,
    Control,
    Enrol,
    KeyOffer,
    Revoke,
    control_id,
    parse_control,
    possession_message,
    sign_control,
)
from pipeline.core.keys import Algorithm, Use
from pipeline.core.names import MAX_LONG, MAX_TIME_MS, SiteName
from pipeline.core.outcome import Outcome
from pipeline.core.sealing import Suite
from pipeline.core.signing import Ed25519Signer, P256Signer
from schemas import schema
from tests.support.world import NOW_MS, secret, site_name

REGISTRAR = Ed25519Signer(secret("registrar"), Use.REGISTRAR)
CHAIN, ZERO = secret("chain"), bytes(32)
NAME = site_name(1)
BODIES: list[Body] = [
    Enrol(NAME, Algorithm.ED25519, bytes(32), bytes(64), (Suite.LIGHT, Suite.XWING), ("EC: ICT: ICT: 1C",)),
    Enrol(NAME, Algorithm.ECDSA_P256, bytes(33), bytes(64), (Suite.P256,), ("LOCAL:X",), (secret("eq", 16),)),
    Revoke(NAME, secret("key"), "stolen"),
    BackfillGrant(NAME, 0, MAX_TIME_MS, NOW_MS),
    KeyOffer(NAME, MAX_LONG, Algorithm.XWING, bytes(1216), MAX_TIME_MS),
]


def parsed(raw: bytes) -> Control:
    """Return a control record that has to be well formed."""
    control = parse_control(raw)
    assert isinstance(control, Control)
    return control


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_a_signed_body_is_read_back(body: Body) -> None:
    control = parsed(sign_control(CHAIN, REGISTRAR, MAX_LONG, ZERO, body))
    assert (control.body, control.sequence, control.chain) == (body, MAX_LONG, CHAIN)
    assert is_issued(REGISTRAR.public, control)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_the_clear_part_is_everything_before_the_signatures(body: Body) -> None:
    control = parsed(sign_control(CHAIN, REGISTRAR, 1, ZERO, body))
    assert control.raw == control.clear + b"\x02" + b"".join(control.signatures[0]) + b"\0"
    assert control.signed == b"bkdms/control/v1\0" + control.clear


def test_the_signature_is_not_in_the_identifier() -> None:
    """Two signatures of one record would otherwise be two records."""
    raw = sign_control(CHAIN, REGISTRAR, 1, ZERO, BODIES[2])
    assert control_id(raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:]) == control_id(raw)
    assert control_id(b"") is None


def with_signatures(*signatures: dict[str, bytes]) -> Control:
    """Return a record that carries the given signatures."""
    fields = avro.decode(schema("Control"), sign_control(CHAIN, REGISTRAR, 1, ZERO, BODIES[2]))
    assert fields is not None
    return parsed(avro.encode(schema("Control"), fields | {"signatures": list(signatures)}))


def test_only_exactly_one_signature_of_the_issuer_counts() -> None:
    good = with_signatures(
        *[
            {"key": key, "signature": signature}
            for key, signature in parsed(sign_control(CHAIN, REGISTRAR, 1, ZERO, BODIES[2])).signatures
        ]
    )
    line = {"key": good.signatures[0][0], "signature": good.signatures[0][1]}
    assert is_issued(REGISTRAR.public, good)
    assert not is_issued(REGISTRAR.public, with_signatures(line, line))
    assert not is_issued(REGISTRAR.public, with_signatures(line | {"key": bytes(32)}))
    assert not is_issued(REGISTRAR.public, with_signatures(line | {"signature": bytes(64)}))


@pytest.mark.parametrize("use", [use for use in Use if use is not Use.REGISTRAR])
def test_a_key_of_another_use_does_not_issue(use: Use) -> None:
    """Even the same secret: the fingerprint differs."""
    control = parsed(sign_control(CHAIN, Ed25519Signer(REGISTRAR.seed, use), 1, ZERO, BODIES[2]))
    assert not is_issued(REGISTRAR.public, control)


def test_a_registrar_with_a_p256_key_issues() -> None:
    signer = P256Signer(secret("p256"), Use.REGISTRAR)
    assert is_issued(signer.public, parsed(sign_control(CHAIN, signer, 1, ZERO, BODIES[2])))


RANGES: list[tuple[Body, str, list[Any]]] = [
    (BODIES[0], "country", ["", "us", "USA", "é1"]),
    (BODIES[0], "city", ["", "a b", "x" * 65, "a\0", "<\u202e>"]),
    (BODIES[0], "algorithm", [0, 6, -1, MAX_LONG, -(2**63)]),
    (BODIES[0], "suites", [[], [0], [4], [1, 1], [MAX_LONG], [-(2**63)]]),
    (BODIES[0], "indicators", [[], [""], ["a  b"], [" a"], ["x" * 65], ["é"], ["a"] * 257]),
    (BODIES[0], "equipment", [[bytes(16)] * 257]),
    (BODIES[2], "reason", ["", "two words", "x" * 65, "a\nb", "\x1b[31m"]),
    (BODIES[3], "collected_from", [-1, MAX_TIME_MS + 1, -(2**63)]),
    (BODIES[3], "collected_to", [-1, MAX_TIME_MS + 1, MAX_LONG]),
    (BODIES[3], "expires", [-1, MAX_TIME_MS + 1, MAX_LONG]),
    (BODIES[4], "epoch", [0, -1, -(2**63)]),
    (BODIES[4], "algorithm", [0, 6, -1, MAX_LONG]),
    (BODIES[4], "valid_to", [-1, MAX_TIME_MS + 1]),
]


def changed(body: Body, field: str, value: Any) -> bytes:
    """Return a control record whose body has another value in a field."""
    fields = avro.decode(schema("Control"), sign_control(CHAIN, REGISTRAR, 1, ZERO, body))
    assert fields is not None
    described = schema(type(body).__name__)
    inner = avro.decode(described, fields["body"])
    assert inner is not None
    encoded = avro.encode(described, inner | {field: value})
    return avro.encode(schema("Control"), fields | {"body": encoded})


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [(body, field, value) for body, field, values in RANGES for value in values],
    ids=[f"{type(b).__name__}-{f}-{n}" for b, f, values in RANGES for n in range(len(values))],
)
def test_a_body_field_out_of_range_is_refused(body: Body, field: str, value: Any) -> None:
    assert parse_control(changed(body, field, value)) is Outcome.OUT_OF_RANGE


def test_a_grant_that_ends_before_it_begins_is_refused() -> None:
    raw = sign_control(CHAIN, REGISTRAR, 1, ZERO, BackfillGrant(NAME, 2, 1, NOW_MS))
    assert parse_control(raw) is Outcome.OUT_OF_RANGE


@pytest.mark.parametrize("action", list(Action))
def test_a_body_of_another_action_is_refused(action: Action) -> None:
    fields = avro.decode(schema("Control"), sign_control(CHAIN, REGISTRAR, 1, ZERO, BODIES[2]))
    assert fields is not None
    found = parse_control(avro.encode(schema("Control"), fields | {"action": int(action)}))
    assert isinstance(found, Control) == (action in (Action.REVOKE, Action.SUSPEND, Action.RESUME))


def test_one_body_under_another_action_is_another_message() -> None:
    """A suspension has the fields of a revocation, but its signature is good for itself alone."""
    raw = sign_control(CHAIN, REGISTRAR, 1, ZERO, BODIES[2])
    fields = avro.decode(schema("Control"), raw)
    assert fields is not None
    assert not is_issued(
        REGISTRAR.public, parsed(avro.encode(schema("Control"), fields | {"action": int(Action.SUSPEND)}))
    )


def test_too_many_signatures_are_refused() -> None:
    fields = avro.decode(schema("Control"), sign_control(CHAIN, REGISTRAR, 1, ZERO, BODIES[2]))
    assert fields is not None
    for count, expected in ((16, Control), (17, Outcome)):
        raw = avro.encode(schema("Control"), fields | {"signatures": fields["signatures"] * count})
        assert isinstance(parse_control(raw), expected)


def test_a_control_record_over_its_limit_is_oversized() -> None:
    assert parse_control(bytes(MAX_CONTROL_BYTES + 1)) is Outcome.OVERSIZED
    assert parse_control(bytes(MAX_CONTROL_BYTES)) is Outcome.MALFORMED


def test_possession_is_claimed_for_one_chain_site_and_key() -> None:
    claims = {
        possession_message(CHAIN, NAME, ZERO),
        possession_message(secret("other"), NAME, ZERO),
        possession_message(CHAIN, site_name(2), ZERO),
        possession_message(CHAIN, SiteName("CA", NAME.city, NAME.site_id), ZERO),
        possession_message(CHAIN, SiteName(NAME.country, "other", NAME.site_id), ZERO),
        possession_message(CHAIN, NAME, secret("key")),
    }
    assert len(claims) == 6
