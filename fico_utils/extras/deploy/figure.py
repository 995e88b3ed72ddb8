"""The candidates as a figure: what they find against time and bytes, with their names where a mouse points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fico_utils.display.looks import INK, QUIET
from fico_utils.display.picture import Picture, drawing_style, panel_grid
from fico_utils.escaping import html_text
from fico_utils.extras.deploy.candidates import EXACT
from fico_utils.extras.setups import pareto_front

if TYPE_CHECKING:
    import pandas as pd

#: Column of each horizontal axis, and what stands below it.
PANELS = {"query_ms": "ms a query (log scale)", "bytes_per_item": "bytes an item (log scale)"}
#: Whether it is of codes -> what a marker stands for.
LOOKS = {
    False: {"marker": "o", "color": "#1f77b4", "linestyle": "none", "markersize": 3.5, "label": "index of vectors"},
    True: {"marker": "s", "color": "#d95f02", "linestyle": "none", "markersize": 3.5, "label": "codes"},
}
PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px system-ui;max-width:50em;margin:2em auto}}svg{{width:100%;height:auto}}
g[id^=row]:hover{{stroke:#000}}pre{{white-space:pre-wrap}}</style>
<h1>{title}</h1><p>Point at a marker for its name; filled ones are on the front of recall, time and bytes.</p>
{svg}<pre>{answer}</pre></html>
"""


@drawing_style()
def draw_candidates(rows: pd.DataFrame, quality: str) -> Picture:
    """The metric `quality` against milliseconds a query and bytes an item, of the rows of one size.

    Filled markers are on the front of all three; the dotted line is the exhaustive search.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    front = pareto_front(rows[[quality, *PANELS]].to_numpy(), ("max", "min", "min"))
    rows = rows.assign(front=front).reset_index(drop=True)
    figure, axes = panel_grid(112, 2, sharey=True)
    for ax, (column, label) in zip(axes.flat, PANELS.items(), strict=True):
        for at in rows.itertuples():
            look = LOOKS[bool(at.codes)] | {"markerfacecolor": LOOKS[bool(at.codes)]["color"] if at.front else "white"}
            ax.plot(rows.loc[at.Index, column], rows.loc[at.Index, quality], gid=f"row{at.Index}", **look)
        ax.axhline(rows.loc[rows["name"] == EXACT, quality].iloc[0], color=INK, linewidth=0.5, linestyle=":")
        ax.set(xscale="log", xlabel=label, ylabel=quality)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.margins(x=0.1, y=0.12)
    handles = [axes.flat[0].plot([], [], **look)[0] for look in LOOKS.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, labelcolor=QUIET)
    said = "; ".join(name_points(rows[rows["front"]], quality))
    sizes = f"{len(rows)} ways to search {rows['items'].iloc[0]:,} items"
    return Picture(figure, rows, f"{sizes}: {quality} against time and bytes. On the front of all three: {said}.")


def name_points(rows: pd.DataFrame, quality: str) -> list[str]:
    """What is said of each row."""
    return [
        f"{r['name']}: {quality} {r[quality]:.3f}, {r['query_ms']:.3g} ms, {r['bytes_per_item']:,.0f} bytes an item"
        for r in rows.to_dict("records")
    ]


def hover_svg(picture: Picture, quality: str) -> str:
    """The figure as SVG, each marker with its name as title, which browsers show where a mouse points."""
    svg = picture.render("svg").decode()
    for number, name in enumerate(name_points(picture.data, quality)):
        svg = svg.replace(f'<g id="row{number}">', f'<g id="row{number}"><title>{html_text(name)}</title>')
    return svg


def hover_page(picture: Picture, quality: str, answer: str) -> str:
    """The figure and the answer as a page of its own, without a script or another file."""
    svg = hover_svg(picture, quality)
    title = html_text(picture.alt.partition(":")[0])
    return PAGE.format(title=title, svg=svg[svg.index("<svg") :], answer=html_text(answer))
