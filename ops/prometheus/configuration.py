"""What Prometheus is told: whom it asks for metrics, how often, and which rules it watches.

Every series gets three labels here: ``job`` (the kind of program), ``instance`` (its name) and ``chain`` (the
chain's origin), so that one Prometheus can watch several chains. The alert rules keep to them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ops.tls.authority import CertificateFiles

RULES_FILE: Final = Path(__file__).with_name("alerts.yml")
SCRAPE_MS: Final = 15_000
EVALUATION_MS: Final = 15_000


@dataclass(frozen=True, slots=True)
class Target:
    """A program to ask for metrics: ``job`` is its kind, ``name`` its own; with ``tls`` it is asked over mutual TLS.

    ``server_name`` is whom its certificate names where that isn't the host of ``address``; the same in one job.
    """

    job: str
    name: str
    address: str
    tls: CertificateFiles | None = None
    server_name: str | None = None


def configuration(
    targets: Iterable[Target],
    chain: str,
    *,
    rules: Path = RULES_FILE,
    scrape_ms: int = SCRAPE_MS,
    evaluation_ms: int = EVALUATION_MS,
    alertmanagers: Iterable[str] = (),
) -> str:
    """Return the text of a ``prometheus.yml``; it is JSON, which YAML contains.

    ``chain`` is the label of all series; ``alertmanagers`` are host:port of those who pass alerts on.
    """
    by_job: dict[str, list[Target]] = {}
    for target in targets:
        by_job.setdefault(target.job, []).append(target)
    managers = list(alertmanagers)
    document: dict[str, Any] = {
        "global": {
            "scrape_interval": f"{scrape_ms}ms",
            "scrape_timeout": f"{min(scrape_ms, 10_000)}ms",
            "evaluation_interval": f"{evaluation_ms}ms",
        },
        "rule_files": [str(rules)],
        "scrape_configs": [_job(job, found, chain) for job, found in by_job.items()],
    }
    if managers:
        document["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": managers}]}]}
    return json.dumps(document, indent=1) + "\n"


def _job(name: str, targets: list[Target], chain: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "job_name": name,
        "static_configs": [
            {"targets": [target.address], "labels": {"instance": target.name, "chain": chain}}
            for target in targets
        ],
    }
    tls = targets[0].tls
    if tls is not None:
        found["scheme"] = "https"
        found["tls_config"] = {
            "ca_file": str(tls.ca),
            "cert_file": str(tls.certificate),
            "key_file": str(tls.key),
            "min_version": "TLS13",
        }
        if targets[0].server_name is not None:
            found["tls_config"]["server_name"] = targets[0].server_name
    return found
