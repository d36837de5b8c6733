"""Tables on standard output: columns as wide as their longest cell, numbers to the right."""

from collections.abc import Sequence

from pipeline.apps.bench.report.figure import Figure


def table(head: Sequence[str], rows: Sequence[Sequence[str | float | Figure]]) -> str:
    """Return lines of cells under ``head``; floats and figures stand to the right, figures with their unit."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    right = [
        all(not isinstance(row[number], str) for row in rows) and bool(rows) for number in range(len(head))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in [list(head), *cells]
    )


def _cell(cell: str | float | Figure) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Figure):
        return f"{cell.shown()} {cell.unit}".rstrip()
    return Figure("", cell).shown()
