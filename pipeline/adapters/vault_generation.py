"""What opens a vault, kept outside of it: the key of the generation in force, and which keys were destroyed.

One small file for each vault, sealed under the passphrase. It is in no backup of the vault: who copies it by and by
keeps what destruction takes away.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pipeline.adapters.private_files import read_private, replace_private_and_blank
from pipeline.adapters.sealed_file import Sealer, about_sealed
from pipeline.core.errors import ConfigError

_USE: Final = "vault-generation"
_MAX_FILE_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Destroyed:
    """A key that was destroyed: its fingerprint (32 bytes), the generation that began with that, and when (GMT ms)."""

    fingerprint: bytes
    generation: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Generations:
    """The generation in force, its key (32 bytes), the one before while keys are sealed anew, and the destroyed."""

    number: int
    keys: Mapping[int, bytes] = field(repr=False)
    destroyed: tuple[Destroyed, ...] = ()

    @property
    def is_changing(self) -> bool:
        """Whether a destruction was begun and not brought to its end."""
        return len(self.keys) > 1

    def is_destroyed(self, fingerprint: bytes) -> bool:
        """Whether this key was destroyed."""
        return any(one.fingerprint == fingerprint for one in self.destroyed)


class GenerationFile:
    """The file of one vault; it is read again when it changed."""

    def __init__(self, folder: Path, vault: bytes, sealer: Sealer) -> None:
        self.path = folder / f"{vault.hex()}.json"
        self._vault = vault
        self._sealer = sealer
        self._held: tuple[tuple[int, int], Generations] | None = None

    def load(self) -> Generations:
        """Return what is in force.

        Raises:
            ConfigError: the file is missing, another vault's or damaged (``config.vault``), or does not open.
        """
        try:
            status = self.path.stat()
        except OSError as error:
            raise ConfigError(
                f"{self.path} is missing ({error.strerror}): without it the platform's keys can't be opened; put it "
                "back from where its copy is kept, or name its folder by keys.generations_dir",
                code="config.vault",
            ) from None
        seen = status.st_ino, status.st_mtime_ns
        if self._held is None or self._held[0] != seen:
            self._held = seen, self._read()
        return self._held[1]

    def save(self, generations: Generations) -> None:
        """Put a generation in force; what the file held before is overwritten.

        Raises:
            ConfigError: the file can't be written.
        """
        document = {
            "keys": {str(number): key.hex() for number, key in generations.keys.items()},
            "destroyed": [
                {"key": one.fingerprint.hex(), "generation": one.generation, "time_ms": one.time_ms}
                for one in generations.destroyed
            ],
        }
        about = {"use": _USE, "vault": self._vault.hex(), "generation": generations.number}
        content = self._sealer.seal(json.dumps(document).encode(), about)
        replace_private_and_blank(self.path, content)
        self._held = None

    def _read(self) -> Generations:
        about, plain = self._sealer.open(read_private(self.path, _MAX_FILE_BYTES), str(self.path))
        if (about.get("use"), about.get("vault")) != (_USE, self._vault.hex()):
            raise ConfigError(f"{self.path} belongs to another vault", code="config.vault")
        document = json.loads(plain)
        keys = {int(number): bytes.fromhex(key) for number, key in document["keys"].items()}
        destroyed = tuple(
            Destroyed(bytes.fromhex(one["key"]), one["generation"], one["time_ms"])
            for one in document["destroyed"]
        )
        return Generations(about["generation"], keys, destroyed)


def generation_in_force(folder: Path, vault: bytes) -> int | None:
    """Return what a vault's generation file says in clear is in force; None where there is no file."""
    path = folder / f"{vault.hex()}.json"
    if not path.exists():
        return None
    told = about_sealed(read_private(path, _MAX_FILE_BYTES)).get("generation")
    return told if isinstance(told, int) else None
