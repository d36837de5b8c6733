"""``bkdms token``: short-lived tokens of the local issuer for the API."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.apps.cli.at_desk import JsonFlag
from pipeline.apps.cli.context import emit_json, say, settings_of

if TYPE_CHECKING:
    from pipeline.apps.token_issuer import TokenIssuer
    from pipeline.config import Settings

token = typer.Typer(
    no_args_is_help=True,
    help="Tokens for the API, signed here; for a deployment without an OpenID provider. They last minutes.",
)


@token.command()
def issue(
    ctx: typer.Context,
    holder: Annotated[str, typer.Argument(metavar="HOLDER", help="Whom it is for; the access log names it.")],
    *,
    scope: Annotated[
        list[str],
        typer.Option(
            help="What it permits, repeat: heads/COUNTRY/CITY/SITE, assessments/COUNTRY/CITY/INDICATOR, traces, "
            "metrics; `*` for any."
        ),
    ],
    seconds: Annotated[int, typer.Option(min=1, help="How long it is good.")] = 900,
    json: JsonFlag = False,
) -> None:
    """Print a new token. Send it as the header `Authorization: Bearer TOKEN`, never in an address.

    Example: bkdms token issue dashboard --scope 'assessments/US/unlocode:USMES/LOCAL:TRAFFIC_SPEED'
    """
    from pipeline.apps.token_issuer import new_token, read_permits  # noqa: PLC0415

    settings = settings_of(ctx)
    permits = read_permits(scope)
    made = new_token(settings.access, _issuer(settings), holder, permits, seconds)
    if json:
        emit_json({"token": made, "seconds": seconds, "scope": [str(permit) for permit in permits]})
    else:
        print(made)


@token.command()
def rotate(
    ctx: typer.Context,
    *,
    lost: Annotated[
        bool, typer.Option("--lost", help="The old key may be in other hands: refuse its tokens at once.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Sign with a new key from now on. The running API takes it over by itself; nobody notices.

    Example: bkdms token rotate
    """
    from pipeline.adapters.tokens import key_name  # noqa: PLC0415

    made = key_name(_issuer(settings_of(ctx)).rotate(is_lost=lost))
    if json:
        emit_json({"key": made, "old_is_refused": lost})
    else:
        say(f"tokens are signed with key {made} now")


def _issuer(settings: "Settings") -> "TokenIssuer":
    from pipeline.apps.keys import key_files  # noqa: PLC0415
    from pipeline.apps.token_issuer import issuer_of  # noqa: PLC0415

    return issuer_of(settings.access, key_files(settings))
