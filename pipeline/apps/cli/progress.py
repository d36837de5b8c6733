"""Progress of long work, on standard error, where that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def block_progress() -> Iterator[Callable[[int], None]]:
    """Give a line that hears heights."""
    columns = (SpinnerColumn(), TextColumn("block {task.completed}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda height: bar.update(task, completed=height)
