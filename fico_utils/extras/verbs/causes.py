"""The verb `causes`: train the grid of causes, and write it with its figure and its table."""

from __future__ import annotations

import argparse

from fico_utils import cli

HELP = "equal features and equal training: train the grid, say what a lead follows"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `causes`."""
    cli.add_common_options(parser, "causes", changes=True)
    parser.add_argument("--redraw", action="store_true", help="train nothing; write again what the run's cells give")


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from itertools import product

    from fico_utils.batch.pipeline import prepare_batch
    from fico_utils.display.picture import save_picture
    from fico_utils.experiment.model_inputs import read_kind
    from fico_utils.extras import causes
    from fico_utils.extras.figures.causes import draw_causes
    from fico_utils.files import write_text
    from fico_utils.workspace import setup

    made = setup(**prepare_batch(options.profile, options.out, options.changes, steps=()).settings)
    say = cli.progress_printer(options.quiet)
    cells = [] if options.redraw else [*product(made["corpora"], made["systems"])]
    for name, system in cells:
        read_kind(causes.cell_run(made, name, features="patches"), system, name)  # what cannot be read is said at once
    for (name, system), cell in product(cells, causes.CELLS):
        say(f"{system} on {name}, {', '.join(cell)} training, in {causes.write_part(made, system, name, *cell)}")
    grid = causes.merge_parts(made)
    save_picture(draw_causes(grid), made, "causes")
    text = causes.causes_text(grid)  # last, as it asks for every cell
    write_text(made.path("causes.md"), text)
    print(*text.split("\n\n")[:2], sep="\n")  # the sentences
    print(f"the grid of causes in {made.path('grid.csv')}")
    return 0
