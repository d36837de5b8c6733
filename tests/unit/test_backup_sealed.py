"""A backup tells nothing without its passphrase, is what its maker wrote, and brings no destroyed key back."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from pipeline.adapters.keystore import new_sealing_key
from pipeline.apps.backup import sealing
from pipeline.apps.backup.contents import (
    DATA,
    Manifest,
    copy_back,
    copy_data,
    damaged_files,
    list_files,
    opened_key,
    read_manifest,
    write_manifest,
)
from pipeline.apps.backup.restoring import refuse_old_vault
from pipeline.apps.backup.sealing import BackupKey
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm
from tests.support.keys import sealer, vault

SECRET = b"a secret of thirty-two bytes ..."
KEPT, GONE = (new_sealing_key(Algorithm.X25519) for _ in range(2))


def sealed(key: BackupKey, content: bytes, name: str = "f") -> bytes:
    target = BytesIO()
    key.seal(name, BytesIO(content), target)
    return target.getvalue()


def opened(key: BackupKey, content: bytes, name: str = "f") -> bytes:
    target = BytesIO()
    key.open(name, BytesIO(content), target.write)
    return target.getvalue()


def made(data: Path, folder: Path, secrets: Path) -> Path:
    """Make a backup of a data folder, without blocks."""
    key = BackupKey.new()
    copy_data(data, folder / DATA, key)
    listed = Manifest("00", "https://x", 0, "00", "2026-11-21", list_files(folder))
    write_manifest(folder, listed, key, sealer(secrets))
    return folder


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup of a genesis file, a transport key and a vault with two keys."""
    data = tmp_path / "data"
    for name in ("chain/genesis.json", "pki/node/key.pem"):
        (data / name).parent.mkdir(parents=True)
        (data / name).write_bytes(SECRET)
    ours = vault(data / "platform" / "keys", tmp_path / "secrets")
    ours.add(KEPT)
    ours.add(GONE)
    return made(data, tmp_path / "backup", tmp_path / "secrets")


@pytest.mark.parametrize(
    "size", [0, 1, sealing.PIECE_BYTES, sealing.PIECE_BYTES + 1, 3 * sealing.PIECE_BYTES]
)
def test_a_file_of_any_size_comes_back(size: int) -> None:
    key, content = BackupKey.new(), bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert opened(key, sealed(key, content)) == content


def cut(content: bytes) -> bytes:
    return content[: -sealing.PIECE_BYTES // 2]


def cut_at_a_piece(content: bytes) -> bytes:
    return content[: len(b"bkdms-backup-file/v1\n") + 2 * (sealing.PIECE_BYTES + 16)]


def swapped(content: bytes) -> bytes:
    start, size = len(b"bkdms-backup-file/v1\n"), sealing.PIECE_BYTES + 16
    return (
        content[:start]
        + content[start + size : start + 2 * size]
        + content[start : start + size]
        + content[start + 2 * size :]
    )


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def longer(content: bytes) -> bytes:
    return content + b"x"


@pytest.mark.parametrize("damage", [cut, cut_at_a_piece, swapped, flipped, longer])
def test_a_changed_file_does_not_open(damage: Callable[[bytes], bytes]) -> None:
    key = BackupKey.new()
    with pytest.raises(ConfigError, match="does not open"):
        opened(key, damage(sealed(key, bytes(5 * sealing.PIECE_BYTES // 2))))


def test_a_file_does_not_open_under_another_name_or_key() -> None:
    key = BackupKey.new()
    for other, name in ((key, "g"), (BackupKey.new(), "f")):
        with pytest.raises(ConfigError, match="does not open"):
            opened(other, sealed(key, SECRET), name)


def test_nothing_but_the_genesis_file_is_in_clear(backup: Path) -> None:
    clear = [path for path in (backup / DATA).rglob("*") if path.is_file() and SECRET in path.read_bytes()]
    assert clear == [backup / DATA / "chain" / "genesis.json"]


def test_it_opens_with_its_passphrase_alone(backup: Path, tmp_path: Path) -> None:
    manifest = read_manifest(backup)
    key = opened_key(backup, manifest, sealer(tmp_path / "secrets"))
    assert damaged_files(backup, key) == []
    copy_back(backup, tmp_path / "new", key)
    assert (tmp_path / "new" / "pki" / "node" / "key.pem").read_bytes() == SECRET
    with pytest.raises(ConfigError, match="is another one"):
        opened_key(backup, manifest, sealer(tmp_path / "thief", "some other words"))


def test_a_list_that_was_changed_is_refused(backup: Path, tmp_path: Path) -> None:
    path = backup / "manifest.json"
    told = json.loads(path.read_text())
    del told["files"]["data/pki/node/key.pem"]
    path.write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="was changed since"):
        opened_key(backup, read_manifest(backup), sealer(tmp_path / "secrets"))


def test_a_file_of_another_backup_is_found_out(backup: Path, tmp_path: Path) -> None:
    older = made(tmp_path / "data", tmp_path / "older", tmp_path / "secrets")
    name = "pki/node/key.pem"
    (backup / DATA / name).write_bytes((older / DATA / name).read_bytes())
    key = opened_key(backup, read_manifest(backup), sealer(tmp_path / "secrets"))
    assert [line.split(" ")[0] for line in damaged_files(backup, key)] == [name]


def test_a_backup_of_an_earlier_format_is_refused(backup: Path) -> None:
    path = backup / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    with pytest.raises(ConfigError, match="another release"):
        read_manifest(backup)


def restored_vault(backup: Path, tmp_path: Path) -> Path:
    key = opened_key(backup, read_manifest(backup), sealer(tmp_path / "secrets"))
    copy_back(backup, tmp_path / "new", key)
    return tmp_path / "new" / "platform" / "keys"


def test_keys_come_back_with_a_backup_of_the_generation_in_force(backup: Path, tmp_path: Path) -> None:
    folder = restored_vault(backup, tmp_path)
    refuse_old_vault(folder, tmp_path / "secrets" / "generations")
    assert vault(folder, tmp_path / "secrets").get(GONE.public.fingerprint) == GONE


def test_a_backup_from_before_a_destruction_is_refused_and_opens_nothing(
    backup: Path, tmp_path: Path
) -> None:
    vault(tmp_path / "data" / "platform" / "keys", tmp_path / "secrets").destroy(GONE.public.fingerprint, 1)
    folder = restored_vault(backup, tmp_path)
    with pytest.raises(ConfigError, match="generation 1, and 2 is in force"):
        refuse_old_vault(folder, tmp_path / "secrets" / "generations")
    assert vault(folder, tmp_path / "secrets").get(GONE.public.fingerprint) is None


def test_a_vault_without_its_generation_file_is_refused(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without-platform-keys"):
        refuse_old_vault(restored_vault(backup, tmp_path), tmp_path / "nowhere")
