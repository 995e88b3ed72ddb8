"""The verb `slides`: the figures of a run as one PDF, a figure a page, to show in a lecture."""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path
from textwrap import fill
from typing import Any

from fico_utils import cli, registry
from fico_utils.errors import InputError
from fico_utils.escaping import printable
from fico_utils.extras.corpora.pictures import svg_renderer
from fico_utils.extras.corpora.reading import first_line, read_utf8
from fico_utils.files import atomic_path
from fico_utils.profiles import results_folder
from fico_utils.results.store import read_csv

HELP = "the figures of a run as one PDF, a figure a page"
AGAIN = "run notebook 06 again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `slides`."""
    cli.add_common_options(parser)
    parser.add_argument("--to", metavar="FILE", help="PDF to write (default: slides.pdf in the results folder)")


def run(options: argparse.Namespace) -> int:
    """Exit code, 0. InputError where the folder holds no figures."""
    from matplotlib.backends.backend_pdf import PdfPages

    from fico_utils.display.figures import FIGURES

    root = results_folder(options.profile, options.out)
    folder = root / "figures" if (root / "figures").is_dir() else root  # as figures/ of the project has them
    names = [name for name in FIGURES if (folder / f"{name}.svg").is_file()]
    if not names:
        raise InputError(f"{folder} holds no figures; make them with: python -m fico_utils run --profile {root.name}")
    target = Path(options.to or root / "slides.pdf")
    with atomic_path(target) as temporary, PdfPages(temporary, metadata={"CreationDate": None}) as pdf:
        for name in names:
            source = describe_source(folder / f"{name}.csv", root.name)
            pdf.savefig(draw_page(folder / f"{name}.svg", FIGURES[name].title, FIGURES[name].sentence, source))
    print(target)
    return 0


def describe_source(path: Path, profile: str) -> str:
    """Whose the numbers of a figure are, from which run or table, and on which corpora: by the CSV beside it."""
    from fico_utils.display.rows import run_in_words

    data, said = read_csv(path, "figure's", AGAIN, AGAIN), []
    for source, rows in data.groupby("source") if {"run", "source"} <= {*data} else ():
        if source in ("ours", "paper"):
            runs = "; ".join(map(run_in_words, rows["run"].unique()))
            corpora = filter(None, rows["corpus"].unique()) if "corpus" in rows else []
            said.append("; ".join([f"{source}: {runs}", *(registry.corpus(corpus).name for corpus in corpora)]))
    return "\n".join(said) or f"ours: {profile} profile; seed and corpus, where there are any, stand in the picture"


def draw_page(path: Path, title: str, sentence: str, source: str) -> Any:
    """A page: the title, the picture of an SVG file, what it shows in a sentence beside it, and its source below."""
    import matplotlib.pyplot as plt
    from matplotlib import get_data_path
    from matplotlib.figure import Figure

    page = Figure(figsize=(13.33, 7.5))
    place = page.add_axes((0.02, 0.03, 0.63, 0.94))  # 8.4 by 7.05 inches
    points = re.search(r'<svg[^>]* width="(\d{2,4}(?:\.\d+)?)pt" height="(\d{2,4}(?:\.\d+)?)pt"', read_utf8(path))
    if points is None:
        raise InputError(f"{path} is no figure of ours, which says its size in points; {AGAIN}")
    larger = min(8.4 * 72 / float(points[1]), 7.05 * 72 / float(points[2]))
    fonts = {"font_dirs": [f"{get_data_path()}/fonts/ttf"], "skip_system_fonts": True}
    try:
        drawn = svg_renderer("slides")(svg_path=str(path), dpi=200 * larger, **fonts)  # 200 pixels to an inch
    except ValueError as error:
        raise InputError(f"{path} cannot be drawn ({first_line(error)}); {AGAIN}") from error
    place.imshow(plt.imread(io.BytesIO(bytes(drawn))), interpolation="none")
    place.set_axis_off()
    for y, text, letters, look in (
        (0.94, title, 22, {"fontsize": 20, "weight": "bold"}),
        (0.76, sentence, 33, {"fontsize": 14, "linespacing": 1.4}),
        (0.16, source, 54, {"fontsize": 9, "color": "#555555"}),
    ):
        lines = [fill(line, letters) for line in printable(text).splitlines()]
        page.text(0.68, y, "\n".join(lines), va="top", parse_math=False, **look)
    return page
