"""The verb `seeds`: how far the seed moves each number."""

from __future__ import annotations

import argparse

HELP = "how far the seed moves each number: put runs of one profile together"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `seeds`."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two or more results folders, each of another seed")
    parser.add_argument("--to", metavar="FILE", help="CSV to write (default: seeds.csv in the first folder)")


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.extras.seeds import write_seeds

    print(write_seeds(options.runs, options.to or options.runs[0]))
    return 0
