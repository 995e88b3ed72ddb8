"""The figures by name: `FIGURES`, filled by the modules of this folder and of the extras' ``figures/``."""

from fico_utils.display.catalogue import FIGURES, draw_figure

__all__ = ["FIGURES", "draw_figure"]

FIGURES.load_modules("fig", __name__, "fico_utils.extras.figures")
