"""A figure with its numbers and its words: same input, same bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Tick
from matplotlib.backend_bases import get_registered_canvas_class
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

from fico_utils import registry
from fico_utils.display.looks import QUIET
from fico_utils.escaping import csv_text, html_text, one_line, printable
from fico_utils.files import atomic_path
from fico_utils.workspace import Run

MM = 1 / 25.4
DPI = 200
#: Width of a printed column, inch.
COLUMN = 85 * MM
#: Letters of a title that fit beside each other in a column, all panels together.
TITLE_SIGNS = 44


@contextmanager
def drawing_style() -> Iterator[None]:
    """The package's drawing style and nothing else, whatever the reader has set; a function may wear it, too."""
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
        object.__setattr__(self, "alt", one_line(self.alt))
        _take_as_text(self.figure)
        with drawing_style():
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")

    def render(self, file_format: str) -> bytes:
        """The figure's bytes as ``svg``, ``pdf`` or ``png``, without dates."""
        tool = "fico_utils"
        metadata = {
            "svg": {"Date": None, "Creator": tool, "Description": self.alt},
            "pdf": {"CreationDate": None, "Creator": tool, "Producer": tool, "Subject": self.alt},
            "png": {"Software": tool, "Description": self.alt},
        }[file_format]
        canvas = get_registered_canvas_class(file_format)(self.figure)
        with drawing_style(), io.BytesIO() as buffer:
            self.figure.set_dpi(DPI)
            # not by `savefig`, which draws everything once more to find the layout that the figure has already
            getattr(canvas, f"print_{file_format}")(buffer, metadata=metadata)
            self.figure.set_dpi(DPI)  # files of lines are drawn at 72
            return buffer.getvalue()

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self.render("png")).decode()
        width = round(self.figure.get_figwidth() * 150)
        return f'<img width="{width}" alt="{html_text(self.alt)}" src="data:image/png;base64,{picture}">'


def _take_as_text(figure: Figure) -> None:
    """Draw every word as it was written, `$` and all; the powers of ten at a logarithmic axis stay mathematics."""
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    powers = [a for a in axes if isinstance(a.get_major_formatter(), LogFormatter)]
    numbers = {label for a in powers for tick in a.findobj(Tick) for label in (tick.label1, tick.label2)}
    for text in figure.findobj(lambda artist: isinstance(artist, Text) and artist not in numbers):
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))


def save_picture(picture: Picture, place: Run | str | Path, name: str) -> list[Path]:
    """Paths of ``name.svg``, ``name.pdf`` and ``name.csv`` (numbers), written to a folder or a run's ``figures/``."""
    table = csv_text(picture.data, "%.9g").encode()
    files = {"svg": picture.render("svg"), "pdf": picture.render("pdf"), "csv": table}
    return write_renditions(place, "figures", name, files)


def write_renditions(place: Run | str | Path, kind: str, name: str, files: Mapping[str, bytes]) -> list[Path]:
    """Paths of ``name.ending`` for each ending of `files`, written to a folder, or to the folder `kind` of a run."""
    folder = place.path(kind) if isinstance(place, Run) else Path(place)
    for ending, content in files.items():
        with atomic_path(folder / f"{name}.{ending}") as temporary:
            temporary.write_bytes(content)
    return [folder / f"{name}.{ending}" for ending in files]


def panel_grid(
    height: float, n_rows: int = 1, n_columns: int = 1, width: float = 85, **shared: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of some millimetres, by default as wide as a printed column, and its panels (n_rows, n_columns)."""
    figure = Figure(figsize=(width * MM, height * MM))
    return figure, figure.subplots(n_rows, n_columns, squeeze=False, **shared)


def panel_title(name: str, columns: int = 2) -> str:
    """A printed name above one of so many panels beside each other, on as many lines as it needs.

    >>> panel_title("PictoScenes diverse"), panel_title("PictoScenes diverse", 3)
    ('PictoScenes diverse', 'PictoScenes\\ndiverse')
    """
    return fill(name, TITLE_SIGNS // columns)


def millimetre_canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of some millimetres, and an empty drawing area whose unit is 1 mm."""
    figure = Figure(figsize=(width * MM, height * MM), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    return figure, ax


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


def legend_below(figure: Figure, looks: Sequence[Mapping[str, Any]], ncols: int, row_height: float = 3.6) -> None:
    """A legend below the panels, which keep their size: the figure grows by `row_height` mm a row beyond the second."""
    rows = -(-len(looks) // ncols)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + max(0, rows - 2) * row_height * MM)
    figure.legend(handles=[Line2D([], [], **look) for look in looks], loc="outside lower center", ncols=ncols)
