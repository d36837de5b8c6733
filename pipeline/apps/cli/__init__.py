"""The ``bkdms`` command line: one module per group of commands, imported only when it is used."""

from pipeline.apps.cli.root import main

__all__ = ["main"]
