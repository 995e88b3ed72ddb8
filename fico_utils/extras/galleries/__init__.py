"""Recall as a gallery grows, searching in two steps, and the choice of a way to search.

`growing` ranks the queries of the first scenes in a gallery that comes block by block (`ranking`, and `truth` for which
answers are right); `screens` searches in two steps, `setups` measures ways to search side by side, `choice` names the
one that fits a budget; `sections` does it for the systems of a run.
"""

from fico_utils.extras.galleries.choice import choose_setup
from fico_utils.extras.galleries.sections import asking_scenes, gallery_table, setup_table

__all__ = ["asking_scenes", "choose_setup", "gallery_table", "setup_table"]
