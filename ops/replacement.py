"""An authority replaced in a data folder: its holders' certificates follow, and servers that run are told at once."""

from pathlib import Path

from ops.local_servers import LocalServers
from ops.lock import holder
from ops.renewal import SHOWING, show_renewed
from ops.tls.generation import CaKeys
from ops.tls.holders import PKI_FOLDER, Holders
from ops.tls.principal import Principal
from ops.tls.replacing import end_trust, put_in_force


def spread(data_dir: Path, holders: Holders, *, everything: bool = False) -> list[Principal]:
    """Make every certificate anew that is old or not of the authorities any more, servers' first; returns whose.

    Servers that run are told before any client's certificate changes. May be repeated.

    Raises:
        TransientError: a server did not take it over; repeat it.
    """

    def tell(_: list[Principal]) -> None:
        if holder(data_dir) is None:
            return
        servers = LocalServers.of(data_dir)
        # All of them, since an interrupted run may have told some.
        for principal in holders.all():
            if principal.role in SHOWING:
                show_renewed(servers, principal, holders.files(principal))

    return holders.renew(everything=everything, tell=tell)


def finish(data_dir: Path, holders: Holders, keys: CaKeys) -> None:
    """Put the next generation in force: its certificates are shown everywhere, then it alone is trusted.

    In this order, since a broker refuses trust that would not take the certificate that it shows.

    Raises:
        ConfigError: no replacement is under way (code ``pki``).
        TransientError: a server did not take it over; repeat it.
    """
    put_in_force(data_dir / PKI_FOLDER, keys)
    spread(data_dir, holders)
    end_trust(data_dir / PKI_FOLDER, keys)
    spread(data_dir, holders)
