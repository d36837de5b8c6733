"""Two generations of authorities in one folder change places: at any moment the one or the other is in force.

While a replacement is under way ``ca/next`` holds the generation to come. Putting it in force moves ``ca`` aside and
``next`` into its place; whoever finds that half done does the rest.
"""

from contextlib import suppress
from pathlib import Path
from shutil import copyfile, rmtree

from ops.files import private_folder
from pipeline.core.errors import ConfigError

CA_FOLDER = "ca"
NEXT = "next"
FORMER = "former"
LEAVING = ".ca.old"
_STILL_TRUSTED = ("root.pem", "platform-anchor.pem")


def introduce(folder: Path, draft: Path) -> None:
    """Put a complete generation beside the one in force, to be trusted from now on."""
    draft.rename(folder / CA_FOLDER / NEXT)


def promote(folder: Path) -> None:
    """Put the next generation in force; the one before stays trusted, and its keys are overwritten."""
    place = folder / CA_FOLDER
    trusted = private_folder(place / NEXT / FORMER)
    for name in _STILL_TRUSTED:
        copyfile(place / name, trusted / name)
        (trusted / name).chmod((place / name).stat().st_mode)
    place.rename(folder / LEAVING)
    settle(folder)


def close(folder: Path) -> None:
    """Trust the generation in force alone."""
    gone = folder / f".{FORMER}.old"
    rmtree(gone, ignore_errors=True)
    (folder / CA_FOLDER / FORMER).rename(gone)
    rmtree(gone)


def settle(folder: Path) -> None:
    """Bring an exchange that was interrupted to its end.

    Raises:
        ConfigError: neither generation is where it was left (code ``pki``).
    """
    leaving, place = folder / LEAVING, folder / CA_FOLDER
    if not leaving.exists():
        return
    # Another process may be doing the same.
    with suppress(FileNotFoundError):
        if not place.exists():
            (leaving / NEXT).rename(place)
    if not place.exists():
        raise ConfigError(f"{leaving} holds no next authorities: take {place} from a backup", code="pki")
    for key in leaving.glob("*.key"):
        with suppress(FileNotFoundError):
            key.write_bytes(bytes(key.stat().st_size))
    rmtree(leaving, ignore_errors=True)
