"""How things look in every figure: colour is the family, marker and line the system, grey the paper, dotted chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fico_utils import registry
from fico_utils.display.picture import INK, MM, QUIET

GREY = registry.PAPER_COLOUR
CHANCE = {"color": INK, "linestyle": (0, (1, 1.6)), "linewidth": 0.9}
DIRECTION_WORDS = {"i2t": "image-to-text", "t2i": "text-to-image"}
#: In a system's row image-to-text stands above text-to-image.
OFFSETS = {"i2t": -0.18, "t2i": 0.18}


def system_look(system: registry.System | registry.Index) -> dict[str, Any]:
    """Keywords of a line for a system: colour of its family, its own marker and line."""
    hollow = getattr(system, "hollow", False)
    return {
        "color": system.colour, "linestyle": system.line, "marker": system.marker,
        "markerfacecolor": "white" if hollow else system.colour, "label": system.name,
    }  # fmt: skip


def paper_look(line: str, marker: str = "o") -> dict[str, Any]:
    """Keywords of a line for the paper's values: quiet grey, hollow."""
    return {
        "color": GREY, "linestyle": line, "linewidth": 0.6, "marker": marker, "markersize": 2.8,
        "markerfacecolor": "white", "markeredgewidth": 0.5, "zorder": 1.5,
    }  # fmt: skip


def note_unavailable(ax: Axes, n_rows: int | None = None) -> None:
    """Say in a panel that there is nothing to draw; `n_rows`: of a panel with a row for each system."""
    ax.text(0.5, 0.5, "unavailable", transform=ax.transAxes, ha="center", va="center", color=QUIET)
    if n_rows is not None:
        ax.set_yticks([])
        ax.set_ylim(max(n_rows, 1) - 0.5, -0.5)


def name_rows(ax: Axes, systems: Sequence[str]) -> None:
    """One row for each system, the first on top."""
    ax.set_yticks(range(len(systems)), [registry.system(s).name for s in systems])
    ax.set_ylim(len(systems) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def legend_below(figure: Figure, handles: list[Line2D], ncols: int) -> None:
    """A legend below the panels, which keep their size: the figure grows by the rows beyond the second."""
    rows = -(-len(handles) // ncols)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + max(0, rows - 2) * 3.6 * MM)
    figure.legend(handles=handles, loc="outside lower center", ncols=ncols)
