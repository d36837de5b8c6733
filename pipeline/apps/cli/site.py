"""``bkdms site``: what is done at a sampling site."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.cli.site_run import resync, run, verify
from pipeline.apps.cli.values import parse_equipment, parse_suite, write_file
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Use
from pipeline.core.sealing import SIGNING_ALGORITHM

if TYPE_CHECKING:
    from pipeline.config import SiteSettings

site = typer.Typer(
    no_args_is_help=True,
    help="At a sampling site: ask for access, then collect and send. The site's name is in table `site` of bkdms.toml.",
)


@site.command()
def request(
    ctx: typer.Context,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the request.")],
    indicator: Annotated[
        list[str] | None,
        typer.Option(help="Indicator that the site will send; repeat. (default: those of site.mapping)"),
    ] = None,
    suite: Annotated[
        str, typer.Option(help="Cipher suite: xwing, light, or p256 for secure elements.")
    ] = "xwing",
    equipment: Annotated[
        list[str] | None,
        typer.Option(help="Identifier (IPv4/IPv6 form) of further equipment to speak for; repeat."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")] = False,
) -> None:
    """Make the site's signing key if there is none, and write the request for access to be sent to the registrar.

    The request holds the public key only, with a proof for this chain that the site has the private one. Tell the
    registrar the fingerprint over another way. What comes back goes to the file that the setting site.access names.

    Example: bkdms site request -o bridge-17.request.json --indicator LOCAL:TRAVEL_TIME
    """
    from pipeline.apps.authority import load_genesis  # noqa: PLC0415
    from pipeline.apps.keys import key_files  # noqa: PLC0415
    from pipeline.services.access import write_request  # noqa: PLC0415

    settings = settings_of(ctx)
    name, genesis = settings.site.name(), load_genesis(settings.genesis)
    wanted = tuple(dict.fromkeys(indicator or _mapped_indicators(settings.site)))
    if not wanted:
        raise ConfigError("no indicators: name each with --indicator, or set site.mapping")
    others, chosen = tuple(map(parse_equipment, equipment or ())), parse_suite(suite)
    signer = key_files(settings, at_site=True).signer_or_new(settings.site.key, Use.SITE, SIGNING_ALGORITHM[chosen])
    write_file(
        output,
        write_request(genesis, name, signer, suites=(chosen,), indicators=wanted, equipment=others),
    )
    fingerprint = signer.public.fingerprint.hex()
    if json:
        emit_json({"site": str(name), "site_key": fingerprint, "request": str(output)})
        return
    say(f"request of {name} is in {output}; the key's fingerprint, for the registrar:")
    print(fingerprint)


for command in (run, resync, verify):
    site.command()(command)


def _mapped_indicators(settings: "SiteSettings") -> list[str]:
    values: Any = settings.mapping.get("values", [])
    return [rule["indicator"] for rule in values if isinstance(rule, dict) and "indicator" in rule]
