"""An enrolled site's way to Kafka: a certificate in its registry name, and the rights of a site; and their end."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from ops.access_table import Quota
from ops.kafka.quotas import NONE_GIVEN
from ops.kafka.rights_file import keep_rights
from ops.local_servers import LocalServers
from ops.lock import holder
from ops.revocation import enlist, revoke
from ops.tls.authority import Authority
from ops.tls.generation import CaKeys
from ops.tls.holders import PKI_FOLDER, refuse_revoked
from ops.tls.principal import Role
from ops.tls.site_principal import site_principal
from pipeline.core.names import SiteName
from pipeline.core.topics import Topics


def certify_site(
    folder: Path,
    site: SiteName,
    request: bytes,
    topics: Topics,
    *,
    now: datetime,
    keys: CaKeys,
    quotas: Mapping[Role, Quota] = NONE_GIVEN,
) -> bytes:
    """Return a certificate of ``site`` for the key of a PEM request, with its chain, as PEM.

    ``folder`` is that of the authorities, whose keys ``keys`` opens; where their stack runs on this machine, Kafka
    gives the site its rights first, and its role's quota in ``quotas``, else the table's. Elsewhere `bkdms provision
    servers` does.

    Raises:
        ConfigError: the site's certificates were taken back (code ``revoked``), or the request is none (code ``csr``).
        TransientError: Kafka did not answer; repeat it.
    """
    principal = site_principal(site)
    refuse_revoked(folder, principal)
    if _runs(folder):
        admin = LocalServers.of(folder.parent).kafka_admin(quotas)
        admin.grant([principal], [topics])
        keep_rights(admin, folder.parent)
    return Authority.load(folder, keys).sign(principal, request, now=now)


def decertify_site(folder: Path, site: SiteName, reason: str, now: datetime) -> None:
    """Take back what ``certify_site`` gave; where the stack runs on this machine, its open connections end, too.

    Raises:
        TransientError: a server did not answer; the site is on the list: repeat it.
    """
    if folder.name == PKI_FOLDER:
        revoke(folder.parent, site_principal(site), reason=reason, now=now)
    else:
        enlist(folder, site_principal(site), reason=reason, now=now)


def _runs(folder: Path) -> bool:
    return folder.name == PKI_FOLDER and holder(folder.parent) is not None
