"""Writes the files of a deployment: one private folder for each program and server, with what it needs and no more.

Repeating it changes nothing but what is missing, old, or follows from a changed plan. It never makes a second chain or
authority where there is one.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ops.files import private_folder
from ops.kafka import broker
from ops.postgres import texts
from ops.prometheus.configuration import RULES_FILE, Target, configuration
from ops.redis import server as redis
from ops.tls.authority import Authority, CertificateFiles
from ops.tls.generation import PLAIN_CA_KEYS, CaKeys
from ops.tls.principal import Principal, Role
from ops.tls.revoked import REVOKED
from pipeline.adapters.key_files import KeyFiles
from pipeline.adapters.keystore import save_key
from pipeline.apps.authority import ChainFiles, create_chain
from pipeline.apps.local.settings_file import settings_bytes
from pipeline.apps.provision.folders import CA, CERTIFICATE, CLIENTS, KEY, Folders
from pipeline.apps.provision.plan import (
    ADMIN,
    AUTHORITY,
    KAFKA,
    POSTGRES,
    REDIS,
    Address,
    DeploymentPlan,
    ProgramTable,
    host_of,
    port_of,
)
from pipeline.apps.provision.settings import (
    GENESIS,
    LOG_KEY,
    NODE_KEY,
    NODE_MLDSA44_KEY,
    PASSPHRASE,
    PASSPHRASE_ROLES,
    PASSWORD,
    REGISTRAR_KEY,
    SETTINGS,
    VAULT_ROLES,
    settings_tables,
)

REDIS_SERVER = Principal(Role.REDIS, "1")
POSTGRES_SERVER = Principal(Role.POSTGRES, "1")
_PASSWORDS = "passwords"
_VAULT = "vault"
# How the scrape jobs are called where the role has another word.
_JOBS = {Role.EXPORTER: "export"}


def write_files(
    plan: DeploymentPlan,
    root: Path,
    *,
    now: datetime,
    state: Path | None = None,
    keys: KeyFiles | None = None,
) -> Folders:
    """Bring every folder of ``plan`` below ``root`` up to date; with ``state`` make the data folders, too.

    The authorities' and the chain's keys stay sealed by ``keys`` in the authority's folder, in clear without it; a
    program's folder is its mounted secrets and holds its own keys in clear.

    Raises:
        ConfigError: an authority or chain in ``root`` is damaged, or the plan makes no valid chain.
    """
    private_folder(root)
    folders = Folders(root, _authority(root / AUTHORITY, now, PLAIN_CA_KEYS if keys is None else keys), now)
    chain = ChainFiles(root / AUTHORITY / "chain")
    if not chain.genesis_file.exists():
        create_chain(chain.folder, plan.chain.plan(), save=save_key if keys is None else keys.save)
    _kafka(plan, folders)
    _redis(plan, folders)
    _postgres(plan, folders)
    folders.certify(ADMIN, broker.ADMIN)
    folders.put(ADMIN, REVOKED, folders.revoked_list())
    for program in plan.programs:
        _program(plan, folders, chain, program)
        _keys(folders, chain, program, Path.read_bytes if keys is None else keys.document)
    if state is not None:
        _make_state(plan, private_folder(state))
    return folders


def _authority(folder: Path, now: datetime, keys: CaKeys) -> Authority:
    if Authority.exists(folder):
        return Authority.load(folder, keys)
    return Authority.create(folder, now=now, keys=keys)


def _hosts(*addresses: Address | None) -> tuple[str, ...]:
    return tuple(host_of(address) for address in addresses if address is not None)


def _seen(plan: DeploymentPlan, name: str) -> CertificateFiles:
    """Return the certificate's files as ``name`` sees them."""
    folder = Path(plan.config_of(name))
    return CertificateFiles(folder / CA, folder / CERTIFICATE, folder / KEY)


def _kafka(plan: DeploymentPlan, folders: Folders) -> None:
    files = folders.certify(KAFKA, broker.BROKER, _hosts(plan.kafka.address, plan.kafka.outside))
    seen = Path(plan.config_of(KAFKA))
    folders.put(KAFKA, broker.KEY_STORE, broker.key_store_of(files))
    text = broker.properties(
        broker.Listening(
            plan.kafka.address, plan.kafka.controller_port, bind=plan.listen, outside=plan.kafka.outside
        ),
        key_store=seen / broker.KEY_STORE,
        trust=broker.Trust(clients=seen / CLIENTS, parts=seen / CA),
        data=Path(plan.data_of(KAFKA)) / "data",
    )
    folders.put(KAFKA, "server.properties", text)
    folders.put(KAFKA, "log4j2.properties", broker.console_logging())


