"""Key files: closed to others, checked against damage and against another use, never shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.keystore import (
    SealingKeyFolder,
    load_or_make_signer,
    load_sealing_key,
    load_signer,
    new_sealing_key,
    new_signing_key,
    save_key,
)
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, Use
from pipeline.core.sealing import seal_key, unseal_key
from pipeline.core.signing import verify

SIGNING = (Algorithm.ED25519, Algorithm.ECDSA_P256)
SEALING = (Algorithm.XWING, Algorithm.X25519, Algorithm.ECDH_P256)


def edit(path: Path, **changes: Any) -> None:
    """Change fields of a key file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A saved Ed25519 key of a node."""
    path = tmp_path / "keys" / "node.json"
    save_key(path, new_signing_key(Use.NODE))
    return path


@pytest.mark.parametrize("algorithm", SIGNING)
def test_a_signing_key_comes_back_and_signs(tmp_path: Path, algorithm: Algorithm) -> None:
    key = new_signing_key(Use.SITE, algorithm)
    save_key(tmp_path / "k.json", key)
    again = load_signer(tmp_path / "k.json", Use.SITE)
    assert verify(key.public, again.sign(b"m"), b"m")


@pytest.mark.parametrize("algorithm", SEALING)
def test_a_sealing_key_comes_back_and_opens(tmp_path: Path, algorithm: Algorithm) -> None:
    key = new_sealing_key(algorithm)
    save_key(tmp_path / "k.json", key)
    again = load_sealing_key(tmp_path / "k.json")
    assert unseal_key(again, seal_key(key.public, bytes(32), b"i"), b"i") == bytes(32)


def test_randomness_is_an_argument() -> None:
    drawn = new_signing_key(Use.NODE, random_bytes=lambda size: b"\x07" * size)
    assert drawn.public == new_signing_key(Use.NODE, random_bytes=lambda size: b"\x07" * size).public


def test_a_p256_draw_above_the_order_is_repeated() -> None:
    draws = iter([b"\xff" * 32, bytes(32), b"\x01" * 32])
    assert new_signing_key(Use.SITE, Algorithm.ECDSA_P256, lambda _: next(draws)).public


@pytest.mark.parametrize("algorithm", SEALING)
def test_a_sealing_algorithm_does_not_sign(algorithm: Algorithm) -> None:
    with pytest.raises(ValueError, match="no signing algorithm"):
        new_signing_key(Use.SITE, algorithm)


def test_file_and_folder_are_closed_to_others(key_file: Path) -> None:
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert key_file.parent.stat().st_mode & 0o777 == 0o700


def test_an_existing_key_is_never_overwritten(key_file: Path) -> None:
    before = key_file.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        save_key(key_file, new_signing_key(Use.NODE))
    assert key_file.read_bytes() == before
    assert list(key_file.parent.iterdir()) == [key_file]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_open_to_others_is_refused_with_the_remedy(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_signer(key_file, Use.NODE)


def test_a_key_serves_one_use_only(key_file: Path) -> None:
    with pytest.raises(ConfigError, match="holds a node key where a registrar key is needed"):
        load_signer(key_file, Use.REGISTRAR)


def test_a_relabelled_key_has_another_fingerprint(key_file: Path) -> None:
    before = load_signer(key_file, Use.NODE).public.fingerprint
    edit(key_file, use="site")
    assert load_signer(key_file, Use.SITE).public.fingerprint != before


def test_halves_that_do_not_belong_together_are_refused(key_file: Path) -> None:
    edit(key_file, public=new_signing_key(Use.NODE).public.raw.hex())
    with pytest.raises(ConfigError, match="do not belong together"):
        load_signer(key_file, Use.NODE)


def test_mixed_halves_of_a_hybrid_key_are_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "k.json", new_sealing_key(Algorithm.XWING)
    key = new_sealing_key(Algorithm.XWING)
    save_key(path, key)
    edit(path, secret=(key.secret[:64] + other.secret[64:]).hex())
    with pytest.raises(ConfigError, match="do not belong together"):
        load_sealing_key(path)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"format": "bkdms-key/v1"}', b"null", b"x" * 20_000]
)
def test_other_content_is_refused_by_name(key_file: Path, content: bytes) -> None:
    key_file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"node\.json"):
        load_signer(key_file, Use.NODE)


def test_an_error_does_not_show_the_secret(key_file: Path) -> None:
    secret = json.loads(key_file.read_text())["secret"]
    edit(key_file, secret=f"{secret[:-1]}z")
    with pytest.raises(ConfigError) as caught:
        load_signer(key_file, Use.NODE)
    assert secret[:16] not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("algorithm", [*SIGNING, *SEALING])
def test_a_representation_does_not_show_the_secret(algorithm: Algorithm) -> None:
    key = new_signing_key(Use.SITE, algorithm) if algorithm in SIGNING else new_sealing_key(algorithm)
    secret = key.seed if hasattr(key, "seed") else key.secret
    assert secret.hex() not in repr(key)
    assert repr(secret) not in repr(key)


def test_the_folder_finds_keys_by_fingerprint(tmp_path: Path) -> None:
    folder, key = SealingKeyFolder(tmp_path / "platform"), new_sealing_key(Algorithm.X25519)
    folder.add(key)
    folder.add(key)
    assert folder.get(key.public.fingerprint) == key
    assert folder.get(bytes(32)) is None


def test_a_key_under_another_name_is_refused(tmp_path: Path) -> None:
    folder, key = SealingKeyFolder(tmp_path), new_sealing_key(Algorithm.X25519)
    folder.add(key)
    (tmp_path / f"{key.public.fingerprint.hex()}.json").rename(tmp_path / f"{bytes(32).hex()}.json")
    with pytest.raises(ConfigError, match="another key than its name says"):
        folder.get(bytes(32))


def test_a_signer_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "site" / "key.json"
    assert load_or_make_signer(path, Use.SITE).public == load_or_make_signer(path, Use.SITE).public
    with pytest.raises(ConfigError, match="no ecdsa_p256 key"):
        load_or_make_signer(path, Use.SITE, Algorithm.ECDSA_P256)
