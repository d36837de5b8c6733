"""Sealed files: nothing of the secret in clear, everything that is in clear bound to it, one passphrase."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.passphrase import MIN_PASSPHRASE_BYTES, Passphrase
from pipeline.adapters.sealed_file import Cost, Sealer, is_sealed
from pipeline.core.errors import ConfigError
from tests.support.keys import CHEAP, sealer

SECRET = b"thirty-two bytes of a secret key"


@pytest.fixture
def sealed(tmp_path: Path) -> bytes:
    """A sealed secret, described as a node's."""
    return sealer(tmp_path).seal(SECRET, {"use": "node"})


def edited(content: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(content) | changes).encode()


def test_what_was_sealed_opens_in_another_process(tmp_path: Path, sealed: bytes) -> None:
    assert sealer(tmp_path).open(sealed, "file") == ({"use": "node"}, SECRET)


def test_no_form_of_the_secret_is_in_the_file(sealed: bytes) -> None:
    assert is_sealed(sealed)
    assert SECRET not in sealed
    assert SECRET.hex().encode() not in sealed


def test_another_passphrase_is_a_clear_error(tmp_path: Path, sealed: bytes) -> None:
    other = sealer(tmp_path / "other", "incorrect horse battery")
    with pytest.raises(ConfigError, match=r"passphrase in .*other/passphrase is another one") as caught:
        other.open(sealed, "key file k")
    assert caught.value.code == "config.sealed_file"


@pytest.mark.parametrize("field", ["about", "kdf", "nonce", "sealed"])
def test_what_stands_in_clear_is_bound_to_the_secret(tmp_path: Path, sealed: bytes, field: str) -> None:
    document = json.loads(sealed)
    changed: dict[str, Any] = {
        "about": {"use": "registrar"},
        "kdf": {**document["kdf"], "salt": bytes(16).hex()},
        "nonce": bytes(12).hex(),
        "sealed": "AA" + document["sealed"][2:],
    }
    with pytest.raises(ConfigError, match="does not open"):
        sealer(tmp_path).open(edited(sealed, **{field: changed[field]}), "file")


@pytest.mark.parametrize("kdf", [{"log2_n": 40}, {"p": 1000}, {"name": "none"}, {"r": 1}, {"salt": "zz"}])
def test_parameters_out_of_bounds_are_refused_before_any_work(
    tmp_path: Path, sealed: bytes, kdf: dict[str, Any]
) -> None:
    content = edited(sealed, kdf=json.loads(sealed)["kdf"] | kdf)
    with pytest.raises(ConfigError, match="is no sealed file"):
        sealer(tmp_path).open(content, "file")


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b'{"format": "bkdms-key/v1"}', b"\xff"])
def test_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    assert not is_sealed(content)
    with pytest.raises(ConfigError, match="is no sealed file"):
        sealer(tmp_path).open(content, "file")


def test_the_same_secret_is_never_sealed_to_the_same_bytes(tmp_path: Path) -> None:
    ours = sealer(tmp_path)
    first, second = (json.loads(ours.seal(SECRET, {})) for _ in range(2))
    assert first["nonce"] != second["nonce"]
    assert first["sealed"] != second["sealed"]


def test_the_usual_cost_is_that_of_128_mib_and_stays_with_less_memory() -> None:
    assert (Cost().log2_n, Cost().p) == (17, 1)
    assert [Cost.of(n).p for n in (17, 16, 15, 14)] == [1, 2, 3, 5]


def test_a_passphrase_is_made_for_the_first_secret_and_never_for_an_existing_one(tmp_path: Path) -> None:
    made: list[Path] = []
    path = tmp_path / "secrets" / "passphrase"
    content = Sealer(Passphrase(path, made=made.append), CHEAP).seal(SECRET, {})
    assert made == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    with pytest.raises(ConfigError, match="there is none in") as caught:
        Sealer(Passphrase(path), CHEAP).open(content, "file")
    assert caught.value.code == "config.passphrase"
    assert not path.exists()


def test_without_a_file_a_person_is_asked(tmp_path: Path) -> None:
    typed = Passphrase(tmp_path / "none", ask=lambda _: "correct horse battery")
    assert typed.get() == b"correct horse battery"


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    short = "x" * (MIN_PASSPHRASE_BYTES - 1)
    with pytest.raises(ConfigError, match="too short"):
        sealer(tmp_path, short).seal(SECRET, {})


def test_a_passphrase_open_to_others_is_refused(tmp_path: Path) -> None:
    ours = sealer(tmp_path)
    (tmp_path / "passphrase").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ours.seal(SECRET, {})


def test_neither_passphrase_nor_derived_key_is_shown(tmp_path: Path) -> None:
    ours = sealer(tmp_path)
    ours.seal(SECRET, {})
    assert "horse" not in repr(ours)
