"""A Typer group that imports a command's module only when the command is run.

So ``bkdms --help`` stays fast, and a site runs its agent without the packages of the workers.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from pipeline.core.errors import ConfigError

_OWN_PACKAGES = frozenset({"pipeline", "schemas", "connectors", "ops"})


@dataclass(frozen=True, slots=True)
class LazyEntry:
    """Where a command is: ``module`` has an attribute of its name (``_`` for ``-``), a function or a ``Typer``.

    ``summary`` is its line in the list of commands; ``extra`` the optional packages that it needs.
    """

    module: str
    summary: str
    extra: str = "worker"


def lazy_group(entries: dict[str, LazyEntry]) -> type[TyperGroup]:
    """Return a group class whose commands are ``entries``, in their order."""

    class LazyGroup(TyperGroup):
        """Lists placeholders and swaps one for its command when it is called."""

        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for name, entry in entries.items():
                self.add_command(TyperCommand(name, help=entry.summary))

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            """Import the named command, then go on as usual."""
            if args[0] in entries:
                self.commands[args[0]] = _load(args[0], entries[args[0]])
            return super().resolve_command(ctx, args)

        def invoke(self, ctx: Any) -> Any:
            """Run the command; name the extra to install where one of its packages is not there."""
            try:
                return super().invoke(ctx)
            except ModuleNotFoundError as error:
                _refuse(error, ctx.invoked_subcommand, entries)

    return LazyGroup


def _load(name: str, entry: LazyEntry) -> Any:
    try:
        found = getattr(import_module(entry.module), name.replace("-", "_"))
    except ModuleNotFoundError as error:
        _refuse(error, name, {name: entry})
    holder = typer.Typer(add_completion=False)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name)(found)
    holder.callback()(lambda: None)  # makes it a group however many commands it has
    return typer.main.get_group(holder).commands[name]


def _refuse(error: ModuleNotFoundError, command: str | None, entries: dict[str, LazyEntry]) -> NoReturn:
    package = (error.name or "").partition(".")[0]
    if package in _OWN_PACKAGES or command not in entries:
        raise error
    extra = entries[command].extra
    raise ConfigError(
        f"`bkdms {command}` needs the package {package}, which is not installed; "
        f"run: pip install 'bkdms[{extra}]'",
        code="config.extra",
    ) from error
