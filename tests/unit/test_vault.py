"""The vault of sealing keys: useless without its generation, and what was destroyed comes back from no copy."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.adapters.keystore import SealingKeyFolder, new_sealing_key
from pipeline.adapters.private_files import remove_private, replace_private
from pipeline.adapters.vault import KeyVault, generations_of, vault_id
from pipeline.adapters.vault_generation import GenerationFile, generation_in_force
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm
from pipeline.core.sealing import SealingKey
from tests.support.keys import sealer, vault

NOW_MS = 1_700_000_000_000
KEPT, GONE = (new_sealing_key(Algorithm.X25519) for _ in range(2))


def fp(key: SealingKey) -> bytes:
    return key.public.fingerprint


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A vault with two keys in ``place / keys``, opened by ``place / secrets``."""
    ours = vault(tmp_path / "keys", tmp_path / "secrets")
    for key in (KEPT, GONE):
        ours.add(key)
    return tmp_path


def opened(place: Path) -> KeyVault:
    """Open the vault as another process would."""
    return vault(place / "keys", place / "secrets")


@pytest.mark.parametrize("algorithm", [Algorithm.XWING, Algorithm.X25519, Algorithm.ECDH_P256])
def test_a_key_comes_back(tmp_path: Path, algorithm: Algorithm) -> None:
    key = new_sealing_key(algorithm)
    opened(tmp_path).add(key)
    opened(tmp_path).add(key)
    assert opened(tmp_path).get(fp(key)) == key
    assert opened(tmp_path).get(bytes(32)) is None


def test_no_file_holds_a_secret_in_clear(place: Path) -> None:
    files = [path for path in place.rglob("*") if path.is_file()]
    assert len(files) >= 5
    for path in files:
        assert KEPT.secret.hex().encode() not in path.read_bytes()
        assert KEPT.secret not in path.read_bytes()


def test_without_its_generation_file_a_vault_does_not_open(place: Path) -> None:
    shutil.rmtree(place / "secrets" / "generations")
    with pytest.raises(ConfigError, match="generations_dir") as caught:
        opened(place).get(fp(KEPT))
    assert caught.value.code == "config.vault"


def test_a_destroyed_key_is_gone_and_the_others_stay(place: Path) -> None:
    assert opened(place).destroy(fp(GONE), NOW_MS) == 2
    assert opened(place).get(fp(GONE)) is None
    assert opened(place).get(fp(KEPT)) == KEPT
    assert [(one.fingerprint, one.generation, one.time_ms) for one in opened(place).destroyed()] == [
        (fp(GONE), 2, NOW_MS)
    ]


def test_a_running_reader_follows_a_destruction(place: Path) -> None:
    reader = opened(place)
    assert reader.get(fp(GONE)) == GONE
    opened(place).destroy(fp(GONE), NOW_MS)
    assert reader.get(fp(GONE)) is None
    assert reader.get(fp(KEPT)) == KEPT


def test_destroying_twice_changes_nothing(place: Path) -> None:
    assert [opened(place).destroy(fp(GONE), NOW_MS) for _ in range(2)] == [2, 2]
    with pytest.raises(ConfigError, match="holds no key"):
        opened(place).destroy(bytes(32), NOW_MS)


def test_a_destroyed_key_does_not_come_back_from_a_copy_of_the_folder(place: Path) -> None:
    shutil.copytree(place / "keys", place / "backup")
    opened(place).destroy(fp(GONE), NOW_MS)
    shutil.rmtree(place / "keys")
    shutil.copytree(place / "backup", place / "keys")
    assert opened(place).get(fp(GONE)) is None
    with pytest.raises(ConfigError, match="it is an old copy"):
        opened(place).get(fp(KEPT))


def test_an_old_file_renamed_to_a_key_that_stayed_does_not_open(place: Path) -> None:
    old = (place / "keys" / f"{fp(GONE).hex()}.wrapped").read_bytes()
    opened(place).destroy(fp(GONE), NOW_MS)
    target = place / "keys" / f"{fp(KEPT).hex()}.wrapped"
    target.write_bytes(old)
    with pytest.raises(ConfigError):
        opened(place).get(fp(KEPT))
    head = json.loads(old)
    target.write_text(json.dumps(head | {"generation": 2}))
    with pytest.raises(ConfigError, match="was changed"):
        opened(place).get(fp(KEPT))


