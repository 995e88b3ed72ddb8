"""The verb `precomputed`: recompute the paper's tables from the authors' released files."""

from __future__ import annotations

import argparse

from fico_utils import cli
from fico_utils.errors import InputError

HELP = "recompute the paper's tables from the authors' release"
PROFILE = "precomputed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `precomputed`."""
    cli.add_common_options(parser, PROFILE, changes=True)
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="of the release; default: data_dir/released")


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.batch.pipeline import STEPS
    from fico_utils.extras.corpora.fetching import RELEASE
    from fico_utils.extras.pages.report import write_report
    from fico_utils.extras.recomputed import recompute_tables
    from fico_utils.locks import hold_locks
    from fico_utils.profiles import profile_settings, results_folder
    from fico_utils.provenance import PROJECT
    from fico_utils.workspace import Run

    if options.profile != PROFILE:
        raise InputError(f"--profile was given {options.profile!r}; this verb works with the profile {PROFILE} alone")
    settings = profile_settings(PROFILE, options.changes)
    folder = getattr(options, "folder", None) or PROJECT / settings["data_dir"] / RELEASE
    run_ = Run(PROFILE, settings["seed"], results_folder(PROFILE, options.out), settings)
    with hold_locks(run_.root / "runs", [step.notebook for step in STEPS]):
        sentence = recompute_tables(run_, folder, cli.progress_printer(options.quiet))
        if not options.quiet:
            print(sentence, flush=True)
        print(write_report(run_.root, PROFILE, []))
    return 0
