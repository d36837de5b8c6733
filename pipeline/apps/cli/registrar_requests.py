"""``bkdms registrar bundle · approve · transfer``: what a site is given, and decisions on its requests."""

import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.apps.cli.at_desk import (
    DAY_MS,
    AnswerDays,
    JsonFlag,
    PkiFolder,
    SiteArgument,
    ValidDays,
    at_desk,
    in_days,
    now_ms,
    pki_folder,
    report_answer,
)
from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.cli.values import parse_site, read_file, write_file
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.apps.desk import OpenDesk
    from pipeline.config import Settings
    from pipeline.services.access import AccessAnswer, AccessRequest
    from pipeline.services.access_bundle import Platform
    from pipeline.services.registration import Reply

RequestFile = Annotated[Path, typer.Argument(help="Access request of the site (`bkdms site request`).")]
AnswerFile = Annotated[
    Path | None, typer.Option(help="Where to write the answer. (default: REQUEST.answer.json)")
]


def bundle(
    ctx: typer.Context,
    site: SiteArgument,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the bundle.")],
    token_file: Annotated[
        Path | None,
        typer.Option(help="New file of mode 0600 for the one-time token. (default: it is printed)"),
    ] = None,
    token_days: Annotated[int, typer.Option(min=1, max=90, help="Days for which the token counts.")] = 7,
    kafka: Annotated[
        str | None, typer.Option(help="Kafka's address for sites. (default: kafka.bootstrap)")
    ] = None,
    api: Annotated[str | None, typer.Option(help="The API's address for sites. (default: api.url)")] = None,
    pki: PkiFolder = None,
    json: JsonFlag = False,
) -> None:
    """Make the bundle that a site gets before it asks: chain, registrars, CA, addresses; and a one-time token.

    Carry the bundle to the site in a way that nobody else can change, and the token another way that nobody else
    can read. The bundle holds no secret; its fingerprint is shown here and by `bkdms site request`: compare them.

    Example: bkdms registrar bundle US/unlocode:USMES/fd00::1 -o bridge-17.bundle.json --token-file bridge-17.token
    """
    from pipeline.adapters.private_files import create_private  # noqa: PLC0415
    from pipeline.apps.deciding import give_bundle  # noqa: PLC0415

    settings, name = settings_of(ctx), parse_site(site)
    platform = _platform(settings, kafka, api, pki_folder(settings, pki))

    async def work(opened: "OpenDesk") -> tuple[bytes, str]:
        return await give_bundle(opened, name, platform, now_ms() + token_days * DAY_MS)

    raw, token = at_desk(ctx, work)
    write_file(output, raw)
    if token_file is not None:
        create_private(token_file, f"{token}\n".encode())
    fingerprint = _bundle_fingerprint(raw)
    say(f"bundle of {name} is in {output}, fingerprint {fingerprint}")
    if json:
        facts = {"site": str(name), "bundle": str(output), "fingerprint": fingerprint}
        emit_json(facts | ({} if token_file else {"token": token}))
    elif token_file is None:
        print(token)


def approve(
    ctx: typer.Context,
    request: RequestFile,
    *,
    answer: AnswerFile = None,
    indicator: Annotated[
        list[str] | None, typer.Option(help="Grant only this indicator; repeat. (default: all asked for)")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="TOML file that says what may be approved without a person looking; needs a token."
        ),
    ] = None,
    pki: PkiFolder = None,
    answer_days: AnswerDays = 7,
    valid_days: ValidDays = 30,
    json: JsonFlag = False,
) -> None:
    """Let a site in: check its request, enrol it, offer it the platform's key, and write the answer for it.

    A request with a one-time token shows by itself that it is from whom the token was given to. For one without,
    compare the key's fingerprint with the site's people over another way first. The command ends when the records
    are in the ledger; after a crash, run it again.

    Example: bkdms registrar approve bridge-17.request.json
    """
    from pipeline.services.registration import approve as approve_request  # noqa: PLC0415

    def act(opened: "OpenDesk", wanted: "AccessRequest", reply: "Reply") -> "Awaitable[AccessAnswer]":
        granted = tuple(indicator) if indicator else None
        until = in_days(valid_days)
        return approve_request(
            opened.desk, wanted, opened.make_key, valid_to=until, reply=reply, indicators=granted
        )

    _decide(ctx, request, answer, _Choice(answer_days, policy, pki, json), act)


