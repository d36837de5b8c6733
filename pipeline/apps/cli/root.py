"""The top of the command line: global options, the table of commands, and what users see of errors.

Exit codes: 0 good, 1 found something wrong and named it, 2 usage or settings, 130 interrupted.
"""

import os
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline.adapters.process_memory import keep_memory_private
from pipeline.apps.cli.context import CliContext, say
from pipeline.apps.cli.lazy import LazyEntry, lazy_group
from pipeline.core.errors import BkdmsError, ConfigError

EXIT_FOUND_WRONG = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
DEBUG_VARIABLE = "BKDMS_DEBUG"

_HERE = "pipeline.apps.cli"
COMMANDS = {
    "up": LazyEntry(f"{_HERE}.stack", "Run everything on this machine: Kafka, Redis, workers, API."),
    "down": LazyEntry(f"{_HERE}.stack", "Stop what `up` started; the ledger stays."),
    "status": LazyEntry(f"{_HERE}.stack", "Show each running part, its address, lag and heights."),
    "demo": LazyEntry(f"{_HERE}.demo", "Run the whole pipeline on bundled real data and prove the result."),
    "genesis": LazyEntry(f"{_HERE}.authority", "Make a new chain: keys, genesis file, auditors' policy."),
    "registrar": LazyEntry(f"{_HERE}.authority", "Decide which sites may send what: approve, revoke, grant."),
    "root": LazyEntry(f"{_HERE}.roots", "Replace registrars, nodes, contract or rules by enough root keys."),
    "pki": LazyEntry(f"{_HERE}.pki", "Issue transport certificates for more programs."),
    "provision": LazyEntry(
        f"{_HERE}.provision", "Make ready for machines, servers or containers of your own."
    ),
    "keys": LazyEntry(f"{_HERE}.keys", "Keys at rest: seal, list, destroy, change the passphrase.", "site"),
    "attach": LazyEntry(f"{_HERE}.attach", "Let a consumer read topics: certificate, rights, settings."),
    "site": LazyEntry(f"{_HERE}.site", "At a sampling site: ask for access, collect and send.", "site"),
    "worker": LazyEntry(f"{_HERE}.worker", "Run one stream worker: validate, account, platform, export."),
    "serve": LazyEntry(f"{_HERE}.serve", "Serve the HTTP API: site heads, traces, schemas, metrics."),
    "token": LazyEntry(f"{_HERE}.token", "Tokens for the API, of the issuer on this machine."),
    "access-log": LazyEntry(
        f"{_HERE}.access_log", "The API's access log: check it, anchor it in the ledger."
    ),
    "verify": LazyEntry(f"{_HERE}.audit", "Audit a whole chain and name the first thing that is wrong."),
    "export": LazyEntry(f"{_HERE}.export", "Write the ledger for outsiders: tiles, or a file of blocks."),
    "store": LazyEntry(
        f"{_HERE}.store", "The platform's store: bring its tables to this release, show them."
    ),
    "ledger": LazyEntry(f"{_HERE}.ledger", "After disasters: rebuild what was lost or damaged."),
    "backup": LazyEntry(f"{_HERE}.backup", "Copy what can't be rebuilt, check such a copy, live on from it."),
    "bench": LazyEntry(f"{_HERE}.bench", "Measure this machine: proofs, stages, memory."),
    "chaos": LazyEntry(f"{_HERE}.chaos", "Break parts of a real stack under load; nothing may be lost."),
    "tail": LazyEntry(f"{_HERE}.tail", "Show the records of a topic, decoded, filtered, followed."),
    "assess": LazyEntry(f"{_HERE}.assess", "Assess the store once: quality, availability, values, scores."),
    "trace": LazyEntry(f"{_HERE}.audit", "Show where a value came from, by its tracing code."),
    "prove": LazyEntry(f"{_HERE}.prove", "Write a portable proof of a packet, with chosen records or none."),
    "check-proof": LazyEntry(f"{_HERE}.proof", "Check such a proof offline, with a policy file and no more."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    name="bkdms",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  only when asked for

        print(version("bkdms"))
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="BKDMS_CONFIG",
            help="Settings file. Without it: ./bkdms.toml, then bkdms.toml in the data folder, if there.",
        ),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and end.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """City indicators from sampling sites into a verifiable ledger (ITU-T Y.4907, Y.4810).

    Settings come from a TOML file and from environment variables: key `bootstrap` of table kafka is
    BKDMS_KAFKA__BOOTSTRAP there.
    Data goes to standard output, talk to standard error. Every command has its own --help.
    """
    keep_memory_private()
    ctx.obj = CliContext(config)


def main(arguments: list[str] | None = None) -> None:
    """Run ``bkdms`` and end the process; users never see a stack trace unless BKDMS_DEBUG=1."""
    try:
        app(args=arguments, prog_name="bkdms")
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BkdmsError as error:
        if _is_debug():
            traceback.print_exc()
        say(f"error: {error}")
        sys.exit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FOUND_WRONG)
    except Exception as error:
        if _is_debug():
            traceback.print_exc()
        place = _log_defect(error)
        say(
            f"error: bkdms stopped on a defect of its own ({type(error).__name__}); "
            f"details are in {place}. Set {DEBUG_VARIABLE}=1 to see them here."
        )
        sys.exit(EXIT_FOUND_WRONG)


def _is_debug() -> bool:
    return os.environ.get(DEBUG_VARIABLE) == "1"


def _log_defect(error: Exception) -> Path:
    """Append the trace to a private file of this user and return its path."""
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "bkdms"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="bkdms-"))
    path = folder / "defects.log"
    text = "".join(traceback.format_exception(error))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
        file.write(f"{datetime.now(UTC).isoformat()} pid {os.getpid()}\n{text}\n")
    return path
