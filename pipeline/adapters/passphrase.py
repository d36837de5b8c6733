"""Where passphrases come from: a file closed to others, or a person at a terminal; never an argument or a variable."""

import base64
from collections.abc import Callable
from pathlib import Path
from secrets import token_bytes

from pipeline.adapters.private_files import create_private, read_private
from pipeline.core.errors import ConfigError

MIN_PASSPHRASE_BYTES = 12
_MAX_FILE_BYTES = 4096
_MADE_BYTES = 32

Ask = Callable[[str], str]


class Passphrase:
    """A passphrase that is kept in ``file``, or asked for by ``ask`` where there is no such file.

    ``ask`` gets the question and returns what was typed; None where nobody can be asked. ``made`` hears of a file
    that was made.
    """

    def __init__(
        self, file: Path, ask: Ask | None = None, made: Callable[[Path], None] = lambda _: None
    ) -> None:
        self.file = file
        self._ask = ask
        self._made = made
        self._held: bytes | None = None

    def get(self) -> bytes:
        """Return the passphrase, to open what was sealed under it.

        Raises:
            ConfigError: there is no file and nobody to ask, or the file is open to others (``config.passphrase``).
        """
        if self._held is None:
            self._held = self._read() if self.file.exists() else self._asked()
        return self._held

    def get_or_make(self) -> bytes:
        """Return the passphrase, to seal something new: a file of 256 random bits is made where there is none.

        Raises:
            ConfigError: as for ``get``, or the file can't be made.
        """
        if self._held is None and not self.file.exists():
            create_private(self.file, base64.urlsafe_b64encode(token_bytes(_MADE_BYTES)) + b"\n")
            self._made(self.file)
        return self.get()

    def _read(self) -> bytes:
        return checked_passphrase(read_private(self.file, _MAX_FILE_BYTES), str(self.file))

    def _asked(self) -> bytes:
        if self._ask is None:
            raise ConfigError(
                f"keys are sealed under a passphrase, and there is none in {self.file}: put it back from where its "
                "copy is kept, or name its file by keys.passphrase_file",
                code="config.passphrase",
            )
        return checked_passphrase(self._ask("passphrase of the keys: ").encode(), "what was typed")


def checked_passphrase(content: bytes, where: str) -> bytes:
    """Return a passphrase without the end of its line.

    Raises:
        ConfigError: it is too short (``config.passphrase``).
    """
    passphrase = content.rstrip(b"\r\n")
    if len(passphrase) < MIN_PASSPHRASE_BYTES:
        raise ConfigError(
            f"passphrase in {where} is too short: use at least {MIN_PASSPHRASE_BYTES} bytes, best a file made by us",
            code="config.passphrase",
        )
    return passphrase
