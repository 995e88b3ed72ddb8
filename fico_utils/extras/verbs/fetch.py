"""The verb `fetch`: say what corpora need, get what may be downloaded, check all of it."""

from __future__ import annotations

import argparse

from fico_utils import cli

HELP = "say what corpora need, get what may be downloaded, check all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fetch`."""
    cli.add_common_options(parser, changes=True)
    parser.add_argument(
        "corpora", nargs="*", metavar="CORPUS",
        help="an id, a folder of your own by name or path, released, or towers; default: what the profile reads",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.extras.corpora.fetching import fetch
    from fico_utils.profiles import profile_settings
    from fico_utils.provenance import PROJECT

    settings = profile_settings(options.profile, options.changes)
    folder = PROJECT / settings["data_dir"]
    say = cli.progress_printer(options.quiet)
    asked = "towers" in (settings["visual_features"], settings["text_features"])
    read = [*settings["corpora"], *(["towers"] if asked else [])]
    fetch(options.corpora or read, folder, say, progress=not options.quiet)
    return 0
