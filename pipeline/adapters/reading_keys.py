"""A site's own keys to read its packets with: all of them in a vault, and which are in force.

Packets of years may be sealed to them, so they are kept until somebody destroys them; only new packets need those in
force. The vault vouches for the keys themselves: who can write the folder can at most put an earlier one in force.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pipeline.adapters.keystore import MAX_KEY_FILE_BYTES, new_sealing_key
from pipeline.adapters.private_files import read_private, replace_private
from pipeline.adapters.vault import KeyVault, VaultKey
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, PublicKey, Use
from pipeline.core.sealing import SealingKey

IN_FORCE_FILE: Final = "in-force.json"
_FORMAT: Final = "bkdms-reading-keys/v1"


class ReadingKeys:
    """The reading keys of one site; ``vault`` holds keys of use ``READER``."""

    def __init__(self, vault: KeyVault) -> None:
        self.vault = vault

    @property
    def _file(self) -> Path:
        return self.vault.folder / IN_FORCE_FILE

    def get(self, fingerprint: bytes) -> SealingKey | None:
        """Return the key with this fingerprint (32 bytes), or None where we have not got it or it was destroyed.

        Raises:
            ConfigError: it can't be opened.
        """
        return self.vault.get(fingerprint)

    def held(self) -> list[VaultKey]:
        """Return what is held, as the files tell it in clear; nothing is opened."""
        return self.vault.keys()

    def in_force_or_new(self, algorithms: Iterable[Algorithm]) -> list[PublicKey]:
        """Return the keys that packets are sealed to, one of each algorithm, made where there is none.

        Raises:
            ConfigError: they can't be opened or written.
        """
        named = self.in_force()
        found = {item: self.get(named[item]) if item in named else None for item in algorithms}
        missing = [item for item, key in found.items() if key is None]
        return [key.public for key in found.values() if key is not None] + self.renew(missing)

    def renew(self, algorithms: Iterable[Algorithm]) -> list[PublicKey]:
        """Make new keys and put them in force; those before still open what was sealed to them.

        Raises:
            ConfigError: they can't be written.
        """
        made = [new_sealing_key(algorithm, use=Use.READER) for algorithm in algorithms]
        for key in made:
            self.vault.add(key)
        if made:
            # Named only when it is on disk: packets must not be sealed to a key that a crash takes away.
            self._name({**self.in_force(), **{key.algorithm: key.public.fingerprint for key in made}})
        return [key.public for key in made]

    def destroy(self, fingerprint: bytes, now_ms: int) -> int:
        """Destroy a key for good, so that it reads nothing any more; return the vault's generation that began.

        Raises:
            ConfigError: there is none such, it is in force, or the folder can't be written to.
        """
        if fingerprint in self.in_force().values():
            raise ConfigError(
                f"key {fingerprint.hex()} is in force: put another in its place first (`bkdms site reading-keys "
                "--new`, then start the agent again)",
                code="config.reading_keys",
            )
        return self.vault.destroy(fingerprint, now_ms)

    def in_force(self) -> dict[Algorithm, bytes]:
        """Return the fingerprints (32 bytes) of the keys that packets are sealed to, by algorithm.

        Raises:
            ConfigError: the file that names them is damaged.
        """
        if not self._file.exists():
            return {}
        try:
            document = json.loads(read_private(self._file, MAX_KEY_FILE_BYTES))
            if document["format"] != _FORMAT:
                raise ValueError("format")
            return {Algorithm[name.upper()]: bytes.fromhex(key) for name, key in document["in_force"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(
                f"{self._file} is damaged; remove it, and the agent makes new keys at its next start, while the "
                "others still read",
                code="config.reading_keys",
            ) from None

    def _name(self, keys: dict[Algorithm, bytes]) -> None:
        document = {
            "format": _FORMAT,
            "in_force": {item.name.lower(): key.hex() for item, key in keys.items()},
        }
        replace_private(self._file, (json.dumps(document, indent=1) + "\n").encode())
