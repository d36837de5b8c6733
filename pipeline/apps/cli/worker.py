"""``bkdms worker``: the stream workers. Each is imported only when it is run."""

import typer

from pipeline.apps.cli.lazy import LazyEntry, lazy_group

_HERE = "pipeline.apps.workers"
WORKERS = {
    "validate": LazyEntry(f"{_HERE}.validate", "Filter packets: let genuine ones through to the chain log."),
    "account": LazyEntry(
        f"{_HERE}.account", "Run an accounting node: derive, cosign, commit, publish blocks."
    ),
    "platform": LazyEntry(f"{_HERE}.platform", "Check blocks, open packets, fill the Table 10-3 store."),
    "parquet": LazyEntry(
        f"{_HERE}.parquet", "Write observations to Parquet files, each value once.", "parquet"
    ),
    "assess": LazyEntry(f"{_HERE}.assess", "Assess what is stored: quality, availability, values, scores."),
    "export": LazyEntry(f"{_HERE}.export", "Write tiles and the signed checkpoint for outsiders."),
}

worker = typer.Typer(
    cls=lazy_group(WORKERS),
    no_args_is_help=True,
    help="Run one stream worker until Ctrl-C or SIGTERM; run more of them to scale. "
    "Metrics are at /metrics of worker.metrics_port, health at /health/live and /health/ready.",
)


@worker.callback()
def group() -> None:
    """Keep the group a group, whatever the number of its commands."""
