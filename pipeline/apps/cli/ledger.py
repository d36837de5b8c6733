"""``bkdms ledger``: what to do after disasters."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.apps import ledger_restore as restoring
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.cli.progress import block_progress
from pipeline.apps.cli.rebuild import rebuild
from pipeline.apps.cli.values import read_file, write_file
from pipeline.services.reanchor import Reanchored
from pipeline.services.restore import Restored

_FOUND_WRONG: Final = 1
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]

ledger = typer.Typer(
    no_args_is_help=True,
    help="After disasters: bring blocks back, go on in another log, rebuild what was lost or damaged.",
)
ledger.add_typer(rebuild, name="rebuild")


@ledger.command()
def restore(
    ctx: typer.Context,
    *,
    blocks: Annotated[
        list[Path] | None,
        typer.Option(help="Exported blocks: an Avro file of `bkdms export blocks`, or a folder; repeat."),
    ] = None,
    node: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a stopped accounting node; give all there are; repeat."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Fill an empty or cut blocks topic from exported blocks and nodes' folders, each block verified.

    Stop the nodes first. Their folders hold the newest blocks, and what they signed: a block that enough of them signed
    is completed, since none of them signs another one at its height. Can be cut short and run again. Exit code 1: some
    blocks could not be brought back; they are named. Afterwards: `bkdms ledger reanchor`.

    Example: bkdms --config settings/node-1.toml ledger restore --blocks blocks.avro --node nodes/node-1
    """
    settings = settings_of(ctx)
    sources = restoring.Sources(blocks or (), node or ())
    with block_progress() as progress:
        done = asyncio.run(restoring.restore_blocks(settings, sources, progress))
    blocking = [item for item in done.unfinished if item.blocks_the_chain]
    if json:
        emit_json(_restored_json(done))
    else:
        _tell_restored(done)
    if done.problems or blocking:
        raise typer.Exit(_FOUND_WRONG)


@ledger.command()
def reanchor(
    ctx: typer.Context,
    *,
    root_key: Annotated[
        list[Path] | None, typer.Option(help="Key file of a root key; repeat for each holder who is here.")
    ] = None,
    draft: Annotated[
        Path | None,
        typer.Option(
            help="File that goes from holder to holder until enough have signed; made where missing."
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Let the chain go on in another chain log, after the last block on the blocks topic; root keys must sign.

    For when Kafka lost the chain log, or part of it, and the nodes halt with `log_differs`. First make sure that no
    node, export or site holds a newer block (`bkdms ledger restore`): a node that does halts and forgets nothing. What
    the lost log held in no block yet, the sites send again.

    Example: bkdms --config settings/node-1.toml ledger reanchor --root-key root-1.json --root-key root-2.json
    """
    settings = settings_of(ctx)
    threshold = load_genesis(settings.genesis).root_threshold
    kept = read_file(draft) if draft is not None and draft.exists() else None
    done = asyncio.run(restoring.append_reanchor(settings, root_key or (), kept))
    if draft is not None and done.offset is None:
        write_file(draft, done.raw)
    if json:
        emit_json(
            {
                "height": done.height,
                "incarnation": done.incarnation,
                "signatures": done.signatures,
                "needed": threshold,
                "appended": done.appended,
                "offset": done.offset,
            }
        )
    else:
        _tell_reanchored(done, threshold, draft)
    if not done.appended and done.offset is None and draft is None:
        raise typer.Exit(_FOUND_WRONG)


def _tell_reanchored(done: Reanchored, threshold: int, draft: Path | None) -> None:
    if done.offset is not None:
        say(f"block {done.height} is reanchored already, at offset {done.offset} of the chain log")
    elif done.appended:
        say(
            f"the chain goes on after block {done.height}, in incarnation {done.incarnation} of its log; "
            "start the accounting nodes"
        )
    else:
        rest = (
            f"give {draft} to the next holder"
            if draft
            else "nothing was written: name more keys, or a --draft"
        )
        say(f"{done.signatures} of {threshold} root keys have signed for block {done.height}; {rest}")


def _tell_restored(done: Restored) -> None:
    say(
        f"the blocks topic holds the chain up to block {done.height}; {done.height - done.found} were brought back"
    )
    for height in done.completed:
        say(f"block {height} got its certificate from what the nodes had signed")
    for item in done.unfinished:
        who = ", ".join(item.nodes)
        if item.blocks_the_chain:
            print(
                f"BAD  block {item.height} ({item.block_hash.hex()[:16]}) is signed by {who} and lacks signatures; "
                "they sign no other one, so the chain can't go on without it: give the folders of the other nodes too"
            )
        else:
            say(
                f"block {item.height} ({item.block_hash.hex()[:16]}) was signed by {who} alone; what they signed stays "
                "without effect, and they wait at that height until the others have published it"
            )
    for problem in done.problems:
        print(f"BAD  {problem}")


def _restored_json(done: Restored) -> dict[str, object]:
    unfinished = [
        {"height": item.height, "block_hash": item.block_hash.hex(), "nodes": list(item.nodes)}
        for item in done.unfinished
    ]
    return {
        "found": done.found,
        "height": done.height,
        "completed": list(done.completed),
        "unfinished": unfinished,
        "problems": list(done.problems),
    }
