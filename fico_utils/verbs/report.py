"""The verb `report`: the page about one run, or several runs side by side."""

from __future__ import annotations

import argparse
import os

from fico_utils import cli
from fico_utils.errors import InputError

HELP = "write the report of what is there, or compare runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_common_options(parser, changes=True)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="two or more results folders to show side by side")
    parser.add_argument("--across", action="store_true", help="compare although profiles or test splits differ")


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.batch.pipeline import prepare_batch

    if options.runs:
        from fico_utils.extras.comparison import write_comparison

        missing = [name for name in options.runs if not os.path.isdir(name)]
        if missing:
            raise InputError(f"the folder {missing[0]} does not exist; expected two or more results folders")
        print(write_comparison(options.runs, across=options.across))
        return 0
    batch = prepare_batch(options.profile, options.out, options.changes)
    if not (batch.root / "runs").is_dir():
        raise InputError(f"{batch.root} holds no runs to report; start with: python -m fico_utils run")
    print(cli.update_report(batch))
    return 0
