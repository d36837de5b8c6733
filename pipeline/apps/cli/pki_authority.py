"""``bkdms pki create``, ``sign``, ``renew``, ``revoke``, ``list``: the authorities and what they gave out."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.files import write_private
from ops.replacement import spread
from ops.revocation import enlist
from ops.revocation import revoke as revoke_everywhere
from ops.stack import utc_now
from ops.tls.authority import Authority
from ops.tls.existing import demand_issued_by, is_limited, read_authority, read_certificate
from ops.tls.holders import PKI_FOLDER, Holders, Lifetimes, refuse_revoked
from ops.tls.principal import Principal
from ops.tls.profile import Branch
from ops.tls.register import IssuedCertificate, entries
from ops.tls.request import MAX_REQUEST_BYTES
from ops.tls.revoked import REVOKED, Revocation, read_revoked
from pipeline.apps.cli.context import emit_json, say
from pipeline.apps.cli.stack import DataDir
from pipeline.apps.cli.values import read_file
from pipeline.apps.local.deployment import SETTINGS_NAME
from pipeline.config import Settings, default_data_dir, load_settings
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.adapters.key_files import KeyFiles

AuthorityFolder = Annotated[
    Path | None,
    typer.Option("--authority", help="Folder of the authorities. (default: pki of the data folder)"),
]
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Listed:
    """A holder: the last certificate's serial number and end, and how it stands."""

    principal: str
    serial: str
    ends: str
    state: str
    reason: str = ""


def create(
    *,
    data_dir: DataDir = None,
    authority: AuthorityFolder = None,
    root: Annotated[Path | None, typer.Option(help="Certificate of a root that you have.")] = None,
    root_key: Annotated[
        Path | None, typer.Option(help="Its key, to make both authorities; it is not kept.")
    ] = None,
    sites: Annotated[Path | None, typer.Option(help="Certificate of an authority for sites.")] = None,
    sites_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    platform: Annotated[Path | None, typer.Option(help="Certificate of one for the platform.")] = None,
    platform_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
) -> None:
    """Make the certificate authorities of a deployment before its first start: a root, and one for sites and platform.

    `bkdms up` and `bkdms provision files` do so by themselves where there are none. With --root and --root-key both
    authorities are made under your root; with --root, --sites, --sites-key, --platform, --platform-key yours are used.

    Example: bkdms pki create --root corporate.pem --root-key corporate.key
    """
    folder, now = _folder(data_dir, authority), utc_now()
    keys = ca_keys(folder)
    own = {Branch.SITES: (sites, sites_key), Branch.PLATFORM: (platform, platform_key)}
    given = [path for pair in own.values() for path in pair if path is not None]
    if root is None and root_key is None and not given:
        made = Authority.create(folder, now=now, keys=keys)
        say(f"carry {made.folder / 'ca' / 'root.key'} off to a safe place: no command here needs it again")
    elif root is not None and root_key is not None and not given:
        given_root = read_authority(root, root_key, now, below=1)
        made = Authority.create(folder, now=now, root=given_root, keys=keys)
    elif root is not None and root_key is None and len(given) == 2 * len(own):
        made = _install(folder, root, own, now, keys)
    else:
        raise ConfigError(
            "give --root with --root-key, or --root with both authorities and their keys, or none"
        )
    say(f"the authorities are in {made.folder}")


def _install(
    folder: Path,
    root: Path,
    own: dict[Branch, tuple[Path | None, Path | None]],
    now: datetime,
    keys: "KeyFiles",
) -> Authority:
    top = read_certificate(root, now, below=1)
    found = {}
    for branch, (certificate, key) in own.items():
        assert certificate is not None  # noqa: S101  as the caller counted
        assert key is not None  # noqa: S101
        found[branch] = read_authority(certificate, key, now, below=0)
        demand_issued_by(top, found[branch], branch)
        if not is_limited(found[branch].certificate):
            say(f"{certificate} has no name constraints: who gets hold of its key can name anybody")
    return Authority.install(folder, top, found, keys=keys)


def sign(
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="PKCS#10 request in PEM.")],
    principal: Annotated[str, typer.Argument(metavar="ROLE:NAME", help="Whose it is to be.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the certificate.")],
    host: Annotated[list[str] | None, typer.Option(help="Name or address of a server. (repeatable)")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=90, help="How long it lasts.")] = None,
    data_dir: DataDir = None,
    authority: AuthorityFolder = None,
) -> None:
    """Certify the key of a request as ROLE:NAME's. Subject, names and usages that the request asks for don't count.

    The file gets the certificate and its authority's. Whom the holder is to trust is printed (its ca.pem). Rights in
    Kafka are given by `bkdms pki issue`, `bkdms registrar approve` or `bkdms provision servers`.

    Example: bkdms pki sign bridge.csr site:bridge-17 -o bridge.pem > ca.pem
    """
    holder_of, folder = _principal(principal), _folder(data_dir, authority)
    refuse_revoked(folder, holder_of)
    usual = lifetimes().of(holder_of.role)
    lifetime = usual if days is None else timedelta(days=days)
    signer = Authority.load(folder, ca_keys(folder))
    asked = read_file(request)[: MAX_REQUEST_BYTES + 1]
    chain = signer.sign(holder_of, asked, now=utc_now(), lifetime=lifetime, hosts=host or ())
    try:
        write_private(output, chain)
    except OSError as error:
        raise ConfigError(f"{output}: {error.strerror}; name another file") from None
    print(signer.trusted_by(holder_of).decode("ascii"), end="")
    say(f"the certificate of {holder_of} is in {output}, good for {lifetime.days} days")


