"""Signed notes: strict reading, verifier keys, and which signatures count."""

from base64 import b64encode

import pytest

from pipeline.core.keys import Use
from pipeline.core.note import (
    COSIGNATURE_V1,
    ED25519,
    MAX_NOTE_BYTES,
    Note,
    NoteProblem,
    NoteSignature,
    OpenedNote,
    VerifierKey,
    cosignature_message,
    decode_base64,
    format_note,
    is_name,
    key_id,
    open_note,
    parse_note,
    parse_verifier_key,
)
from pipeline.core.signing import Ed25519Signer

TEXT = "one line\n\nand another, \u00fc\n".encode()
LINE = "\u2014 example.com/a " + b64encode(b"keyidsignature").decode() + "\n"


def _signer(seed: int) -> Ed25519Signer:
    return Ed25519Signer(bytes([seed]) * 32, Use.LOG)


def _key(seed: int, name: str = "example.com/a", algorithm: int = ED25519) -> VerifierKey:
    return VerifierKey(name, algorithm, _signer(seed).public.raw)


def _signature(seed: int, name: str = "example.com/a", text: bytes = TEXT) -> NoteSignature:
    return NoteSignature(name, _key(seed, name).key_id, _signer(seed).sign(text))


def test_a_note_is_read_back_as_it_was_written() -> None:
    signatures = (_signature(1), _signature(2, "example.com/b"))
    assert parse_note(format_note(TEXT, signatures)) == Note(TEXT, signatures)


def test_the_last_empty_line_parts_text_from_signatures() -> None:
    note = parse_note(b"a\n\n\xe2\x80\x94 not a signature\n\n" + LINE.encode())
    assert isinstance(note, Note)
    assert note.text == b"a\n\n\xe2\x80\x94 not a signature\n"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", NoteProblem.NO_SIGNATURE_BLOCK),
        (b"text\n", NoteProblem.NO_SIGNATURE_BLOCK),
        (b"text\n\n", NoteProblem.NO_SIGNATURE_BLOCK),
        (b"text\n" + LINE.encode(), NoteProblem.NO_SIGNATURE_BLOCK),
        (b"text\n\n" + LINE.encode()[:-1], NoteProblem.NO_SIGNATURE_BLOCK),
        (b"text\n\n" + LINE.encode() + b"\n", NoteProblem.NO_SIGNATURE_BLOCK),
        (b"text\xff\n\n" + LINE.encode(), NoteProblem.NOT_UTF8),
        (b"te\xed\xa0\x80xt\n\n" + LINE.encode(), NoteProblem.NOT_UTF8),
        (b"text\r\n\n" + LINE.encode(), NoteProblem.CONTROL_CHARACTER),
        (b"te\0xt\n\n" + LINE.encode(), NoteProblem.CONTROL_CHARACTER),
        (b"text\n\n" + LINE.replace("\u2014", "-").encode(), NoteProblem.BAD_SIGNATURE_LINE),
        (b"text\n\n" + LINE.replace(" example", "  example").encode(), NoteProblem.BAD_SIGNATURE_LINE),
        (b"text\n\n" + LINE.replace("example", "exa+mple").encode(), NoteProblem.BAD_SIGNATURE_LINE),
        (b"text\n\n" + LINE.replace("example", "exa\u00a0mple").encode(), NoteProblem.BAD_SIGNATURE_LINE),
        (b"text\n\n\xe2\x80\x94 example.com/a\n", NoteProblem.BAD_SIGNATURE_LINE),
        (b"text\n\n\xe2\x80\x94 example.com/a AAAAAA==\n", NoteProblem.BAD_SIGNATURE_LINE),
        (b"text\n\n\xe2\x80\x94 example.com/a AAAAAAB=\n", NoteProblem.BAD_SIGNATURE_LINE),
        (b"text\n\n\xe2\x80\x94 example.com/a AAAAAA\n", NoteProblem.BAD_SIGNATURE_LINE),
        (b"text\n\n\xe2\x80\x94 example.com/a AA_-AAAA\n", NoteProblem.BAD_SIGNATURE_LINE),
        (b"text\n\n" + LINE.encode() * 65, NoteProblem.TOO_MANY_SIGNATURES),
        (b"x" * MAX_NOTE_BYTES + b"\n\n" + LINE.encode(), NoteProblem.TOO_LARGE),
    ],
)
def test_bytes_that_are_no_note_are_refused_by_name(data: bytes, problem: NoteProblem) -> None:
    assert parse_note(data) is problem
    assert open_note(data, [_key(1)]) is problem


