"""``bkdms registrar access-log-key``: name the key that may write heads of the API's access log into the ledger."""

from typing import TYPE_CHECKING

import typer

from pipeline.apps.cli.at_desk import JsonFlag, at_desk, report
from pipeline.apps.cli.context import settings_of

if TYPE_CHECKING:
    from pipeline.apps.desk import OpenDesk
    from pipeline.core.keys import PublicKey


def access_log_key(ctx: typer.Context, *, json: JsonFlag = False) -> None:
    """Name the key in access.log_key, made where it is missing, for the API's access log; in place of any before.

    A log that is begun anew needs a new key: move the old key's file away first.

    Example: bkdms registrar access-log-key
    """
    key = appoint_log_key(ctx)
    fingerprint = key.fingerprint.hex()
    report({"access_log_key": fingerprint}, f"the ledger names {fingerprint} for the access log", json)


def appoint_log_key(ctx: typer.Context) -> "PublicKey":
    """See to it that the ledger names the key in access.log_key, and return it.

    Raises:
        ConfigError, TransientError: as for the registrar's desk.
    """
    from pipeline.apps.keys import key_files  # noqa: PLC0415
    from pipeline.core.control import AccessLogKey  # noqa: PLC0415
    from pipeline.core.keys import Use  # noqa: PLC0415

    settings = settings_of(ctx)
    key = key_files(settings).signer_or_new(settings.access.log_key, Use.ACCESS_LOG).public

    async def work(opened: "OpenDesk") -> None:
        named = (await opened.desk.settle()).access_log_key
        if named is None or named.fingerprint != key.fingerprint:
            await opened.desk.issue(AccessLogKey(key))

    at_desk(ctx, work)
    return key
