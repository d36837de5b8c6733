"""``bkdms site open`` and ``reading-keys``: a site reads its own packets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.apps.own_packets import OwnPacket
    from pipeline.core.record import UnifiedRecord

FOUND_WRONG: Final = 1
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]
Tiles = Annotated[
    str | None,
    typer.Option(help="Folder or URL of the exported log. (default: export.folder, else tiles at api.url)"),
]
Policy = Annotated[
    Path | None,
    typer.Option(
        help="Policy file for the nodes in force, where root keys replaced those of the genesis file."
    ),
]


def open_packets(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A proof (`bkdms prove`), a receipt (`bkdms site verify -o`), or a packet's bytes."
        ),
    ] = None,
    *,
    code: Annotated[
        str | None,
        typer.Option(help="Tracing code of a packet that is read from the exported log and proven."),
    ] = None,
    spool: Annotated[
        bool, typer.Option("--spool", help="The packets in the spool that are not yet verified as committed.")
    ] = False,
    tiles: Tiles = None,
    policy: Policy = None,
    json: JsonFlag = False,
) -> None:
    """Open packets that this site sealed, with its own reading key, and print their values.

    Needs packets that were sealed while site.read_own was true; nobody else's key is asked for. Nothing is opened that
    this site did not sign, or that is not proven to be in the ledger. The output is plain values: it belongs to the
    site and to nobody else.

    Example: bkdms site open --code AMQ8WJQ7-3-0-T
    """
    from pipeline.apps.keys import reading_keys  # noqa: PLC0415
    from pipeline.apps.own_packets import Wanted, own_packets  # noqa: PLC0415
    from pipeline.core.avro import require_compiled_reader  # noqa: PLC0415
    from pipeline.core.own_packet import open_own, packet_json  # noqa: PLC0415

    if (file is not None) + (code is not None) + spool != 1:
        raise ConfigError("name one: a file, --code CODE, or --spool")
    require_compiled_reader()
    settings = settings_of(ctx)
    keys, documents, shut = reading_keys(settings), [], 0
    for own in own_packets(settings, Wanted(file, code, tiles, policy)):
        records = open_own(own.packet, keys.get)
        if isinstance(records, str):
            shut += 1
            say(f"{own.place}: packet {own.packet.sequence} stays closed: {records}")
        elif json:
            documents.append({"place": own.place, **packet_json(own.packet, records)})
        else:
            _print(own, records)
    if json:
        emit_json({"packets": documents, "closed": shut})
    if shut:
        raise typer.Exit(FOUND_WRONG)


def reading_keys_command(
    ctx: typer.Context,
    *,
    new: Annotated[
        bool,
        typer.Option(
            "--new", help="Put new keys in force; those before go on opening what was sealed to them."
        ),
    ] = False,
    destroy: Annotated[
        str | None,
        typer.Option(
            metavar="FINGERPRINT", help="Destroy a key that is not in force: it opens nothing any more."
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """List the site's own reading keys, put new ones in force, or destroy one for good.

    They are made when the agent starts with site.read_own = true. After --new start the agent again. A destroyed key
    does not come back from a backup (see `bkdms keys destroy`).

    Example: bkdms site reading-keys --new
    """
    from pipeline.apps.keys import reading_keys  # noqa: PLC0415
    from pipeline.apps.own_packets import own_signing_keys  # noqa: PLC0415
    from pipeline.apps.site_agent import reading_algorithms  # noqa: PLC0415

    settings = settings_of(ctx)
    keys = reading_keys(settings)
    if new:
        signing = next(iter(own_signing_keys(settings).values())).algorithm
        keys.renew(reading_algorithms(signing))
    if destroy is not None:
        keys.destroy(_fingerprint(destroy), _now_ms())
        say(
            f"destroyed {destroy}; backups of {settings.site.reading_keys} from before open no more: take a new one"
        )
    in_force = set(keys.in_force().values())
    rows = [
        {"key": key.fingerprint.hex(), "algorithm": key.algorithm, "in_force": key.fingerprint in in_force}
        for key in keys.held()
    ]
    if json:
        emit_json({"keys": rows})
        return
    for row in rows:
        print(
            f"{row['key']}  {row['algorithm']:9} {'in force' if row['in_force'] else 'opens earlier packets'}"
        )


def _print(own: "OwnPacket", records: "tuple[UnifiedRecord, ...]") -> None:
    from pipeline.apps.cli.proof import gmt  # noqa: PLC0415
    from pipeline.core.storage import observations  # noqa: PLC0415

    for value in observations(records):
        point = f" {value.data_point}" if value.data_point else ""
        print(
            f"{own.place}  packet {own.packet.sequence} record {value.record}  {gmt(value.time_ms)}  "
            f"{value.indicator}{point} = {value.exact} {value.unit}  {value.sensor}"
        )


def _fingerprint(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ConfigError(
            f"{text}: a fingerprint is 64 hexadecimal digits; list them without --destroy"
        ) from None


def _now_ms() -> int:
    from pipeline.adapters.clock import SystemClock  # noqa: PLC0415

    return SystemClock().now_ms()
