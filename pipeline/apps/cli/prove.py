"""``bkdms prove``: a portable proof of one packet, from exported tiles in a folder or over HTTP."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from pipeline.adapters.private_files import replace_private
from pipeline.adapters.tile_client import TileClient
from pipeline.adapters.tile_files import TileFiles
from pipeline.adapters.tls import client_context
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import say, settings_of
from pipeline.apps.cli.proof import FOUND_WRONG, read_policy, tell_proof
from pipeline.apps.keys import key_vault
from pipeline.config import Settings
from pipeline.config.transport import demand_tls
from pipeline.core.avro import require_compiled_reader
from pipeline.core.disclosure import Disclosed, disclose
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.core.packet import Opened, OpenProblem, Packet, open_packet
from pipeline.core.policy_file import policy_text
from pipeline.core.tlog_policy import TlogPolicy, parse_policy
from pipeline.core.tlog_proof import SUFFIX
from pipeline.services.tile_prover import LogProblem, MadeProof, open_prover
from pipeline.services.tile_reader import Read
from pipeline.services.trace import TraceProblem, find_code

_SCHEMES: Final = ("https://", "http://")


def prove(
    ctx: typer.Context,
    code: Annotated[str, typer.Argument(help="Tracing code, such as AMQ8WJQ7-3-0-T.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. (default: the code with .tlog-proof)"),
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            help="Folder or URL of the exported log. (default: export.folder, else tiles at api.url)"
        ),
    ] = None,
    genesis: Annotated[
        Path | None, typer.Option(help="The chain's genesis file. (default: the setting genesis)")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="Policy file for the nodes in force, where root keys replaced those of the genesis file "
            "(`bkdms root show --policy`)."
        ),
    ] = None,
    disclosed: Annotated[
        list[int] | None,
        typer.Option(
            "--disclose",
            min=0,
            help="Put this record of the packet in, readable (0 is the first); may be given several times.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")] = False,
) -> None:
    """Write a portable proof that a packet is in the ledger: anybody checks it offline with `bkdms check-proof`.

    Reads exported tiles and believes nothing of them: the proof is verified before it is written. Without --disclose
    it tells who sent when and how much, no values. With it the packet is opened with the platform's key
    (platform.keys_dir), and the chosen records are proven without telling anything of the others.

    Example: bkdms prove AMQ8WJQ7-3-0-T -o reading.tlog-proof --disclose 0
    """
    require_compiled_reader()
    settings = settings_of(ctx)
    chain = load_genesis(genesis or settings.genesis)
    place = find_code(code, chain.chain)
    if place is TraceProblem.MISTYPED:
        raise ConfigError(place.advice)
    trusted = trusted_by(chain, policy)
    if isinstance(place, TraceProblem):
        _refuse(code, place.advice)
    with exported_log(settings, tiles) as unseen, counted_reads(unseen) as read:
        prover = open_prover(chain, trusted, read)
        if isinstance(prover, LogProblem):
            _refuse(code, str(prover))
        made = prover.prove(place, _opener(settings, disclosed) if disclosed else None)
    if not isinstance(made, MadeProof):
        _refuse(code, made.advice if isinstance(made, TraceProblem) else str(made))
    target = output or Path(f"{place}{SUFFIX}")
    replace_private(target.absolute(), made.data)
    tell_proof(made.proof, json=json)
    say(f"{target}: {len(made.data)} bytes, verified against the tree of {prover.tree_size} leaves")


def trusted_by(chain: Genesis, policy: Path | None) -> TlogPolicy:
    """Return the policy by which an exported log is trusted: of a file, else of the genesis file.

    Raises:
        ConfigError: it is no policy.
    """
    if policy is not None:
        return read_policy(policy)
    found = parse_policy(policy_text(chain).encode())
    assert isinstance(found, TlogPolicy)  # noqa: S101  written by us
    return found


def _refuse(code: str, why: str) -> NoReturn:
    say(f"{code}: {why}")
    raise typer.Exit(FOUND_WRONG)


@contextmanager
def exported_log(settings: Settings, tiles: str | None) -> Iterator[Read]:
    """Give what reads the exported log that is named, or that of the settings.

    Raises:
        ConfigError: none is named, or it is elsewhere and without TLS.
    """
    api = settings.api
    source = tiles or (str(settings.export.folder) if settings.export.folder is not None else None)
    if source is None and api.url is not None:
        source = f"{api.url.rstrip('/')}/tiles"
    if source is None:
        raise ConfigError("where is the exported log? Give --tiles, or set export.folder or api.url")
    if not source.startswith(_SCHEMES):
        if not Path(source).is_dir():
            raise ConfigError(f"there is no folder {source}; name one with exported tiles, or a URL")
        yield TileFiles(Path(source)).read
        return
    demand_tls(source, settings.transport.insecure_tiles, "transport.insecure_tiles", "the log at")
    is_ours = api.url is not None and source.startswith(api.url.rstrip("/") + "/") and api.ca is not None
    client = TileClient(source, client_context(api.tls_files()) if is_ours else None)
    try:
        yield client.read
    finally:
        client.close()


@contextmanager
def counted_reads(read: Read) -> Iterator[Read]:
    """Show how many files of the log have been read, where standard error is a terminal."""
    console, column = Console(stderr=True), TextColumn("{task.completed} files of the log read")
    with Progress(column, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def counted(path: str) -> bytes:
            bar.advance(task)
            return read(path)

        yield counted


def _opener(settings: Settings, indexes: list[int]) -> Callable[[Packet], tuple[Disclosed, ...]]:
    """Return what opens a packet with the platform's keys and discloses the chosen records."""
    keys = key_vault(settings)

    def opened(packet: Packet) -> tuple[Disclosed, ...]:
        key = next((key for reader in packet.recipients if (key := keys.get(reader.key)) is not None), None)
        if key is None:
            raise ConfigError(
                f"no key in {settings.platform.keys_dir} opens this packet: records are disclosed where the "
                "platform's keys are (platform.keys_dir), as long as they are not destroyed"
            )
        found = open_packet(packet, key)
        if not isinstance(found, Opened):
            raise ConfigError(f"the packet does not open to what its site signed: {_text(found)}")
        try:
            return disclose(packet, found, indexes)
        except ValueError as error:
            raise ConfigError(f"--disclose: {error}") from None

    return opened


def _text(problem: OpenProblem) -> str:
    return problem.name.lower().replace("_", " ")
