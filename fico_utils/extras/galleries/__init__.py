"""Recall as a gallery grows, searching in two steps, and the choice of a way to search.

`growing` ranks the queries of the first scenes in a gallery that comes block by block (`ranking`, and `truth` for which
answers are right); `items` keeps what is searched, `screens` searches in two steps, `setups` measures ways to search
side by side, `choice` names the one that fits a budget; `sections` does it for the systems of a run.
"""

from fico_utils.extras.galleries.choice import choose_setup
from fico_utils.extras.galleries.growing import Growing, gallery_rows
from fico_utils.extras.galleries.screens import Screen
from fico_utils.extras.galleries.sections import asking_scenes, gallery_table, setup_table
from fico_utils.extras.galleries.setups import setup_rows
from fico_utils.extras.galleries.truth import Ceiling, Truth

__all__ = [
    "Ceiling",
    "Growing",
    "Screen",
    "Truth",
    "asking_scenes",
    "choose_setup",
    "gallery_rows",
    "gallery_table",
    "setup_rows",
    "setup_table",
]
