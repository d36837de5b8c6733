"""``bkdms site``: what is done at a sampling site."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.cli.site_own import open_packets, reading_keys_command
from pipeline.apps.cli.site_run import resync, run
from pipeline.apps.cli.site_verify import verify
from pipeline.apps.cli.values import parse_equipment, parse_suite, read_file, write_file
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.config import Settings, SiteSettings
    from pipeline.core.keys import PublicKey

site = typer.Typer(
    no_args_is_help=True,
    help="At a sampling site: ask for access, then collect and send. The site's name is in table `site` of bkdms.toml.",
)


Bundle = Annotated[
    Path | None,
    typer.Option(
        help="Bundle that the registrar gave you (`bkdms registrar bundle`); kept for later requests."
    ),
]
TokenFile = Annotated[
    Path | None, typer.Option(help="File of mode 0600 with the one-time token that the registrar gave you.")
]
RequestOutput = Annotated[
    Path | None, typer.Option("--output", "-o", help="Where to write the request, to carry it by hand.")
]
SendTo = Annotated[
    str | None,
    typer.Option(
        "--send",
        metavar="URL",
        help="Send the request to the API there, which has to be the bundle's platform.",
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]


@site.command()
def request(
    ctx: typer.Context,
    *,
    output: RequestOutput = None,
    send: SendTo = None,
    bundle: Bundle = None,
    token_file: TokenFile = None,
    indicator: Annotated[
        list[str] | None,
        typer.Option(help="Indicator that the site will send; repeat. (default: those of site.mapping)"),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="Cipher suite, best first; repeat: xwing, light, or p256 for secure elements. (default: xwing)"
        ),
    ] = None,
    equipment: Annotated[
        list[str] | None,
        typer.Option(help="Identifier (IPv4/IPv6 form) of further equipment to speak for; repeat."),
    ] = None,
    sensor: Annotated[
        list[str] | None, typer.Option(help="Sensor that is there, for the registrar's inventory; repeat.")
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Hand over the request that was made here last, instead of making another."
        ),
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Make the site's signing key if there is none, and write the request for access, or send it to the registrar.

    The request holds the public key only, with a proof for this chain that the site has the private one. With bundle
    and token it also shows that it is from here, asks for a transport certificate, and pins whose answer counts.
    Without a token, tell the registrar the fingerprint over another way. `bkdms site accept` takes the answer up. With
    --send the request goes over HTTPS to whom the bundle pins, and `bkdms site accept --fetch` asks there; if nobody
    answered, send the same once more with --again.

    Example: bkdms site request --bundle bridge-17.bundle.json --token-file bridge-17.token -o bridge-17.request.json
    """
    from pipeline.apps.access_sending import last_request  # noqa: PLC0415
    from pipeline.apps.enrolment import Given, Wish, ask  # noqa: PLC0415

    settings = settings_of(ctx)
    _demand_way(output, send)
    if again:
        raw, key = last_request(settings)
        _hand_over(settings, _Way(output, send), raw, key, json)
        return
    wanted = tuple(dict.fromkeys(indicator or _mapped_indicators(settings.site)))
    if not wanted:
        raise ConfigError("no indicators: name each with --indicator, or set site.mapping")
    suites = tuple(map(parse_suite, suite or ("xwing",)))
    wish = Wish(suites, wanted, tuple(map(parse_equipment, equipment or ())), tuple(sensor or ()))
    raw, key = ask(settings, wish, Given(bundle, token_file), _now_ms())
    _hand_over(settings, _Way(output, send), raw, key, json)


@site.command()
def rotate(
    ctx: typer.Context,
    *,
    output: RequestOutput = None,
    send: SendTo = None,
    bundle: Bundle = None,
    token_file: TokenFile = None,
    json: JsonFlag = False,
) -> None:
    """Make a new signing key, and write the request to put it in the place of the present one, signed by both.

    The agent goes on with the present key; `bkdms site accept` takes the registrar's answer up and changes keys. What
    is in the spool stays: packets of the former key are sent as they are while they are admitted, then signed anew.

    Example: bkdms site rotate -o bridge-17.rotate.json
    """
    from pipeline.apps.enrolment import Given, ask_for_new_key  # noqa: PLC0415

    settings = settings_of(ctx)
    _demand_way(output, send)
    raw, key = ask_for_new_key(settings, Given(bundle, token_file), _now_ms())
    _hand_over(settings, _Way(output, send), raw, key, json)


@site.command()
def accept(
    ctx: typer.Context,
    answer: Annotated[Path | None, typer.Argument(help="The registrar's answer.")] = None,
    *,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Ask for it where the request was sent to; exit code 1: none yet.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Check the registrar's answer against the request made here and the bundle, and put it in force.

    Refused are answers to another request, by others than the registrars of the bundle, of another chain, and late
    ones. A transport certificate that comes with it goes to the folder `tls` beside the site's key.

    Example: bkdms site accept bridge-17.request.answer.json
    """
    from pipeline.apps.enrolment import take_up  # noqa: PLC0415
    from pipeline.apps.site_files import SiteFiles  # noqa: PLC0415

    settings = settings_of(ctx)
    taken = take_up(settings, _answer(settings, answer, fetch), _now_ms())
    folder = SiteFiles(settings.site.key).transport
    certificate = f"; its transport certificate is in {folder}" if taken.certificate else ""
    say(f"{taken.site} may send {', '.join(taken.indicators)}{certificate}")
    if json:
        emit_json(
            {
                "site": str(taken.site),
                "site_key": taken.site_key.hex(),
                "indicators": list(taken.indicators),
                "suites": [item.name.lower() for item in taken.suites],
                "certificate": str(folder / "certificate.pem") if taken.certificate else None,
            }
        )


for command in (run, resync, verify):
    site.command()(command)
site.command("open")(open_packets)
site.command("reading-keys")(reading_keys_command)


def _mapped_indicators(settings: "SiteSettings") -> list[str]:
    values: Any = settings.mapping.get("values", [])
    return [rule["indicator"] for rule in values if isinstance(rule, dict) and "indicator" in rule]


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a request goes: into a file, or to the API at an address; or both."""

    output: Path | None
    send: str | None


def _demand_way(output: Path | None, send: str | None) -> None:
    if output is None and send is None:
        raise ConfigError("where is the request to go? Give -o FILE, or --send URL")


def _hand_over(settings: "Settings", way: _Way, raw: bytes, key: "PublicKey", json: bool) -> None:
    from pipeline.apps.access_sending import send_request  # noqa: PLC0415

    name, fingerprint = settings.site.name(), key.fingerprint.hex()
    if way.output is not None:
        write_file(way.output, raw)
    sent = None if way.send is None else send_request(settings, raw, way.send)
    if json:
        request = None if way.output is None else str(way.output)
        emit_json({"site": str(name), "site_key": fingerprint, "request": request, "sent": sent})
        return
    place = f"in {way.output}" if way.send is None else f"with the registrar at {way.send}, {sent}"
    say(f"request of {name} is {place}; the key's fingerprint, for the registrar:")
    print(fingerprint)


def _answer(settings: "Settings", file: Path | None, fetch: bool) -> bytes:
    from pipeline.apps.access_sending import fetch_answer  # noqa: PLC0415

    if (file is None) is not fetch:
        raise ConfigError("name the file with the answer, or say --fetch")
    if file is not None:
        return read_file(file)
    found = fetch_answer(settings)
    if found is None:
        say("the registrar has not answered yet; ask again later")
        raise typer.Exit(1)
    return found


def _now_ms() -> int:
    from pipeline.adapters.clock import SystemClock  # noqa: PLC0415

    return SystemClock().now_ms()
