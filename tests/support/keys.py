"""Keys at rest for tests: a sealer with a cheap passphrase file, and a vault on it."""

from pathlib import Path

from pipeline.adapters.key_files import KeyFiles
from pipeline.adapters.passphrase import Passphrase
from pipeline.adapters.sealed_file import Cost, Sealer
from pipeline.adapters.vault import KeyVault

CHEAP = Cost(10)


def sealer(folder: Path, text: str = "correct horse battery") -> Sealer:
    """Return a sealer whose passphrase is in a file of ``folder``."""
    path = folder / "passphrase"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(f"{text}\n")
    return Sealer(Passphrase(path), CHEAP)


def key_files(folder: Path) -> KeyFiles:
    """Return key files under a passphrase in ``folder``."""
    return KeyFiles(sealer(folder))


def vault(folder: Path, secrets: Path) -> KeyVault:
    """Return the vault in ``folder``, opened by what is in ``secrets``."""
    return KeyVault(folder, secrets / "generations", sealer(secrets))


def environment(folder: Path) -> dict[str, str]:
    """Return the environment in which programs keep passphrases in ``folder``, cheaply, and read plain keys, too."""
    return {
        "XDG_CONFIG_HOME": str(folder),
        "BKDMS_KEYS__SCRYPT_LOG2_N": str(CHEAP.log2_n),
        "BKDMS_KEYS__INSECURE_PLAIN_FILES": "true",
    }
