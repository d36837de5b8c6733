"""``bkdms pki replace``: another authority in place of one that ends or whose key others may know."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.replacement import finish as finish_everywhere
from ops.replacement import spread
from ops.stack import utc_now
from ops.tls.authority import Authority
from ops.tls.existing import read_authority
from ops.tls.holders import PKI_FOLDER, Holders
from ops.tls.profile import Branch
from ops.tls.register import IssuedCertificate
from ops.tls.replacing import begin, end_trust, outstanding, put_in_force, replaced
from pipeline.apps.cli.context import emit_json, say
from pipeline.apps.cli.pki_authority import AuthorityFolder, ca_keys, lifetimes
from pipeline.apps.cli.stack import DataDir
from pipeline.config import default_data_dir
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.adapters.key_files import KeyFiles

_SHOWN = 5


def replace(
    which: Annotated[Branch, typer.Argument(help="Whose authority: sites or platform.")],
    *,
    finish: Annotated[bool, typer.Option("--finish", help="Trust the new authorities alone.")] = False,
    now: Annotated[
        bool,
        typer.Option("--now", help="With --finish: although certificates of the old ones are still good."),
    ] = False,
    root: Annotated[Path | None, typer.Option(help="Certificate of a root that you have.")] = None,
    root_key: Annotated[Path | None, typer.Option(help="Its key; it is not kept.")] = None,
    data_dir: DataDir = None,
    authority: AuthorityFolder = None,
    json: Annotated[bool, typer.Option("--json", help="Print how it stands as JSON.")] = False,
) -> None:
    """Replace the authority for sites or for the platform's parts while everything runs: twice this command.

    The first makes a root and an authority with a new key. Old and new are trusted from then on; clients get new
    certificates, servers keep theirs. Give sites and attached clients new folders (`pki issue --renew`, `pki sign`,
    `attach --renew`) and a new bundle. When the last certificate of the old authorities has ended, --finish has the
    servers show new ones and trust the new authorities alone; the old keys are overwritten.

    Example: bkdms pki replace sites --finish
    """
    place = None if authority is not None else data_dir or default_data_dir()
    folder = authority if place is None else place / PKI_FOLDER
    assert folder is not None  # noqa: S101  one of both is given
    if not Authority.exists(folder):
        raise ConfigError(
            f"{folder} holds no certificate authorities: `bkdms up` or `bkdms pki create` makes them"
        )
    keys = ca_keys(folder)
    if finish:
        _finish(which, place, folder, keys, is_forced=now)
        left: list[IssuedCertificate] = []
    else:
        left = _begin(which, place, folder, keys, root, root_key)
    if json:
        ends = max((one.ends for one in left), default=None)
        emit_json(
            {"replaced": which.value, "is_finished": finish, "outstanding": len(left), "last_ends": ends}
        )


def _begin(
    which: Branch,
    place: Path | None,
    folder: Path,
    keys: "KeyFiles",
    root: Path | None,
    root_key: Path | None,
) -> list[IssuedCertificate]:
    now = utc_now()
    if (root is None) != (root_key is None):
        raise ConfigError("give --root with --root-key, or none of them")
    given = None if root is None or root_key is None else read_authority(root, root_key, now, below=1)
    made = begin(folder, which, keys=keys, now=now, root=given)
    if given is not None and given.certificate == made.current.root:
        say("under the same root the old authority counts until its certificate ends, --finish or not")
    held = []
    if place is None:
        say("now run `bkdms provision files`, carry the folders to the servers first, then to everybody else")
    else:
        holders = Holders(place, utc_now, lifetimes(), keys)
        say(f"{len(spread(place, holders))} certificates made anew; old and new authorities are trusted")
        held = holders.all()
    left = list(outstanding(made, held, now))
    if left:
        say(
            f"certificates elsewhere: {_named(left)}; renew them, and --finish after {max(one.ends for one in left)}"
        )
    else:
        say(
            "no certificate lies elsewhere: --finish when every program has looked at its files (transport.reload_s)"
        )
    return left


def _finish(which: Branch, place: Path | None, folder: Path, keys: "KeyFiles", *, is_forced: bool) -> None:
    authority = Authority.load(folder, keys)
    if authority.following is not None:
        if which not in replaced(authority):
            raise ConfigError(f"it is not the authority for {which} that is being replaced")
        holders = None if place is None else Holders(place, utc_now, lifetimes(), keys)
        left = list(outstanding(authority, holders.all() if holders else (), utc_now()))
        if left and not is_forced:
            raise ConfigError(
                f"still good, until {max(one.ends for one in left)}: {_named(left)}; wait, or end them all with --now"
            )
    if place is not None:
        finish_everywhere(place, Holders(place, utc_now, lifetimes(), keys), keys)
        say(
            "the new authorities alone are trusted; programs that run forget the old ones when they start again"
        )
    elif authority.former is None:
        put_in_force(folder, keys)
        say("now run `bkdms provision files`, carry the folders to their places, then repeat this command")
    else:
        end_trust(folder, keys)
        say(
            "now run `bkdms provision files` and carry the folders to their places: the old ones count no more"
        )


def _named(left: list[IssuedCertificate]) -> str:
    names = sorted({one.principal for one in left})
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
