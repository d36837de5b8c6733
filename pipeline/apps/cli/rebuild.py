"""``bkdms ledger rebuild``: what follows from the blocks, written again from the blocks topic."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.apps import ledger_rebuild as rebuilding
from pipeline.apps.cli.context import say, settings_of
from pipeline.apps.store_rebuild import StoreRebuilt, rebuild_store
from pipeline.config import Settings

_T = TypeVar("_T")
rebuild = typer.Typer(
    no_args_is_help=True,
    help="Build Redis, a node's folder, the store or the exported tiles again from the blocks topic. "
    "Every block is verified; doing it again changes nothing.",
)


@rebuild.command()
def redis(ctx: typer.Context) -> None:
    """Make Redis hold the certified chain: head, last blocks, headers. Nodes may go on running.

    Needs the settings of an accounting node (rights to write to Redis). What Redis holds beyond the published blocks
    stays where it is certified; what no quorum certified goes.

    Example: bkdms --config settings/node-1.toml ledger rebuild redis
    """
    done = _run(settings_of(ctx), rebuilding.rebuild_redis)
    say(
        f"Redis holds the chain up to block {done.height}, {done.unpublished} of it not published yet; "
        + ("it was put right" if done.differed else "it was right before")
    )


@rebuild.command()
def node(ctx: typer.Context) -> None:
    """Build the folder of the accounting node that the settings name again; stop that node first.

    What it signed and what is not published yet is taken over from the old folder, and from the cosignatures topic
    where that can't be read, so that it never signs a second block at a height.

    Example: bkdms --config settings/node-1.toml ledger rebuild node
    """
    done = _run(settings_of(ctx), rebuilding.rebuild_node)
    if done.unreadable:
        say(f"nothing was taken over from the old folder ({done.unreadable}), but what the topics hold")
    say(
        f"the node's folder holds block {done.height}, blocks up to {done.published} are published; "
        f"{done.signed} signing records are in it"
    )


@rebuild.command()
def store(
    ctx: typer.Context,
    *,
    lose_values: Annotated[
        bool,
        typer.Option(
            "--lose-values", help="Also where keys are missing for packets that are stored in clear."
        ),
    ] = False,
) -> None:
    """Build the platform's Table 10-3 store again, row by row as it was; stop the platform worker first.

    Needs the platform's settings and sealing keys. The old store stays until the new one is complete. Observations
    that were published are not published again.

    Example: bkdms --config settings/platform.toml ledger rebuild store
    """
    settings = settings_of(ctx)

    def work(settings: Settings, progress: rebuilding.Progress) -> Coroutine[Any, Any, StoreRebuilt]:
        return rebuild_store(settings, progress, lose_values=lose_values)

    done = _run(settings, work)
    say(f"the store holds the chain up to block {done.height}")
    if done.lost:
        say(f"{done.lost} packets that were in clear are not: their keys are missing")


@rebuild.command()
def tiles(ctx: typer.Context) -> None:
    """Write the exported tiles, bundles and checkpoint again where they differ; stop the exporter first.

    Needs the exporter's settings and the log's key. Files that are not of the tree are removed.

    Example: bkdms --config exporter.toml ledger rebuild tiles
    """
    done = _run(settings_of(ctx), rebuilding.rebuild_tiles)
    say(
        f"the export holds the log up to block {done.height}, {done.size} leaves; "
        f"{done.removed} files that were not of it are removed"
    )


def _run(settings: Settings, work: Callable[[Settings, rebuilding.Progress], Coroutine[Any, Any, _T]]) -> _T:
    with _progress() as progress:
        return asyncio.run(work(settings, progress))


@contextmanager
def _progress() -> Iterator[rebuilding.Progress]:
    """Give a progress bar over the records of the blocks topic, shown where standard error is a terminal."""
    columns = (TextColumn("verifying blocks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, end: bar.update(task, completed=done, total=end)
