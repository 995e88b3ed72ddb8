"""Recall against the size of the gallery: ours alone, of unique drawn scenes."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.picture import CHANCE, COLUMN, MM, Picture, drawing_style, legend_below, system_look
from fico_utils.display.rows import COST_COLUMNS, is_measured, phase_rows, short_count
from fico_utils.errors import InputError

PERFECT = {**CHANCE, "label": "perfect retriever"}
DIRECTIONS = {"i2t": "image to text", "t2i": "text to image"}


@register_figure("gallery", "Recall in a growing gallery", "costs", when=is_measured("gallery"))
def gallery_growth(costs: pd.DataFrame, direction: str = "t2i") -> Picture:
    """R@1 and the share of true "errors" against the number of unique scenes searched, by system.

    `costs` is costs.csv; of the corpora in its phase ``gallery`` the first is shown (drawn scenes alone have no end and
    say which "errors" are true, so no other corpus grows). InputError where there are no such rows, or the direction is
    unknown.
    """
    if direction not in DIRECTIONS:
        raise InputError(f"direction is {direction!r}; expected one of {', '.join(DIRECTIONS)}")
    mine = phase_rows(costs, "gallery", "measure with galleries.gallery_rows first")
    parts = {
        name: mine[mine["quantity"] == quantity].sort_values("scale_img", kind="stable")
        for name, quantity in (("recall", f"recall_{direction}@1"), ("true", f"true_{direction}@1"))
    }
    with drawing_style():
        figure = Figure(figsize=(COLUMN, 56 * MM))
        left, right = figure.subplots(1, 2, sharex=True)
        for ax, rows in ((left, parts["recall"]), (right, parts["true"])):
            for system_id, line in rows.groupby("system", sort=False):
                look = PERFECT if system_id == "perfect" else system_look(registry.system(system_id))
                ax.plot(line["scale_img"], line["value"], **look)
            ax.set(xscale="log", xlabel="scenes (log scale)")
            ax.set_xticks(sorted(set(mine["scale_img"])))
            ax.xaxis.set_major_formatter(FuncFormatter(short_count))
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.set_ylim(-0.02, 1.02)
        left.set(title=f"(a) R@1, {DIRECTIONS[direction]}", ylabel="fraction")
        right.set_title("(b) errors that are true")
        shown = list(dict.fromkeys(parts["recall"]["system"]))
        handles = [Line2D([], [], **system_look(registry.system(s))) for s in shown if s != "perfect"]
        handles += [Line2D([], [], **PERFECT)] if "perfect" in shown else []
        legend_below(figure, handles, ncols=3)
    data = pd.concat(parts.values(), ignore_index=True)[COST_COLUMNS]
    return Picture(figure, data, _alt(parts))


def _alt(parts: dict[str, pd.DataFrame]) -> str:
    said = []
    for system_id, line in parts["recall"].groupby("system", sort=False):
        name = "a perfect retriever" if system_id == "perfect" else registry.system(system_id).name
        ends = [f"{line.value.iloc[i]:.2f} at {short_count(line.scale_img.iloc[i])} scenes" for i in (0, -1)]
        said.append(f"{name} {ends[0]}, {ends[1]}")
    true = parts["true"].groupby("system", sort=False)["value"]
    shares = [f"{registry.system(s).name} {values.iloc[-1]:.2f}" for s, values in true]
    return (
        f"Two panels over the size of the gallery. R@1: {'; '.join(said)}. Share of wrong first answers that are true, "
        f"at the largest size: {', '.join(shares) or 'not known'}."
    )
