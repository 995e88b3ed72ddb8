"""Recall as a gallery grows, searching in two steps, and the choice of a way to search: sections of notebook 05."""

from fico_utils.extras.galleries.choice import choose_setup
from fico_utils.extras.galleries.sections import asking_scenes, gallery_table, setup_table

__all__ = ["asking_scenes", "choose_setup", "gallery_table", "setup_table"]
