"""The figures by name: `FIGURES`, filled by the modules of this folder and of the extras' ``figures/``."""

from __future__ import annotations

from typing import Any

from fico_utils.display.catalogue import FIGURES, load_entries
from fico_utils.display.picture import Picture

__all__ = ["FIGURES", "draw_figure"]

load_entries(FIGURES, "fig", __name__, "fico_utils.extras.figures")


def draw_figure(name: str, *tables: Any, **options: Any) -> Picture:
    """A figure by its name, such as ``draw_figure("fig3", metrics, corpora=["picto_people"])``."""
    return FIGURES[name](*tables, **options)
