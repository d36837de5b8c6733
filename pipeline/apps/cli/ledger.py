"""``bkdms ledger``: what to do after disasters."""

import typer

from pipeline.apps.cli.rebuild import rebuild

ledger = typer.Typer(
    no_args_is_help=True, help="After disasters: build again, from the blocks, what was lost or damaged."
)
ledger.add_typer(rebuild, name="rebuild")


@ledger.callback()
def group() -> None:
    """Keep the group a group, whatever the number of its commands."""
