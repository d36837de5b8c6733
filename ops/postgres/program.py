"""Which PostgreSQL of this machine is used, and as which system user it runs."""

import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ops.kafka.distribution import cache_folder
from pipeline.core.errors import ConfigError

OLDEST_VERSION = 15
HOME_VARIABLE = "BKDMS_POSTGRES_HOME"
# Where Debian, Fedora and others put versions beside each other, out of PATH.
_SYSTEM_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*")
_UNPACKED = "postgresql/usr/lib/postgresql/*/bin"
_LIBRARIES = "postgresql/usr/lib"
# PostgreSQL refuses root; this is the user that its packages make.
SYSTEM_USER = "postgres"
_TIMEOUT_S = 10
_REMEDY = (
    f"apt-get install postgresql ({OLDEST_VERSION} or later), or run `make setup`, which unpacks it without root, "
    f"or set {HOME_VARIABLE} to its folder"
)


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """The folder that holds ``postgres`` and ``initdb``, and the libraries' folder when it was unpacked only."""

    folder: Path
    version: int
    libraries: tuple[Path, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What the programs need in their environment."""
        if not self.libraries:
            return {}
        return {"LD_LIBRARY_PATH": ":".join(str(folder) for folder in self.libraries)}


def find_programs() -> PostgresPrograms:
    """The newest PostgreSQL with TLS: as the environment names it, else of the system, else unpacked by set-up.

    Raises:
        ConfigError: there is none from version 15 on (code ``no_postgres``).
    """
    found = [programs for folder in _candidates() if (programs := _programs(folder)) is not None]
    if not found:
        raise ConfigError(f"no PostgreSQL: {_REMEDY}", code="no_postgres")
    return max(found, key=lambda programs: programs.version)


def system_user() -> str | None:
    """The user to run the server as: None for ourselves, a user of its own when we are root.

    Raises:
        ConfigError: we are root and there is no such user (code ``no_postgres``).
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise ConfigError(
            f"PostgreSQL does not run as root, and there is no user {SYSTEM_USER}: {_REMEDY}",
            code="no_postgres",
        ) from None
    return SYSTEM_USER


def _candidates() -> list[Path]:
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return [Path(home), Path(home) / "bin"]
    folders = [path for pattern in _SYSTEM_FOLDERS for path in Path("/").glob(pattern.lstrip("/"))]
    folders += cache_folder().glob(_UNPACKED)
    if in_path := shutil.which("postgres"):
        folders.append(Path(in_path).resolve().parent)
    return folders


def _programs(folder: Path) -> PostgresPrograms | None:
    if not ((folder / "initdb").is_file() and (folder / "postgres").is_file()):
        return None
    unpacked = cache_folder() / _LIBRARIES
    libraries = tuple(sorted(unpacked.glob("*-linux-gnu*"))) if folder.is_relative_to(unpacked) else ()
    programs = PostgresPrograms(folder, 0, libraries)
    version = _version(programs)
    return PostgresPrograms(folder, version, libraries) if version >= OLDEST_VERSION else None


def _version(programs: PostgresPrograms) -> int:
    """Return the major version, 0 where the program does not run or has no TLS."""
    if not _has_tls(programs.folder / "postgres"):
        return 0
    try:
        answer = subprocess.run(  # noqa: S603
            [programs.folder / "postgres", "--version"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={**os.environ, **programs.environment},
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found.group(1)) if found else 0


def _has_tls(program: Path) -> bool:
    # A build without TLS says so only when a server starts; the text of that refusal is in the program then.
    return b"SSL is not supported by this build" not in program.read_bytes()
