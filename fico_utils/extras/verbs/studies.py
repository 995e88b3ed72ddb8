"""The verb `studies`: what real pictures say beside the tables."""

from __future__ import annotations

import argparse

from fico_utils import cli

HELP = "real pictures: what counts as right, whose words, how many pictures, other pictures, a sheet"
#: Names of the studies, in the order in which they are done.
STUDIES = ("relevance", "words", "others", "learning", "sheet")
#: The systems of the sheet, two of each family.
SHEET = ("beit3", "xvlm", "scan", "vsrn", "adv_2048", "ucch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `studies`."""
    cli.add_common_options(parser, changes=True)
    parser.add_argument(
        "only", nargs="*", metavar="STUDY", help="relevance, words, others, learning, sheet; default: all"
    )


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.batch.pipeline import prepare_batch
    from fico_utils.errors import InputError
    from fico_utils.extras.towers import study
    from fico_utils.workspace import setup

    for name in options.only:
        if name not in STUDIES:
            raise InputError(f"there is no study {name!r}; expected any of {', '.join(STUDIES)}")
    asked = options.only or STUDIES
    made = setup(**prepare_batch(options.profile, options.out, options.changes, steps=()).settings)
    corpus = made["corpora"][0]
    for name in STUDIES[:-1]:
        if name in asked:
            print(f"{name} of {corpus} in {study.write_study(made, corpus, name)}")
    if "sheet" in asked:
        from fico_utils.files import atomic_path

        with atomic_path(made.path("sheet.png")) as path:
            path.write_bytes(study.draw_sheet(made, corpus, SHEET).render("png"))
        print(f"what systems find first in {made.path('sheet.png')}")
    return 0
