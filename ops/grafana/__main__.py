"""``python -m ops.grafana`` writes the dashboards' JSON files from their source."""

import sys

from ops.grafana.board import text_of
from ops.grafana.boards import BOARDS


def main() -> None:
    """Write every dashboard's file and tell which."""
    for board in BOARDS:
        board.file.write_text(text_of(board), "utf-8")
        sys.stderr.write(f"{board.file}\n")


if __name__ == "__main__":
    main()
