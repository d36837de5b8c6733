"""Replacing an authority without a moment in which its holders are refused: both generations are trusted meanwhile.

A replacement has a root of its own. Whom the root in force trusts stays trusted as long as that root is: an authority
that is only left out would count until its certificate ends. The other authority keeps its key and gets a certificate
under the new root, too.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from shutil import rmtree

from ops.files import private_folder
from ops.tls.authority import BRANCH_LIFETIME, ROOT_LIFETIME, Authority, new_branch, new_root
from ops.tls.exchange import CA_FOLDER, close, introduce, promote
from ops.tls.generation import CaKeys, Generation, write_generation
from ops.tls.principal import Principal
from ops.tls.profile import ROOT_NAME, Branch, Life, SigningAuthority, branch_certificate
from ops.tls.register import IssuedCertificate, entries, serial_text
from ops.tls.revoked import REVOKED, read_revoked
from pipeline.core.errors import ConfigError

_HINT = "see docs/pki.md"


def begin(
    folder: Path, branch: Branch, *, keys: CaKeys, now: datetime, root: SigningAuthority | None = None
) -> Authority:
    """Make the generation that follows, with a new key for ``branch``; may be repeated.

    Under a given ``root`` its key is not kept.

    Raises:
        ConfigError: another replacement is under way, the other authority's key is not here, or the root in force is
            somebody's own and none was given (code ``pki``).
    """
    authority = Authority.load(folder, keys)
    if authority.former is not None:
        raise _refused(
            f"another replacement is not finished: run `bkdms pki replace {branch} --finish` first"
        )
    if authority.following is not None:
        if branch not in replaced(authority):
            raise _refused(
                f"the authority for {next(iter(replaced(authority)))} is being replaced: finish that first"
            )
        return authority
    if root is None and authority.root.subject != ROOT_NAME:
        raise _refused("these authorities are under a root of yours: name one with --root and --root-key")
    kept = root is None
    root = root or new_root(Life(now, ROOT_LIFETIME))
    made = {branch: new_branch(branch, root, now)}
    for other in set(Branch) - {branch}:
        key = authority.issuers[other].key
        if key is None:
            raise _refused(
                f"the key of the authority for {other} is not in {folder / CA_FOLDER}: do this where it is"
            )
        again = branch_certificate(other, key.public_key(), root, Life(now, BRANCH_LIFETIME))
        made[other] = SigningAuthority(again, key)
    draft = folder / f".{CA_FOLDER}.next"
    rmtree(draft, ignore_errors=True)
    write_generation(private_folder(draft), root.certificate, made, keys, root_key=root.key if kept else None)
    Generation.load(draft, keys)
    introduce(folder, draft)
    return Authority.load(folder, keys)


def replaced(authority: Authority) -> frozenset[Branch]:
    """Return which authorities get another key by the replacement under way; none where there is none."""
    if authority.following is None:
        return frozenset()
    old, new = authority.issuers, authority.following.issuers
    return frozenset(
        branch
        for branch in Branch
        if old[branch].certificate.public_key() != new[branch].certificate.public_key()
    )


def outstanding(
    authority: Authority, held: Collection[Principal], now: datetime
) -> Iterator[IssuedCertificate]:
    """Yield the certificates of the generation in force that are good and lie elsewhere than with ``held``.

    Servers' certificates are made anew when the replacement is finished and don't count.

    Raises:
        ConfigError: the register is damaged.
    """
    if authority.following is None:
        return
    new = {serial_text(one.certificate.serial_number) for one in authority.following.issuers.values()}
    gone = {*map(str, held), *read_revoked(authority.folder / REVOKED)}
    for entry in entries(authority.folder):
        if entry.issuer in new or entry.principal in gone or datetime.fromisoformat(entry.ends) <= now:
            continue
        if not Principal.parse(entry.principal).role.is_server:
            yield entry


def put_in_force(folder: Path, keys: CaKeys) -> None:
    """Certify by the next generation alone; the one before stays trusted until ``end_trust``. May be repeated.

    Raises:
        ConfigError: no replacement is under way (code ``pki``).
    """
    authority = Authority.load(folder, keys)
    if authority.following is not None:
        promote(folder)
    elif authority.former is None:
        raise _refused("no authority is being replaced: `bkdms pki replace sites` or `platform` begins it")


def end_trust(folder: Path, keys: CaKeys) -> None:
    """Trust the generation in force alone. May be repeated."""
    if Authority.load(folder, keys).former is not None:
        close(folder)


def _refused(reason: str) -> ConfigError:
    return ConfigError(f"{reason}; {_HINT}", code="pki")