def transfer(
    ctx: typer.Context,
    request: RequestFile,
    *,
    answer: AnswerFile = None,
    overlap_hours: Annotated[
        int,
        typer.Option(min=0, max=720, help="Hours for which packets of the former key are still admitted."),
    ] = 24,
    key_lost: Annotated[
        bool,
        typer.Option(
            "--key-lost",
            help="The former key is gone or in strange hands: it ends with this record, without overlap.",
        ),
    ] = False,
    pki: PkiFolder = None,
    answer_days: AnswerDays = 7,
    valid_days: ValidDays = 30,
    json: JsonFlag = False,
) -> None:
    """Give an enrolled site another signing key, on the same or on new hardware; its sequence and rights go on.

    A request by `bkdms site rotate` is signed by both keys. Where the old one is lost, take a request by
    `bkdms site request` from the new hardware, compare the fingerprint, and say --key-lost.

    Example: bkdms registrar transfer bridge-17.rotate.json --overlap-hours 2
    """
    from pipeline.services.site_changes import transfer as transfer_site  # noqa: PLC0415

    def act(opened: "OpenDesk", wanted: "AccessRequest", reply: "Reply") -> "Awaitable[AccessAnswer]":
        return transfer_site(
            opened.desk,
            wanted,
            opened.make_key,
            valid_to=in_days(valid_days),
            reply=reply,
            overlap_until_ms=now_ms() + overlap_hours * 3_600_000,
            is_key_lost=key_lost,
        )

    _decide(ctx, request, answer, _Choice(answer_days, None, pki, json), act)


COMMANDS = (bundle, approve, transfer)


_Act = Callable[["OpenDesk", "AccessRequest", "Reply"], Awaitable["AccessAnswer"]]


@dataclass(frozen=True, slots=True)
class _Choice:
    """The options that commands deciding on a request share."""

    answer_days: int
    policy: Path | None
    pki: Path | None
    json: bool


def _decide(ctx: typer.Context, file: Path, answer: Path | None, choice: _Choice, act: "_Act") -> None:
    from pipeline.apps.deciding import Terms, decide  # noqa: PLC0415
    from pipeline.apps.keys import key_files  # noqa: PLC0415
    from pipeline.services.access import read_request, write_answer  # noqa: PLC0415
    from pipeline.services.access_policy import read_policy  # noqa: PLC0415

    target, raw = answer or file.with_suffix(".answer.json"), read_file(file)
    policy = None if choice.policy is None else read_policy(_toml(choice.policy))
    settings = settings_of(ctx)
    pki = pki_folder(settings, choice.pki)
    terms = Terms(
        in_days(choice.answer_days),
        policy,
        pki,
        settings.topic_prefix,
        key_files(settings),
        settings.quotas.given(),
    )

    async def work(opened: "OpenDesk") -> "AccessAnswer":
        wanted = read_request(raw, opened.genesis)
        say(f"site {wanted.site}, key {wanted.key.fingerprint.hex()}, agent {wanted.manifest.agent}")
        granted = await decide(opened, raw, terms, lambda request, reply: act(opened, request, reply))
        write_file(target, write_answer(granted, opened.signer))
        return granted

    report_answer(at_desk(ctx, work), target, choice.json)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_file(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _platform(settings: "Settings", kafka: str | None, api: str | None, pki: Path | None) -> "Platform":
    from ops.tls.authority import Authority  # noqa: PLC0415
    from ops.tls.principal import Principal, Role  # noqa: PLC0415
    from pipeline.apps.keys import key_files  # noqa: PLC0415
    from pipeline.services.access_bundle import Platform  # noqa: PLC0415

    ca = ""
    if pki is not None:
        ca = Authority.load(pki, key_files(settings)).trusted_by(Principal(Role.SITE, "any")).decode()
    return Platform(
        kafka or settings.kafka.bootstrap or "", api or settings.api.url or "", settings.topic_prefix, ca
    )


def _bundle_fingerprint(raw: bytes) -> str:
    from pipeline.services.access_bundle import read_bundle  # noqa: PLC0415

    return read_bundle(raw).digest.hex()
