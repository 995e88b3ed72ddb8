"""A figure with its numbers and its words (same input, same bytes), and how systems look in every figure.

Colour is the family, marker and line are the system, grey is the paper, dotted is chance.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fico_utils import registry
from fico_utils.files import atomic_path
from fico_utils.workspace import Run

MM = 1 / 25.4
#: Width of a printed column, inch.
COLUMN = 85 * MM
#: Colours of lines and words that stand for no system, and of the paper's.
INK, QUIET, GREY = "#222222", "#767676", registry.PAPER_COLOUR
CHANCE = {"color": INK, "linestyle": (0, (1, 1.6)), "linewidth": 0.9}
DIRECTION_WORDS = {"i2t": "image-to-text", "t2i": "text-to-image"}
#: In a system's row image-to-text stands above text-to-image.
OFFSETS = {"i2t": -0.18, "t2i": 0.18}
#: Numbers as a sentence says them.
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def number_word(n: int) -> str:
    """`n` as a sentence says it.

    >>> number_word(6), number_word(12)
    ('six', '12')
    """
    return WORDS[n] if n < len(WORDS) else str(n)


@contextmanager
def drawing_style() -> Iterator[None]:
    """The package's drawing style and nothing else, whatever the reader has set."""
    with mpl.rc_context():
        mpl.rcdefaults()
        matplotlib.style.use(Path(__file__).with_name("fico.mplstyle"))
        yield


@dataclass(frozen=True)
class Picture:
    """A matplotlib figure, the numbers drawn in it (one row each), and a sentence for those who cannot see it."""

    figure: Figure
    data: pd.DataFrame
    alt: str

    def __post_init__(self) -> None:
        """Lay the figure out once: found again from the last one, a layout would differ in the third digit."""
        with drawing_style():
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")

    def render(self, file_format: str, dpi: int = 200) -> bytes:
        """The figure's bytes as ``svg``, ``pdf`` or ``png``, without dates."""
        tool = "fico_utils"
        metadata = {
            "svg": {"Date": None, "Creator": tool, "Description": self.alt},
            "pdf": {"CreationDate": None, "Creator": tool, "Producer": tool, "Subject": self.alt},
            "png": {"Software": tool, "Description": self.alt},
        }[file_format]
        with drawing_style(), io.BytesIO() as buffer:
            # A figure keeps the layout it was given; saving would give one without any that of the style.
            mpl.rcParams["figure.constrained_layout.use"] = False
            self.figure.savefig(buffer, format=file_format, dpi=dpi, metadata=metadata)
            return buffer.getvalue()

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self.render("png")).decode()
        width = round(self.figure.get_figwidth() * 150)
        return f'<img width="{width}" alt="{html.escape(self.alt)}" src="data:image/png;base64,{picture}">'


def save_picture(picture: Picture, place: Run | str | Path, name: str) -> list[Path]:
    """Paths of ``name.svg``, ``name.pdf`` and ``name.csv`` (numbers), written to a folder or a run's ``figures/``."""
    folder = place.path("figures") if isinstance(place, Run) else Path(place)
    table = picture.data.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()
    files = {"svg": picture.render("svg"), "pdf": picture.render("pdf"), "csv": table}
    for ending, content in files.items():
        with atomic_path(folder / f"{name}.{ending}") as temporary:
            temporary.write_bytes(content)
    return [folder / f"{name}.{ending}" for ending in files]


def millimetre_canvas(figure: Figure, width: float, height: float) -> Axes:
    """An empty drawing area whose unit is 1 mm."""
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    return ax


def system_look(system: registry.System | registry.Index) -> dict[str, Any]:
    """Keywords of a line for a system: colour of its family, its own marker and line."""
    face = "white" if getattr(system, "hollow", False) else system.colour
    return {
        "color": system.colour, "linestyle": system.line, "marker": system.marker, "markerfacecolor": face,
        "label": system.name,
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