def renew(
    *,
    data_dir: DataDir = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are not old yet.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print whose were renewed as JSON.")] = False,
) -> None:
    """Make the certificates anew that have a third of their life left or less; what runs takes them over by itself.

    `bkdms up` does so every hour. Certificates that were carried elsewhere are made anew by `bkdms pki issue --renew`.

    Example: bkdms pki renew --all
    """
    place = data_dir or default_data_dir()
    if not Authority.exists(place / PKI_FOLDER):
        raise ConfigError(
            f"{place} holds no certificate authorities: `bkdms up` or `bkdms pki create` makes them"
        )
    holders = Holders(place, utc_now, lifetimes(), ca_keys(place / PKI_FOLDER))
    renewed = spread(place, holders, everything=everything)
    names = sorted(map(str, renewed))
    say(f"renewed: {', '.join(names) or 'nothing was old'}")
    if json:
        emit_json(names)


def revoke(
    principal: Annotated[str, typer.Argument(metavar="ROLE:NAME", help="Whose certificates to take back.")],
    *,
    reason: Annotated[str, typer.Option(help="Why, for the list.")] = "",
    data_dir: DataDir = None,
    authority: AuthorityFolder = None,
) -> None:
    """Take every certificate of ROLE:NAME back, at once and for good: the name is not given out again.

    Kafka denies the next request on connections that are open; Redis and PostgreSQL end theirs; the API refuses the
    next request. With --authority it is put on the list alone: `bkdms provision files` and `servers` carry it on.

    Example: bkdms pki revoke site:bridge-17 --reason stolen
    """
    gone = _principal(principal)
    if authority is not None:
        enlist(_folder(None, authority), gone, reason=reason, now=utc_now())
        say(f"{gone} is on the list; now run `bkdms provision files` and `bkdms provision servers`")
        return
    place = data_dir or default_data_dir()
    if not Authority.exists(place / PKI_FOLDER):
        raise ConfigError(f"{place} holds no certificate authorities: name the data folder with --data-dir")
    if revoke_everywhere(place, gone, reason=reason, now=utc_now()):
        say(f"{gone} is revoked; Kafka, Redis and PostgreSQL refuse it from now on")
    else:
        say(f"{gone} is revoked; nothing runs in {place}, and its servers will know at their next start")


def list_issued(
    *,
    data_dir: DataDir = None,
    authority: AuthorityFolder = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show who was given a certificate, until when the last one is good, and who was revoked.

    Example: bkdms pki list --json
    """
    folder = _folder(data_dir, authority)
    found = list(listed(list(entries(folder)), read_revoked(folder / REVOKED), utc_now()))
    if json:
        emit_json([asdict(one) for one in found])
        return
    table = Table("principal", "good until", "state", "reason")
    for one in found:
        table.add_row(one.principal, one.ends, one.state, escape(_printable(one.reason)))
    Console().print(table)


def listed(
    issued: list[IssuedCertificate], revoked: dict[str, Revocation], now: datetime
) -> Iterator[Listed]:
    """Yield every holder by its last certificate, and those who were revoked without one."""
    last = {one.principal: one for one in issued}
    for name in sorted(last.keys() | revoked.keys()):
        one, gone = last.get(name), revoked.get(name)
        ends = datetime.fromisoformat(one.ends) if one else _NEVER
        state = f"revoked {gone.at}" if gone else "good" if now < ends else "expired"
        yield Listed(
            name, one.serial if one else "", one.ends if one else "", state, gone.reason if gone else ""
        )


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def lifetimes() -> Lifetimes:
    """Return how long certificates last by the settings."""
    return Settings(**{}).pki.lifetimes()


def ca_keys(folder: Path) -> "KeyFiles":
    """Return what opens the keys of the authorities in ``folder``: as the settings beside a data folder's say.

    Raises:
        ConfigError: the settings are wrong.
    """
    from pipeline.apps.keys import key_files  # noqa: PLC0415  its settings are few commands' matter

    beside = folder.parent / SETTINGS_NAME
    return key_files(
        load_settings(beside) if folder.name == PKI_FOLDER and beside.exists() else Settings(**{})
    )


def _folder(data_dir: Path | None, authority: Path | None) -> Path:
    return authority or (data_dir or default_data_dir()) / PKI_FOLDER


def _principal(text: str) -> Principal:
    try:
        return Principal.parse(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no ROLE:NAME: {error}") from None
