"""``python -m ops.oracle.make_plan``: write the plan of the bundled data, or show what a plan expects."""

import argparse
import json
import sys
from pathlib import Path

from ops.oracle.input_error import InputError
from ops.oracle.plan import Plan, load_plan, planned_records, sample_plan, write_plan


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code: 0 good, 2 usage or input."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "expected":
            _show(load_plan(options.plan))
        else:
            bounds = {"rows_per_file": options.rows_per_file, "rows_per_site": options.rows_per_site}
            write_plan(sample_plan(options.samples, **bounds), options.output)
    except (InputError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.oracle.make_plan", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write", help="write the plan of the bundled data")
    write.add_argument("--samples", type=Path, required=True, help="folder of the bundled CSV files")
    write.add_argument("--rows-per-file", type=int, help="take the first N data rows of each file")
    write.add_argument("--rows-per-site", type=int, help="take the first N rows of each site")
    write.add_argument("-o", "--output", type=Path, required=True, help="plan file to write")
    expected = commands.add_parser("expected", help="print every expected value as one JSON array a line")
    expected.add_argument("--plan", type=Path, required=True, help="plan file to read")
    return parser


def _show(plan: Plan) -> None:
    for site in plan.sites:
        for record in planned_records(plan, site):
            for point, amount in record:
                row = [
                    *point.place,
                    point.time_ms,
                    point.indicator,
                    point.data_point,
                    f"{amount.value:f}",
                    amount.unit,
                ]
                sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    sys.exit(main())
