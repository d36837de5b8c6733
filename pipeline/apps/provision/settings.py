"""What each program's bkdms.toml says. Paths start at the file's folder, so a folder may be carried anywhere."""

from pathlib import Path
from typing import Any

from ops.postgres.role_table import CERTIFICATE_ROLES
from ops.postgres.server import url_at
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Role
from ops.tls.revoked import REVOKED
from pipeline.adapters.peers import is_loopback
from pipeline.apps.provision.folders import CA, CERTIFICATE, CLIENTS, KEY
from pipeline.apps.provision.plan import DeploymentPlan, ProgramTable, host_of, port_of

SETTINGS = "bkdms.toml"
GENESIS = "genesis.json"
PASSWORD = "redis.password"  # noqa: S105  a file's name
NODE_KEY = "node.json"
NODE_MLDSA44_KEY = "node.mldsa44.json"
LOG_KEY = "log.json"
REGISTRAR_KEY = "registrar.json"
PASSPHRASE = "passphrase"  # noqa: S105  a file's name
# They share the vault of the platform's keys; the others make keys of their own.
VAULT_ROLES = (Role.PLATFORM, Role.REGISTRAR)
PASSPHRASE_ROLES = (*VAULT_ROLES, Role.SITE, Role.API)
_KEY_HOLDERS = (Role.NODE, Role.EXPORTER, Role.REGISTRAR)

_TLS = {"ca": CA, "certificate": CERTIFICATE, "key": KEY}
# Those that read or write the store; an analyst's tools take it, too.
_STORE_ROLES = (Role.PLATFORM, Role.ASSESS, Role.API, Role.ANALYST)
_API_CLIENTS = (Role.SITE, Role.REGISTRAR, Role.ANALYST, Role.AUDITOR)


def settings_tables(plan: DeploymentPlan, program: ProgramTable) -> dict[str, Any]:
    """Return the settings of a program; ``program.settings`` goes before what follows from the plan."""
    tables: dict[str, Any] = {
        "genesis": GENESIS,
        "kafka": {"bootstrap": plan.kafka.address, **_TLS},
        **_by_role(plan, program),
    }
    if plan.chain.topic_prefix:
        tables = {"topic_prefix": plan.chain.topic_prefix} | tables
    if program.address is not None and program.role is not Role.API:
        tables["worker"] = {"metrics_host": plan.listen, "metrics_port": port_of(program.address)}
        if program.role is Role.SITE and not is_loopback(plan.listen):
            # A site's certificate serves nothing; the plan's own network is all that sees its page.
            tables["transport"] = {"insecure_metrics": True}
    for name, table in program.settings.items():
        tables[name] = {**tables.get(name, {}), **table}
    return tables


def _by_role(plan: DeploymentPlan, program: ProgramTable) -> dict[str, Any]:
    found: dict[str, Any] = {}
    keys = {"mounted_dir": "."} if program.role in _KEY_HOLDERS else {}
    if program.role in PASSPHRASE_ROLES:
        keys["passphrase_file"] = PASSPHRASE
    if keys:
        found["keys"] = keys
    if program.role is Role.NODE:
        found["node"] = {"name": program.name, "key": NODE_KEY, "mldsa44_key": NODE_MLDSA44_KEY}
        found["redis"] = {
            **{"host": host_of(plan.redis.address), "port": port_of(plan.redis.address)},
            **{"username": str(program.principal), "password_file": PASSWORD},
            **_TLS,
        }
    elif program.role is Role.EXPORTER:
        found["export"] = {"key": LOG_KEY}
    elif program.role is Role.REGISTRAR:
        found["registrar"] = {"key": REGISTRAR_KEY}
    if plan.postgres is not None and program.role in _STORE_ROLES:
        found["store"] = {"url": store_url(plan, program)}
    if program.role is Role.API:
        assert program.address is not None  # noqa: S101  as the plan demands
        listening = {"host": plan.listen, "port": port_of(program.address)}
        # The API hears sites, too.
        found["pki"] = {"revoked": REVOKED}
        found["api"] = {**listening, "url": f"https://{program.address}", **_TLS, "ca": CLIENTS}
    elif plan.api is not None and program.role in _API_CLIENTS:
        found["api"] = {"url": f"https://{plan.api}", **_TLS}
    return found


def store_url(plan: DeploymentPlan, program: ProgramTable) -> str:
    """Return by which URL a program connects to PostgreSQL, with the files where it sees them.

    Only for a plan with PostgreSQL and a role that may connect.
    """
    assert plan.postgres is not None  # noqa: S101  as the docstring demands
    folder = Path(plan.config_of(program.name))
    files = CertificateFiles(folder / CA, folder / CERTIFICATE, folder / KEY)
    role = CERTIFICATE_ROLES[program.role]
    return url_at(plan.postgres.address, role, plan.postgres.database, files)
