"""Looks for secrets that a test knows, in every spelling, wherever a running deployment could have left them."""

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from pipeline.adapters.keystore import secret_bytes
from pipeline.apps.keys import key_files, key_vault
from pipeline.apps.local.probes import worker_page
from pipeline.config import Settings
from pipeline.core.keys import Use


def secrets_of(operator: Settings, site: Settings) -> dict[str, bytes]:
    """Return the secrets of a deployment and one site by name, opened as their programs open them."""
    files, chain = key_files(operator), operator.data_dir / "chain" / "keys"
    found = {
        "root": secret_bytes(files.signer(chain / "root-1.json", Use.ROOT)),
        "registrar": secret_bytes(files.signer(operator.registrar.key, Use.REGISTRAR)),
        "log": secret_bytes(files.signer(operator.export.key, Use.LOG)),
        "node": secret_bytes(files.signer(chain / "node-1.json", Use.NODE)),
        "site": secret_bytes(key_files(site).signer(site.site.key, Use.SITE)),
        "spool": key_files(site).secret(site.site.spool_key, "spool"),
        "passphrase": operator.keys.passphrase_file.read_bytes().strip(),
    }
    vault = key_vault(operator)
    for number, listed in enumerate(vault.keys()):
        key = vault.get(listed.fingerprint)
        assert key is not None
        found[f"platform {number}"] = key.secret
    return found


def in_files(folder: Path, secrets: Mapping[str, bytes]) -> list[str]:
    """Return ``secret: file`` for each file below a folder that holds a secret in some spelling."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    # Kafka lays its indexes out in zeros.
    return [f"{name}: {path}" for path in files for name in _seen(path.read_bytes().rstrip(b"\0"), secrets)]


def in_processes(pids: Iterable[int], secrets: Mapping[str, bytes]) -> list[str]:
    """Return ``secret: process`` for each process that has a secret among arguments or environment."""
    found = []
    for pid in pids:
        for part in ("cmdline", "environ"):
            try:
                content = Path(f"/proc/{pid}/{part}").read_bytes()
            except (PermissionError, FileNotFoundError, ProcessLookupError):
                continue  # closed to others, or gone
            found += [f"{name}: {part} of {pid}" for name in _seen(content, secrets)]
    return found


def in_metrics(data_dir: Path, secrets: Mapping[str, bytes]) -> list[str]:
    """Return ``secret: worker`` for each page of metrics of a local deployment that shows a secret, or is missing."""
    found = []
    for worker, port in _workers(data_dir).items():
        page = worker_page(data_dir, worker, port)
        found += [f"no page: {worker}"] if page is None else []
        found += [f"{name}: metrics of {worker}" for name in _seen(page or b"", secrets)]
    return found


def processes_below(pid: int) -> list[int]:
    """Return a process and all that it started."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def _workers(data_dir: Path) -> dict[str, int]:
    """Return the ports of a local deployment's workers by name."""
    ports: dict[str, int] = json.loads((data_dir / "worker-ports.json").read_text())
    return {
        name: port for name, port in ports.items() if name.startswith(("node-", "validator-", "platform"))
    }


def _seen(content: bytes, secrets: Mapping[str, bytes]) -> list[str]:
    return [name for name, secret in secrets.items() if any(word in content for word in _spellings(secret))]


def _spellings(secret: bytes) -> tuple[bytes, ...]:
    coded = (base64.b64encode(secret), base64.urlsafe_b64encode(secret))
    return (
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        *(code.rstrip(b"=") for code in coded),
    )