def test_a_destroyed_key_is_not_taken_in_again(place: Path) -> None:
    opened(place).destroy(fp(GONE), NOW_MS)
    with pytest.raises(ConfigError, match="does not come back"):
        opened(place).add(GONE)
    SealingKeyFolder(place / "keys").add(GONE)
    assert opened(place).get(fp(GONE)) is None
    opened(place).take_in_plain()
    assert not (place / "keys" / f"{fp(GONE).hex()}.json").exists()
    assert opened(place).get(fp(GONE)) is None


def test_the_key_of_the_generation_before_is_nowhere_any_more(place: Path) -> None:
    sealed = sealer(place / "secrets")
    file = next((place / "secrets" / "generations").iterdir())
    before = json.loads(sealed.open(file.read_bytes(), "")[1])["keys"]["1"]
    opened(place).destroy(fp(GONE), NOW_MS)
    keys = json.loads(sealed.open(file.read_bytes(), "")[1])["keys"]
    assert list(keys) == ["2"]
    assert before not in keys.values()


@pytest.mark.parametrize("crash_at", range(4))
def test_a_destruction_cut_short_is_brought_to_its_end(
    place: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    steps = iter(range(10))

    def or_crash(action: object) -> object:
        def run(*arguments: object) -> object:
            if next(steps) == crash_at:
                raise KeyboardInterrupt
            return action(*arguments)  # type: ignore[operator]

        return run

    module = "pipeline.adapters.vault"
    monkeypatch.setattr(GenerationFile, "save", or_crash(GenerationFile.save))
    monkeypatch.setattr(f"{module}.remove_private", or_crash(remove_private))
    monkeypatch.setattr(f"{module}.replace_private", or_crash(replace_private))
    with pytest.raises(KeyboardInterrupt):
        opened(place).destroy(fp(GONE), NOW_MS)
    monkeypatch.undo()
    assert opened(place).get(fp(KEPT)) == KEPT
    assert opened(place).get(fp(GONE)) == (GONE if crash_at == 0 else None)
    assert opened(place).destroy(fp(GONE), NOW_MS) == 2
    assert generations_of(place / "keys") == {2}
    assert opened(place).get(fp(KEPT)) == KEPT


def test_plain_keys_of_an_older_release_are_taken_in_and_removed(tmp_path: Path) -> None:
    SealingKeyFolder(tmp_path / "keys").add(KEPT)
    with pytest.raises(ConfigError, match="bkdms keys seal"):
        opened(tmp_path).get(fp(KEPT))
    assert opened(tmp_path).take_in_plain() == 1
    assert opened(tmp_path).get(fp(KEPT)) == KEPT
    assert not list((tmp_path / "keys").glob(f"{fp(KEPT).hex()}.json"))


def test_by_the_insecure_setting_a_plain_key_is_read_and_told(tmp_path: Path) -> None:
    SealingKeyFolder(tmp_path / "keys").add(KEPT)
    told: list[Path] = []
    ours = KeyVault(tmp_path / "keys", tmp_path / "g", sealer(tmp_path), plain=told.append)
    assert ours.get(fp(KEPT)) == KEPT
    assert len(told) == 1


def test_the_vault_is_listed_without_opening_anything(place: Path) -> None:
    (place / "secrets" / "passphrase").unlink()
    listed = opened(place).keys()
    assert {one.fingerprint for one in listed} == {fp(KEPT), fp(GONE)}
    assert {(one.algorithm, one.generation) for one in listed} == {("x25519", 1)}


def test_which_generation_is_in_force_is_told_without_a_passphrase(place: Path) -> None:
    identity = vault_id(place / "keys")
    opened(place).destroy(fp(GONE), NOW_MS)
    assert generation_in_force(place / "secrets" / "generations", identity) == 2
    assert generation_in_force(place / "nowhere", identity) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"x" * 20_000])
def test_a_damaged_key_is_refused_by_name(place: Path, content: bytes) -> None:
    path = place / "keys" / f"{fp(KEPT).hex()}.wrapped"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=fp(KEPT).hex()):
        opened(place).get(fp(KEPT))
