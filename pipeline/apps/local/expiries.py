"""What of a local deployment ends when: suites and keys by the ledger, certificates and authorities by their files."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509

from ops.tls.exchange import CA_FOLDER, NEXT
from ops.tls.holders import PKI_FOLDER
from ops.tls.register import entries
from ops.tls.revoked import REVOKED, read_revoked
from pipeline.adapters.sql.state_reader import read_state
from pipeline.apps.authority import load_genesis
from pipeline.apps.local.deployment import SETTINGS_NAME
from pipeline.config import load_settings
from pipeline.core.errors import BkdmsError
from pipeline.core.expiries import Expiry, chain_expiries, soonest
from pipeline.core.state import ChainState

_AUTHORITIES = ("root", "sites", "platform")


def read_expiries(data_dir: Path, now_ms: int) -> tuple[Expiry, ...]:
    """Return what ends next of each kind; what can't be read is left out."""
    state, pki = _state(data_dir), data_dir / PKI_FOLDER
    found = chain_expiries(state) if state is not None else []
    held = {f"{file.parts[-3]}:{file.parts[-2]}": file for file in pki.glob("*/*/certificate.pem")}
    found += soonest("certificate", _ends(held))
    found += soonest("certificate elsewhere", _elsewhere(pki, held, now_ms))
    for place, prefix in ((pki / CA_FOLDER, ""), (pki / CA_FOLDER / NEXT, "next ")):
        files = {f"{prefix}{name}": place / f"{name}.pem" for name in _AUTHORITIES}
        found += [Expiry("authority", name, end) for name, end in _ends(files)]
    return tuple(found)


def _state(data_dir: Path) -> ChainState | None:
    try:
        settings = load_settings(data_dir / SETTINGS_NAME)
        return read_state(settings.store.url, load_genesis(settings.genesis))
    except BkdmsError:
        return None


def _ends(files: dict[str, Path]) -> Iterator[tuple[str, int]]:
    for name, file in files.items():
        try:
            first = x509.load_pem_x509_certificate(file.read_bytes())
        except (OSError, ValueError):
            continue
        yield name, _ms(first.not_valid_after_utc)


def _elsewhere(pki: Path, held: dict[str, Path], now_ms: int) -> Iterator[tuple[str, int]]:
    """Yield the last certificate of everybody whose folder is not here; those that ended are nobody's any more."""
    try:
        gone, last = read_revoked(pki / REVOKED), {one.principal: one for one in entries(pki)}
    except BkdmsError:
        return
    for name, one in last.items():
        end = _ms(datetime.fromisoformat(one.ends))
        if name not in held and name not in gone and end > now_ms:
            yield name, end


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
