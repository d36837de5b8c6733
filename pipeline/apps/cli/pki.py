"""``bkdms pki``: transport certificates for programs beside the stack that runs on this machine."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import tomli_w
import typer

from ops.kafka.acl_table import TOPIC_RIGHTS
from ops.kafka.admin import KafkaAdmin
from ops.kafka.broker import ADMIN
from ops.kafka.rights_file import keep_rights
from ops.lock import holder
from ops.tls.authority import Authority, CertificateFiles
from ops.tls.holders import PKI_FOLDER, certificate_folder, refuse_revoked
from ops.tls.principal import Principal, Role
from ops.tls.site_principal import site_principal
from pipeline.apps.cli import pki_authority, pki_replace
from pipeline.apps.cli.context import emit_json, say
from pipeline.apps.cli.stack import DataDir
from pipeline.apps.cli.values import parse_site
from pipeline.apps.keys import key_files
from pipeline.apps.local.deployment import SETTINGS_NAME
from pipeline.config import Settings, default_data_dir, load_settings, required
from pipeline.core.errors import ConfigError

_OPEN_TO_OTHERS = 0o077
ROLES = tuple(role for role in Role if role in TOPIC_RIGHTS)
"""What certificates are issued for; admin, broker and Redis are the stack's own."""

pki = typer.Typer(
    no_args_is_help=True,
    help="Certificates of the transport: authorities, issuing, renewing, taking back.",
)
pki.command()(pki_authority.create)
pki.command()(pki_authority.sign)
pki.command()(pki_authority.renew)
pki.command()(pki_authority.revoke)
pki.command()(pki_replace.replace)
pki.command("list")(pki_authority.list_issued)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its role's rights, and where it connects to; ``api`` is empty where no API runs."""

    principal: str
    expires: str
    bootstrap: str
    api: str
    files: CertificateFiles

    def tables(self) -> dict[str, dict[str, str]]:
        """Return the tables of a bkdms.toml that connects with this certificate."""
        files = {name: str(path.resolve()) for name, path in asdict(self.files).items()}
        found = {"kafka": {"bootstrap": self.bootstrap, **files}}
        return found | ({"api": {"url": self.api, **files}} if self.api else {})


@pki.command()
def issue(
    role: Annotated[str, typer.Argument(metavar="ROLE", help=f"What the program is: {', '.join(ROLES)}.")],
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Its own name: letters, digits, '.', '_', '-'; a site's is COUNTRY/CITY/SITE_ID.",
        ),
    ],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for ca.pem, certificate.pem and key.pem.")
    ],
    data_dir: DataDir = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Replace the certificate and key that are in the folder.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of TOML.")] = False,
) -> None:
    """Issue a certificate for a program beside the stack that `bkdms up` runs, and grant it the rights of its role.

    A site writes packets, an analyst reads observations, an auditor reads what is public; consumer groups must begin
    with bkdms-ROLE. Give each program a name of its own: rights are granted to ROLE:NAME. The key is written to the
    folder and kept nowhere else; carry the folder to the program's machine. Certificates last 30 days: issue anew with
    --renew. What is printed goes into the program's bkdms.toml.

    Example: bkdms pki issue analyst maria -o maria
    """
    principal = _principal(role, name)
    demand_room(output, renew)
    made = _issue(data_dir or default_data_dir(), principal, output)
    if json:
        emit_json({"principal": made.principal, "expires": made.expires, **made.tables()})
        return
    say(f"certificate of {made.principal} is in {output}, good until {made.expires}; for its bkdms.toml:")
    print(tomli_w.dumps(made.tables()), end="")


def _principal(role: str, name: str) -> Principal:
    if role not in ROLES:
        raise ConfigError(f"no certificates are issued for role {role!r}; choose from {', '.join(ROLES)}")
    try:
        # A site's certificate is named after its place in the registry, by which the API gives it its head.
        return (
            site_principal(parse_site(name))
            if role == Role.SITE and "/" in name
            else Principal(Role(role), name)
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def demand_room(folder: Path, renew: bool) -> None:
    """Refuse a folder that others can look into, or whose key would be lost."""
    try:
        if folder.exists() and folder.stat().st_mode & _OPEN_TO_OTHERS:
            raise ConfigError(f"{folder} is open to others: name a folder that is not there yet")
        held = [path for path in (folder / "certificate.pem", folder / "key.pem") if path.exists()]
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}; name another folder") from None
    if held and not renew:
        raise ConfigError(f"{held[0]} is there already: name another folder, or replace it with --renew")


def _issue(data_dir: Path, principal: Principal, output: Path) -> Issued:
    settings = running_settings(data_dir)
    bootstrap = required(settings.kafka.bootstrap, "kafka.bootstrap")
    refuse_revoked(data_dir / PKI_FOLDER, principal)
    authority = Authority.load(data_dir / PKI_FOLDER, key_files(settings))
    asking = CertificateFiles.of(certificate_folder(data_dir, ADMIN))
    admin = KafkaAdmin(bootstrap, asking, settings.quotas.given())
    # Rights first: a certificate is never there without them.
    admin.grant([principal], [settings.topics])
    keep_rights(admin, data_dir)
    now, lifetime = datetime.now(UTC), settings.pki.lifetimes().of(principal.role)
    try:
        files = authority.issue(principal, output, now=now, lifetime=lifetime)
    except OSError as error:
        raise ConfigError(f"{output}: {error.strerror}; name another folder") from None
    expires = f"{now + lifetime:%Y-%m-%d}"
    return Issued(
        str(principal),
        expires,
        bootstrap,
        settings.api.url or "",
        files,
    )


def running_settings(data_dir: Path) -> Settings:
    """Return the settings that ``bkdms up`` wrote for a person on this machine."""
    file = data_dir / SETTINGS_NAME
    if holder(data_dir) is None or not file.exists():
        raise ConfigError(
            f"nothing runs in {data_dir}: start it with `bkdms up --detach --data-dir {data_dir}`, or name the "
            "data folder of a running stack with --data-dir"
        )
    return load_settings(file)
