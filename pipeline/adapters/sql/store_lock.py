"""One writer per store: a lock in PostgreSQL that each of the writer's connections holds as long as it lives.

So there is no moment at which a writer works on a connection without the lock, however often the server restarts.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine, event

from pipeline.adapters.sql.database_errors import database_errors
from pipeline.core.errors import ConfigError, TransientError

_NUMBER: Final = "hashtextextended('bkdms platform store ' || coalesce(current_schema(), ''), 0)"
_TRY: Final = f"SELECT pg_try_advisory_lock({_NUMBER})"
GRACE_S: Final = 5.0
"""How long a server may take to notice that the program before us was killed."""
_PAUSE_S: Final = 0.2


def hold_store_lock(engine: Engine, user: str = "another platform worker or a rebuild") -> None:
    """Make every connection of an engine on PostgreSQL hold the lock of its store, and take it now.

    ``user`` says who may have it, for the message. The lock goes with the engine's connections: ``engine.dispose``.

    Raises:
        ConfigError: another program has it (code ``store_in_use``).
        TransientError: later, for connections opened anew, the same (code ``store_in_use``); see ``database_errors``.
    """
    first: list[bool] = [True]

    @event.listens_for(engine, "connect")
    def take(connection: Any, _record: Any) -> None:
        if not _taken(connection, GRACE_S if first[0] else 0.0):
            connection.close()
            text = f"the store is in use by {user}"
            if first[0]:
                raise ConfigError(f"{text}; stop it, or name another store.url", code="store_in_use")
            raise TransientError(text, code="store_in_use")
        first[0] = False

    with database_errors():
        engine.connect().close()


def _taken(connection: Any, grace_s: float, now: Callable[[], float] = time.monotonic) -> bool:
    end = now() + grace_s
    while True:
        row = connection.execute(_TRY).fetchone()
        connection.commit()  # a lock of the session outlives it
        if row[0]:
            return True
        if now() >= end:
            return False
        time.sleep(_PAUSE_S)
