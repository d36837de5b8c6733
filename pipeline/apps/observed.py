"""What every program of ours shows of itself: release, disks, certificates; traces of packets where they are wanted."""

import atexit
import os
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import prometheus_client
from cryptography import x509

from pipeline.config import Settings, required
from pipeline.config.transport import demand_tls, insecure_settings
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import RULES_VERSION
from pipeline.telemetry import logs, metrics, spans
from pipeline.telemetry.logs import logger

_log = logger(__name__)

PROGRAMS: Final = ("node", "validator", "platform", "assess", "export", "api", "site", "parquet")
"""The kinds of programs; the same words are ``job`` in Prometheus."""


def begin(program: str, settings: Settings, log_level: str) -> None:
    """Log from this level on, and show what ``observe`` shows: the first thing that a worker does.

    Raises:
        ConfigError: there is no such level, or see ``observe``.
    """
    try:
        logs.configure(log_level)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    observe(program, settings)


def observe(program: str, settings: Settings) -> None:
    """Show which program of which release this is, how full its disks are and when its certificates run out.

    ``program`` is one of ``PROGRAMS``. What can't be read is left out here; whoever needs it says so. A
    setting that switches a protection off is a warning in the log (``insecure_setting``).

    Raises:
        ConfigError: traces are wanted and can't be sent (code ``traces_endpoint``), or not protected
            (``config.insecure``).
    """
    # Each counter and histogram would come with a second series that tells when it was made.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    metrics.BUILD_INFO.labels(program, version("bkdms"), str(RULES_VERSION)).set(1)
    for name, folder in _folders(program, settings):
        metrics.DISK_FREE.labels(name).set_function(partial(free_bytes, folder))
        metrics.DISK_SIZE.labels(name).set_function(partial(size_bytes, folder))
    show_certificates(settings)
    _warn(settings)
    if settings.traces.endpoint is not None:
        _trace(program, settings)


def show_certificates(settings: Settings) -> None:
    """Show when each certificate that the settings name runs out; after a renewal, show it again."""
    for use, file in _certificates(settings):
        expiry = certificate_expiry(file)
        if expiry is not None:
            metrics.CERTIFICATE_EXPIRY.labels(use).set(expiry.timestamp())


def _warn(settings: Settings) -> None:
    """Say at every start which protection a setting has switched off."""
    for name in insecure_settings(settings):
        metrics.INSECURE_SETTINGS.labels(name).set(1)
        _log.warning("insecure_setting", setting=name)


def _trace(program: str, settings: Settings) -> None:
    try:
        from pipeline.adapters.otlp import OtlpSink  # noqa: PLC0415  an extra that few install
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"setting traces.endpoint needs {error.name}: pip install 'bkdms[traces]'", code="traces_endpoint"
        ) from None
    endpoint = required(settings.traces.endpoint, "traces.endpoint")
    demand_tls(
        endpoint, settings.transport.insecure_traces, "transport.insecure_traces", "setting traces.endpoint:"
    )
    sink = OtlpSink(endpoint, f"bkdms-{program}", version("bkdms"))
    atexit.register(sink.close)
    spans.send_to(sink, settings.traces.ratio)


def free_bytes(folder: Path) -> float:
    """Return the room that is left on a folder's file system; not a number if it can't be told."""
    found = _file_system(folder)
    return float("nan") if found is None else float(found.f_bavail * found.f_frsize)


def size_bytes(folder: Path) -> float:
    """Return the size of a folder's file system; not a number if it can't be told."""
    found = _file_system(folder)
    return float("nan") if found is None else float(found.f_blocks * found.f_frsize)


def certificate_expiry(file: Path) -> datetime | None:
    """Return when the first certificate of those in a PEM file runs out; None if there is none."""
    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return None
    return min(certificate.not_valid_after_utc for certificate in found)


def _file_system(folder: Path) -> os.statvfs_result | None:
    for place in (folder, *folder.parents):
        try:
            return os.statvfs(place)
        except FileNotFoundError:
            continue  # made later, on the file system of its parent
        except OSError:
            return None
    return None


def _folders(program: str, settings: Settings) -> Iterator[tuple[str, Path]]:
    yield "data", settings.data_dir.absolute()
    if program == "site":
        yield "spool", settings.site.spool.absolute().parent
    if program == "parquet" and settings.parquet.folder is not None:
        yield "parquet", settings.parquet.folder.absolute()
    if program == "export" and settings.export.folder is not None:
        yield "export", settings.export.folder.absolute()


def _certificates(settings: Settings) -> Iterator[tuple[str, Path]]:
    for use, table in (("kafka", settings.kafka), ("redis", settings.redis), ("api", settings.api)):
        for name, file in ((use, table.certificate), (f"{use}_ca", table.ca)):
            if file is not None:
                yield name, file
    query = parse_qs(urlsplit(settings.store.url).query)
    for name, key in (("store", "sslcert"), ("store_ca", "sslrootcert")):
        for named in query.get(key, ()):
            yield name, Path(named)
