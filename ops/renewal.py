"""Renewing certificates while a stack runs: again and again in a thread, and told to the servers that show them."""

import threading
from collections.abc import Callable, Collection

from ops.kafka import live as kafka
from ops.kafka.cluster import broker_principal
from ops.local_servers import LocalServers
from ops.postgres import live as postgres
from ops.redis import live as redis
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Principal, Role
from pipeline.core.errors import BkdmsError

HOUR_S = 3600.0
SHOWING = frozenset({Role.BROKER, Role.REDIS, Role.POSTGRES})
"""Servers that have to be told; programs look at their files themselves."""


def show_renewed(servers: LocalServers, server: Principal, own: CertificateFiles) -> None:
    """Have a server show the certificate in ``own`` to new connections.

    Raises:
        TransientError: it did not take it over.
    """
    if server.role is Role.BROKER:
        for place in servers.brokers:
            if broker_principal(place.node) == server:
                kafka.reload_certificate(place, servers.kafka_admin(), own, servers.asking)
    elif server.role is Role.REDIS:
        redis.reload_certificate(servers.redis_admin(), own)
    elif server.role is Role.POSTGRES and servers.postgres is not None:
        postgres.reload_certificate(servers.postgres, servers.asking, own)


class Renewal:
    """Calls ``renew`` every ``interval_s`` seconds until closed, and says what came of it."""

    def __init__(
        self,
        renew: Callable[[], Collection[object]],
        say: Callable[[str], None],
        *,
        interval_s: float = HOUR_S,
    ) -> None:
        self._renew = renew
        self._say = say
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; waits for a renewal under way."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                renewed = self._renew()
            except (BkdmsError, OSError) as error:
                self._say(f"certificates could not be renewed, and will be tried again: {error}")
                continue
            if renewed:
                self._say(f"renewed the certificates of {', '.join(sorted(map(str, renewed)))}")