def test_sixty_four_signatures_are_accepted() -> None:
    note = parse_note(b"text\n\n" + LINE.encode() * 64)
    assert isinstance(note, Note)
    assert len(note.signatures) == 64


@pytest.mark.parametrize("text", [b"", b"no newline", b"tab\t\n", b"\xff\n"])
def test_text_that_no_note_may_have_is_not_formatted(text: bytes) -> None:
    with pytest.raises(ValueError, match="signed note"):
        format_note(text, [_signature(1)])


def test_a_note_without_signatures_is_not_formatted() -> None:
    with pytest.raises(ValueError, match="signed note"):
        format_note(TEXT, [])


def test_a_known_signature_opens_the_note() -> None:
    opened = open_note(format_note(TEXT, [_signature(1)]), [_key(1)])
    assert isinstance(opened, OpenedNote)
    assert opened.text == TEXT
    assert [found.key for found in opened.verified] == [_key(1)]


def test_signatures_of_unknown_keys_are_ignored() -> None:
    same_name, same_id = _signature(2), NoteSignature("example.com/b", _key(1).key_id, b"x" * 64)
    opened = open_note(format_note(TEXT, [same_name, same_id, _signature(1)]), [_key(1)])
    assert isinstance(opened, OpenedNote)
    assert len(opened.verified) == 1


def test_a_note_of_unknown_keys_alone_stays_shut() -> None:
    assert open_note(format_note(TEXT, [_signature(2)]), [_key(1)]) is NoteProblem.NO_KNOWN_SIGNATURE


@pytest.mark.parametrize(
    "signature", [b"x" * 64, b"x" * 63, b"x" * 65, _signature(1, text=b"other\n").signature]
)
def test_a_bad_signature_of_a_known_key_refuses_the_note(signature: bytes) -> None:
    bad = NoteSignature("example.com/a", _key(1).key_id, signature)
    for lines in ([bad], [_signature(1), bad], [bad, _signature(1)], [_signature(2, "example.com/b"), bad]):
        known = [_key(1), _key(2, "example.com/b")]
        assert open_note(format_note(TEXT, lines), known) is NoteProblem.BAD_SIGNATURE


def test_a_plain_signature_is_no_cosignature() -> None:
    key = _key(1, algorithm=COSIGNATURE_V1)
    plain = NoteSignature(key.name, key.key_id, bytes(8) + _signer(1).sign(TEXT))
    assert open_note(format_note(TEXT, [plain]), [key]) is NoteProblem.BAD_SIGNATURE


def test_a_cosignature_binds_its_timestamp() -> None:
    key = _key(1, algorithm=COSIGNATURE_V1)
    signed = _signer(1).sign(cosignature_message(1000, TEXT))
    good = NoteSignature(key.name, key.key_id, (1000).to_bytes(8, "big") + signed)
    moved = NoteSignature(key.name, key.key_id, (1001).to_bytes(8, "big") + signed)
    opened = open_note(format_note(TEXT, [good]), [key])
    assert isinstance(opened, OpenedNote)
    assert opened.verified[0].timestamp == 1000
    assert open_note(format_note(TEXT, [moved]), [key]) is NoteProblem.BAD_SIGNATURE


