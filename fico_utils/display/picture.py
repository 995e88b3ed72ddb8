"""A figure with its numbers and its words, written as SVG, PDF and CSV: same input, same bytes."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fico_utils.files import atomic_path
from fico_utils.workspace import Run

STYLE = Path(__file__).with_name("fico.mplstyle")
MM = 1 / 25.4
#: Width of a printed column, inch.
COLUMN = 85 * MM
#: Colours of lines and words that stand for no system.
INK, QUIET = "#222222", "#767676"


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
        matplotlib.style.use(STYLE)
        yield


def millimetre_canvas(figure: Figure, width: float, height: float) -> Axes:
    """An empty drawing area whose unit is 1 mm."""
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(0, width)
    ax.set_ylim(0, height)
    ax.set_axis_off()
    return ax


@dataclass(frozen=True)
class Picture:
    """A figure, the numbers drawn in it, and a sentence for those who cannot see it.

    Attributes
    ----------
    figure : matplotlib Figure
    data : DataFrame, one row a drawn number.
    alt : str, alternative text.
    """

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
        metadata = {
            "svg": {"Date": None, "Creator": "fico_utils", "Description": self.alt},
            "pdf": {
                "CreationDate": None,
                "Creator": "fico_utils",
                "Producer": "fico_utils",
                "Subject": self.alt,
            },
            "png": {"Software": "fico_utils", "Description": self.alt},
        }
        with drawing_style(), io.BytesIO() as buffer:
            # A figure keeps the layout it was given; saving would give one without any that of the style.
            mpl.rcParams["figure.constrained_layout.use"] = False
            self.figure.savefig(buffer, format=file_format, dpi=dpi, metadata=metadata[file_format])
            return buffer.getvalue()

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self.render("png")).decode()
        width = round(self.figure.get_figwidth() * 150)
        return f'<img width="{width}" alt="{html.escape(self.alt)}" src="data:image/png;base64,{picture}">'


def save_picture(picture: Picture, place: Run | str | Path, name: str) -> list[Path]:
    """Paths of ``name.svg``, ``name.pdf`` and ``name.csv`` (the plotted numbers), written.

    Parameters
    ----------
    picture : Picture
    place : Run (then ``figures/`` below it), or a folder.
    name : str, the stem of the files.
    """
    folder = place.path("figures") if isinstance(place, Run) else Path(place)
    table = picture.data.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()
    files = {"svg": picture.render("svg"), "pdf": picture.render("pdf"), "csv": table}
    paths = []
    for ending, content in files.items():
        paths.append(folder / f"{name}.{ending}")
        with atomic_path(paths[-1]) as temporary:
            temporary.write_bytes(content)
    return paths
