"""The verb `exercises`: derive the exercises from their solutions, or mark what students hand back."""

from __future__ import annotations

import argparse
import sys

from fico_utils.cli import natural_number

HELP = "derive the exercises from notebooks/solutions/, or mark the folders of students"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `exercises`."""
    mark = (
        "mark exercises instead: a folder for each student, as it was handed back. Its notebooks are executed, so code "
        "that students wrote runs as you, with your rights: use an account or a machine where nothing is at stake"
    )
    parser.add_argument("--mark", nargs="+", metavar="FOLDER", help=mark)
    parser.add_argument("--to", metavar="FILE", help="with --mark: the CSV to write (default: to the screen)")
    limit = "with --mark: seconds that a cell of a student may take (default: 60)"
    parser.add_argument("--limit", type=natural_number, default=60, metavar="SECONDS", help=limit)


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.extras.exercises import write_exercises
    from fico_utils.provenance import PROJECT

    if not options.mark:
        for path in write_exercises(PROJECT / "notebooks"):
            print(path.relative_to(PROJECT))
        return 0
    import pandas as pd

    from fico_utils.escaping import csv_text, one_line, printable
    from fico_utils.extras.marking import COLUMNS, mark_folders
    from fico_utils.files import write_text

    rows = mark_folders(options.mark, options.limit, lambda line: print(one_line(line), file=sys.stderr, flush=True))
    table = csv_text(pd.DataFrame(rows, columns=list(COLUMNS), dtype=str))
    if options.to:
        write_text(options.to, table)
    else:
        print(printable(table), end="")
    return 0