def test_a_cosignature_from_past_the_63_bits_is_bad() -> None:
    key = _key(1, algorithm=COSIGNATURE_V1)
    late = (2**63).to_bytes(8, "big") + _signer(1).sign(cosignature_message(2**63, TEXT))
    data = format_note(TEXT, [NoteSignature(key.name, key.key_id, late)])
    assert open_note(data, [key]) is NoteProblem.BAD_SIGNATURE


def test_a_signature_with_a_small_order_r_is_bad() -> None:
    """R = identity, S = 0 verifies in some libraries under the identity as public key."""
    identity = (1).to_bytes(32, "little")
    key = VerifierKey("example.com/a", ED25519, identity)
    data = format_note(TEXT, [NoteSignature(key.name, key.key_id, identity + bytes(32))])
    assert open_note(data, [key]) is NoteProblem.BAD_SIGNATURE


def test_two_known_keys_under_one_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.core.note.key_id", lambda *_: b"same")
    keys = [_key(1), _key(2)]
    assert open_note(format_note(TEXT, [_signature(1)]), keys) is NoteProblem.AMBIGUOUS_KEY


def test_verifier_key_strings_come_back() -> None:
    for key in (_key(1), _key(2, "example.com/\u00fc", COSIGNATURE_V1)):
        assert parse_verifier_key(str(key)) == key


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: "", NoteProblem.BAD_VERIFIER_KEY),
        (lambda s: s.replace("+", " "), NoteProblem.BAD_VERIFIER_KEY),
        (lambda s: s + "=", NoteProblem.BAD_VERIFIER_KEY),
        (lambda s: s[:-4], NoteProblem.BAD_VERIFIER_KEY),
        (lambda s: s + "\n", NoteProblem.BAD_VERIFIER_KEY),
        (lambda s: "+" + s.partition("+")[2], NoteProblem.BAD_VERIFIER_KEY),
        (lambda s: "b" + s, NoteProblem.KEY_ID_MISMATCH),
        (lambda s: s.partition("+")[0] + "+00000000+" + s.split("+", 2)[2], NoteProblem.KEY_ID_MISMATCH),
        (lambda s: s.split("+", 2)[0] + "++" + s.split("+", 2)[2], NoteProblem.KEY_ID_MISMATCH),
        (
            lambda s: s.rpartition("+")[0] + "+" + b64encode(b"\x07" + bytes(32)).decode(),
            NoteProblem.UNKNOWN_ALGORITHM,
        ),
    ],
)
def test_other_strings_are_no_verifier_key(change, problem: NoteProblem) -> None:  # type: ignore[no-untyped-def]
    assert parse_verifier_key(change("example.com/a+" + str(_key(1)).partition("+")[2])) is problem


def test_key_id_depends_on_name_type_and_key() -> None:
    ids = {
        key_id(name, kind, key) for name in ("a", "b") for kind in (1, 4) for key in (bytes(32), b"x" * 32)
    }
    assert len(ids) == 8


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\tb", "a\u2003b", "a\x00", "x" * 256, "\ud800"])
def test_names_that_would_break_a_line_are_refused(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(ValueError, match="name"):
        VerifierKey(name, ED25519, bytes(32))
    with pytest.raises(ValueError, match="name"):
        NoteSignature(name, b"keyi", b"signature")


@pytest.mark.parametrize(("algorithm", "key"), [(2, bytes(32)), (1, bytes(31)), (4, bytes(33))])
def test_verifier_keys_of_unknown_type_or_wrong_length_cannot_be_made(algorithm: int, key: bytes) -> None:
    with pytest.raises(ValueError, match="signature type"):
        VerifierKey("a", algorithm, key)


@pytest.mark.parametrize("text", ["QQ", "QR==", "Q Q=", "QQ==\n", "QQ==QQ==", "QQ=", "\u00e9QQ="])
def test_base64_has_one_form(text: str) -> None:
    assert decode_base64(text) is None
    assert decode_base64("QQ==") == b"A"
