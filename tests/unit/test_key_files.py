"""Key files as programs use them: sealed; mounted secrets; plain only where a setting allows it."""

import json
from pathlib import Path

import pytest

from pipeline.adapters.key_files import KeyFiles
from pipeline.adapters.keystore import new_signing_key, save_key
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, Use
from pipeline.core.signing import Ed25519Signer, verify
from tests.support.keys import key_files, sealer

SEED = bytes(range(32))
KEY = Ed25519Signer(SEED, Use.NODE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sealed key of a node."""
    place = tmp_path / "data" / "node.json"
    key_files(tmp_path / "secrets").save(place, KEY)
    return place


@pytest.mark.parametrize("algorithm", [Algorithm.ED25519, Algorithm.ECDSA_P256, Algorithm.MLDSA44])
def test_a_sealed_key_signs_again(tmp_path: Path, algorithm: Algorithm) -> None:
    key = new_signing_key(Use.NODE, algorithm)
    key_files(tmp_path).save(tmp_path / "k.json", key)
    again = key_files(tmp_path).signer(tmp_path / "k.json", Use.NODE)
    assert verify(key.public, again.sign(b"m"), b"m")


def test_a_saved_key_shows_its_public_half_alone(path: Path) -> None:
    content = path.read_text()
    assert json.loads(content)["about"]["public"] == KEY.public.raw.hex()
    assert SEED.hex() not in content
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_copied_folder_without_the_passphrase_is_useless(tmp_path: Path, path: Path) -> None:
    thief = KeyFiles(sealer(tmp_path / "thief", "some other words"))
    with pytest.raises(ConfigError, match="is another one"):
        thief.signer(path, Use.NODE)


def test_a_sealed_key_serves_one_use_only(tmp_path: Path, path: Path) -> None:
    with pytest.raises(ConfigError, match="holds a node key where a registrar key is needed"):
        key_files(tmp_path / "secrets").signer(path, Use.REGISTRAR)


def test_a_plain_key_is_refused_with_the_remedy(tmp_path: Path) -> None:
    save_key(tmp_path / "plain.json", KEY)
    with pytest.raises(ConfigError, match="bkdms keys seal") as caught:
        key_files(tmp_path).signer(tmp_path / "plain.json", Use.NODE)
    assert caught.value.code == "config.plain_key"


def test_by_the_insecure_setting_a_plain_key_is_read_and_told(tmp_path: Path) -> None:
    told: list[Path] = []
    save_key(tmp_path / "plain.json", KEY)
    files = KeyFiles(sealer(tmp_path), plain=told.append)
    assert files.signer(tmp_path / "plain.json", Use.NODE).public == KEY.public
    assert told == [tmp_path / "plain.json"]


def test_even_then_a_new_key_is_sealed(tmp_path: Path) -> None:
    KeyFiles(sealer(tmp_path), plain=lambda _: None).save(tmp_path / "new.json", KEY)
    assert SEED.hex() not in (tmp_path / "new.json").read_text()


def test_a_plain_key_is_sealed_in_its_place_once(tmp_path: Path) -> None:
    place, files = tmp_path / "plain.json", key_files(tmp_path)
    save_key(place, KEY)
    assert [files.seal(place), files.seal(place)] == [True, False]
    assert SEED.hex() not in place.read_text()
    assert files.signer(place, Use.NODE).public == KEY.public


def test_a_mounted_secret_is_read_in_clear_at_mode_0400_and_through_links(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    save_key(mounted / "..data" / "node.json", KEY)
    (mounted / "..data" / "node.json").chmod(0o400)
    (mounted / "node.json").symlink_to("..data/node.json")
    files = KeyFiles(sealer(tmp_path), mounted=mounted)
    assert files.signer(mounted / "node.json", Use.NODE).public == KEY.public


def test_nothing_is_written_among_mounted_secrets(tmp_path: Path) -> None:
    files = KeyFiles(sealer(tmp_path), mounted=tmp_path / "mounted")
    with pytest.raises(ConfigError, match="mount it"):
        files.save(tmp_path / "mounted" / "new.json", KEY)


def test_a_place_beside_the_mounted_secrets_is_none_of_them(tmp_path: Path) -> None:
    save_key(tmp_path / "data" / "k.json", KEY)
    (tmp_path / "mounted").mkdir()
    files = KeyFiles(sealer(tmp_path), mounted=tmp_path / "mounted")
    with pytest.raises(ConfigError, match="is not sealed"):
        files.signer(tmp_path / "mounted" / ".." / "data" / "k.json", Use.NODE)


def test_a_signer_is_made_once_and_sealed(tmp_path: Path) -> None:
    place, files = tmp_path / "site.json", key_files(tmp_path)
    first = files.signer_or_new(place, Use.SITE)
    assert isinstance(first, Ed25519Signer)
    assert files.signer_or_new(place, Use.SITE).public == first.public
    assert first.seed.hex() not in place.read_text()
    with pytest.raises(ConfigError, match="no ecdsa_p256 key"):
        files.signer_or_new(place, Use.SITE, Algorithm.ECDSA_P256)
