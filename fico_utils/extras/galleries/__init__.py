"""Recall as a gallery grows, searching in two steps, and the choice of a way to search.

`growing` ranks the queries of the first scenes in a gallery that comes block by block (`ranking`, and `truth` for which
answers are right); `screens` searches in two steps, `setups` measures ways to search side by side, `choice` names the
one that fits a budget.
"""

from fico_utils.extras.galleries.choice import choose_setup
from fico_utils.extras.galleries.growing import Growing, gallery_rows
from fico_utils.extras.galleries.screens import Screen
from fico_utils.extras.galleries.setups import setup_rows
from fico_utils.extras.galleries.truth import Ceiling, Truth

__all__ = ["Ceiling", "Growing", "Screen", "Truth", "choose_setup", "gallery_rows", "setup_rows"]
