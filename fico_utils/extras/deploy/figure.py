"""The candidates as a figure: what they find against time and bytes; as SVG, and as a page with names on hover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fico_utils.display.looks import INK, QUIET
from fico_utils.display.picture import Picture, drawing_style, panel_grid
from fico_utils.escaping import html_text
from fico_utils.extras.deploy.candidates import EXACT
from fico_utils.extras.deploy.result import QUALITY, Deployment
from fico_utils.extras.setups import pareto_front

if TYPE_CHECKING:
    import pandas as pd

#: Horizontal axes: column, and what stands below.
PANELS = (("query_ms", "ms a query (log scale)"), ("bytes_per_item", "bytes an item (log scale)"))
#: What a marker stands for, and its colour.
VECTORS, CODES = ("index of vectors", "#1f77b4"), ("codes", "#d95f02")


def front_of(rows: pd.DataFrame, quality: str = QUALITY) -> np.ndarray:
    """Which rows no other beats in quality, time and bytes, bool (n,)."""
    return pareto_front(rows[[quality, "query_ms", "bytes_per_item"]].to_numpy(), ("max", "min", "min"))


@drawing_style()
def draw_candidates(rows: pd.DataFrame) -> Picture:
    """Recall@1 against milliseconds a query and bytes an item of the rows of one size; the front has rings."""
    rows = rows.assign(front=front_of(rows)).reset_index(drop=True)
    figure, axes = panel_grid(112, 2, sharey=True)
    for ax, (column, label) in zip(axes.flat, PANELS, strict=True):
        for is_coded, (name, colour) in ((False, VECTORS), (True, CODES)):
            some = rows[(rows["codes"] != "") == is_coded]
            marker = "s" if is_coded else "o"
            ax.plot(
                some[column], some[QUALITY], marker=marker, color=colour, linestyle="none", markersize=3, label=name
            )
        front = rows[rows["front"]]
        ring = {
            "marker": "o",
            "markersize": 7,
            "markerfacecolor": "none",
            "markeredgecolor": QUIET,
            "linestyle": "none",
        }
        ax.plot(front[column], front[QUALITY], label="on the front of recall, time and bytes", **ring)
        ax.axhline(rows.loc[rows["name"] == EXACT, QUALITY].iloc[0], color=INK, linewidth=0.5, linestyle=":")
        ax.set(xscale="log", xlabel=label, ylabel="recall@1")
        ax.margins(x=0.1, y=0.12)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    n, said = int(rows["items"].iloc[0]), "; ".join(map(_row_text, rows[rows["front"]].to_dict("records")))
    alt = f"{len(rows)} ways to search {n:,} items: recall@1 against time and bytes. On the front of all three: {said}."
    return Picture(figure, rows, alt)


def _row_text(row: dict) -> str:
    return f"{row['name']}: recall@1 {row[QUALITY]:.3f}, {row['query_ms']:.3g} ms, {row['bytes_per_item']:,.0f} bytes an item"


def hover_page(found: Deployment) -> str:
    """A page of its own, without a script: a panel for time and one for bytes, whose points say their names on hover."""
    rows = found.rows_at(found.n_items)
    records = rows.assign(front=front_of(rows)).to_dict("records")
    panels = "".join(_panel(records, column, label) for column, label in PANELS)
    title = html_text(f"Recall, time and bytes of {len(rows)} ways to search {found.n_items:,} items")
    answer = html_text(found.answer)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        "<style>body{font:15px system-ui;max-width:60em;margin:2em auto}text{font:12px system-ui}circle:hover,"
        "rect.p:hover{stroke:#000;stroke-width:3}pre{white-space:pre-wrap}</style>\n"
        f"<h1>{title}</h1>\n<p>Circles are indexes of vectors, squares are codes; filled ones are on the front of "
        f"recall, time and bytes. Point at one for its name.</p>\n{panels}<pre>{answer}</pre></html>\n"
    )


def _panel(records: list[dict], column: str, label: str) -> str:
    """One SVG of 720 x 320, logarithmic across."""
    across = np.log10([row[column] for row in records])
    up = np.array([row[QUALITY] for row in records])
    xs = 60 + 630 * (across - across.min()) / max(np.ptp(across), 1e-9)
    ys = 270 - 240 * (up - up.min()) / max(np.ptp(up), 1e-9)
    points = []
    for row, x, y in zip(records, xs, ys, strict=True):
        colour = (CODES if row["codes"] else VECTORS)[1]
        look = f'fill="{colour if row["front"] else "white"}" stroke="{colour}"'
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" {look}>'
        if row["codes"]:
            shape = f'<rect class="p" x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" {look}>'
        points.append(f"{shape}<title>{html_text(_row_text(row))}</title></{'rect' if row['codes'] else 'circle'}>\n")
    ends = [(60, 10 ** across.min()), (690, 10 ** across.max())]
    ticks = "".join(f'<text x="{x}" y="295" text-anchor="middle">{value:.3g}</text>' for x, value in ends)
    ticks += "".join(
        f'<text x="50" y="{y}" text-anchor="end">{v:.3f}</text>' for y, v in ((275, up.min()), (35, up.max()))
    )
    axis = f'<path d="M60 20V280H700" fill="none" stroke="{QUIET}"/>'
    words = f'<text x="375" y="315" text-anchor="middle">{html_text(label)}</text><text x="5" y="15">recall@1</text>'
    return f'<svg viewBox="0 0 720 320" role="img">{axis}{ticks}{words}\n{"".join(points)}</svg>\n'