def _redis(plan: DeploymentPlan, folders: Folders) -> None:
    folders.certify(REDIS, REDIS_SERVER, _hosts(plan.redis.address))
    passwords = private_folder(folders.root / AUTHORITY / _PASSWORDS)
    # Whoever is not named here has no account any more.
    accounts = [one.principal for one in plan.of(Role.NODE) if one.principal not in folders.revoked]
    folders.put(REDIS, "users.acl", redis.users_text(passwords, accounts))
    seen = Path(plan.config_of(REDIS))
    settings = redis.durable_settings(Path(plan.data_of(REDIS)), seen / "users.acl")
    settings |= redis.tls_settings(plan.listen, port_of(plan.redis.address), _seen(plan, REDIS))
    folders.put(REDIS, "redis.conf", redis.settings_text(settings))
    # For its health check, which reads nothing.
    folders.keep(REDIS, "reader.password", passwords / "reader")


def _postgres(plan: DeploymentPlan, folders: Folders) -> None:
    if plan.postgres is None:
        return
    files = folders.certify(POSTGRES, POSTGRES_SERVER, _hosts(plan.postgres.address))
    for name, source in (("ca.pem", files.ca), ("server.pem", files.certificate), ("server.key", files.key)):
        folders.keep(f"{POSTGRES}/tls", name, source)
    seen, port = str(plan.config_of(POSTGRES)), port_of(plan.postgres.address)
    folders.put(POSTGRES, "postgresql.conf", texts.settings_text(seen, port, plan.listen))
    folders.put(POSTGRES, "hba.conf", texts.access_text(plan.networks))
    folders.put(POSTGRES, "ident.conf", texts.ident_text(folders.revoked))


def _program(plan: DeploymentPlan, folders: Folders, chain: ChainFiles, program: ProgramTable) -> None:
    name = program.name
    if program.principal in folders.revoked:
        return
    hosts = _hosts(program.address) if program.role.is_server else ()
    folders.certify(name, program.principal, hosts)
    for secret in program.secrets:
        folders.make_secret(name, secret)
    if program.role is Role.MONITOR:
        _prometheus(plan, folders, chain, program)
        return
    folders.keep(name, GENESIS, chain.genesis_file)
    folders.put(name, SETTINGS, settings_bytes(settings_tables(plan, program)))
    if program.role is Role.NODE:
        folders.keep(name, PASSWORD, folders.root / AUTHORITY / _PASSWORDS / str(program.principal))
    elif program.role is Role.API:
        folders.put(name, REVOKED, folders.revoked_list())


def _keys(
    folders: Folders, chain: ChainFiles, program: ProgramTable, document: Callable[[Path], bytes]
) -> None:
    """Give a program its keys of the chain, and the passphrase of those that it makes itself."""
    name, found = program.name, dict[str, Path]()
    if program.role is Role.NODE:
        found = {NODE_KEY: chain.node_key(name), NODE_MLDSA44_KEY: chain.node_mldsa44_key(name)}
    elif program.role is Role.EXPORTER:
        found = {LOG_KEY: chain.log_key}
    elif program.role is Role.REGISTRAR:
        found = {REGISTRAR_KEY: chain.registrar_key}
    for file, key in found.items():
        folders.put(name, file, document(key))
    if program.role in VAULT_ROLES:
        folders.make_secret(f"{AUTHORITY}/{_PASSWORDS}", _VAULT)
        folders.keep(name, PASSPHRASE, folders.root / AUTHORITY / _PASSWORDS / _VAULT)
    elif program.role in PASSPHRASE_ROLES:
        folders.make_secret(name, PASSPHRASE)


def _prometheus(plan: DeploymentPlan, folders: Folders, chain: ChainFiles, monitor: ProgramTable) -> None:
    rules = Path(plan.config_of(monitor.name)) / RULES_FILE.name
    targets = [
        Target(
            _JOBS.get(program.role, program.role.value),
            program.name,
            program.address,
            None if program.role is Role.SITE else _seen(plan, monitor.name),
            program.role.page_host,
        )
        for program in plan.programs
        if program.address is not None and program.role is not Role.MONITOR
    ]
    folders.put(monitor.name, "prometheus.yml", configuration(targets, chain.genesis().origin, rules=rules))
    folders.put(monitor.name, RULES_FILE.name, RULES_FILE.read_bytes())


def _make_state(plan: DeploymentPlan, state: Path) -> None:
    servers = (KAFKA, REDIS) if plan.postgres is None else (KAFKA, REDIS, POSTGRES)
    for name in (*servers, *(program.name for program in plan.programs), *plan.shared):
        private_folder(state / name)
