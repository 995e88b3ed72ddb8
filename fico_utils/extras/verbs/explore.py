"""The verb `explore`: a page in which anybody searches with words of their own."""

from __future__ import annotations

import argparse

from fico_utils import cli

HELP = "make one HTML file that searches in the browser, from the results of a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `explore`."""
    cli.add_common_options(parser, changes=True)
    parser.add_argument("corpus", nargs="?", help="whose test pictures are searched (default: the first of the run)")


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.batch.pipeline import prepare_batch
    from fico_utils.extras.explore.page import write_explorer
    from fico_utils.workspace import setup

    batch = prepare_batch(options.profile, options.out, options.changes, steps=())
    print(write_explorer(setup(**batch.settings), options.corpus))
    return 0
