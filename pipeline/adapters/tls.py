"""TLS contexts for our own clients and servers: TLS 1.3 only, both sides show a certificate unless told otherwise.

Owns how a context is set up and taken to renewed files while it is in use; issuing certificates is ``ops.tls``'s.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from pipeline.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Three PEM files: the trusted root, our certificate, our PKCS#8 private key; no root: nobody is asked for one."""

    ca: Path | None
    certificate: Path
    key: Path

    def __str__(self) -> str:
        return ", ".join(str(file) for file in (self.ca, self.certificate, self.key) if file is not None)


# What the three files were when they were read: inode, size and time of change of each.
_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(slots=True)
class _Loaded:
    files: TlsFiles
    stamp: _Stamp


# Contexts that are in use somewhere; one that nobody holds any more is gone from here, too.
_live: "WeakKeyDictionary[ssl.SSLContext, _Loaded]" = WeakKeyDictionary()


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that demands a server certificate for the host that was asked for.

    Raises:
        ConfigError: a file is missing or is not what its name says (code ``config.tls``).
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, files)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that refuses clients without a certificate of our CA; without a root it asks them for none.

    Raises:
        ConfigError: a file is missing or is not what its name says (code ``config.tls``).
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, files)
    context.verify_mode = ssl.CERT_NONE if files.ca is None else ssl.CERT_REQUIRED
    return context


def reload_changed() -> list[tuple[TlsFiles, str | None]]:
    """Take every context whose files changed to what they hold now; say which, and what is wrong with those that stay.

    New connections use the new certificate, those that are open go on. Roots are added; one that was removed from a
    file is trusted until the program starts again. Call it where handshakes begin, in the thread of the event loop:
    a context must not change while another thread makes a connection of it.
    """
    done: dict[TlsFiles, str | None] = {}
    for context, loaded in list(_live.items()):
        try:
            stamp = _stamp_of(loaded.files)
            if stamp == loaded.stamp:
                continue
            # Key and certificate are replaced one after the other: a pair that does not fit would spoil the context.
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), loaded.files)
            _load(context, loaded.files)
        except (OSError, ssl.SSLError) as error:
            done[loaded.files] = str(error)
            continue
        loaded.stamp = stamp
        done[loaded.files] = None
    return list(done.items())


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        # Before loading: what changes in between is loaded again.
        stamp = _stamp_of(files)
        _load(context, files)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot load the TLS files {files}: {error}", code="config.tls") from error
    _live[context] = _Loaded(files, stamp)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    if files.ca is not None:
        context.load_verify_locations(cafile=files.ca)
    context.load_cert_chain(files.certificate, files.key)


def _stamp_of(files: TlsFiles) -> _Stamp:
    read = (file.stat() for file in (files.ca, files.certificate, files.key) if file is not None)
    return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in read)
