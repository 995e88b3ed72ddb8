"""Recall against the size of the gallery: ours alone, of unique drawn scenes."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import FuncFormatter, NullFormatter

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import CHANCE, system_look
from fico_utils.display.picture import Picture, drawing_style, legend_below, panel_grid
from fico_utils.display.rows import short_count
from fico_utils.extras.figures import COST_COLUMNS, phase_rows


@register_figure("gallery", "Recall in a growing gallery", "costs")
@drawing_style()
def gallery_growth(costs: pd.DataFrame) -> Picture:
    """R@1 from text to image, and the share of errors that fit the caption, by the number of scenes searched.

    `costs` is costs.csv; of the corpora in its phase ``gallery`` the first is shown (drawn scenes alone have no end and
    say which "errors" are true, so no other corpus grows). InputError where there are no such rows.
    """
    mine = phase_rows(costs, "gallery", "measure with galleries.gallery_rows first")
    recall, true = (
        mine[mine["quantity"] == f"{quality}_t2i@1"].sort_values("scale_img", kind="stable")
        for quality in ("recall", "true")
    )
    looks = {s: system_look(row) for s, row in registry.systems().items()}
    looks["perfect"] = {**CHANCE, "label": "perfect retriever"}
    figure, axes = panel_grid(56, 1, 2, sharex=True)
    for ax, rows in zip(axes.flat, (recall, true), strict=True):
        for system_id, line in rows.groupby("system", sort=False):
            ax.plot(line["scale_img"], line["value"], **looks[system_id])
        ax.set(xscale="log", xlabel="scenes (log scale)")
        ax.set_xticks(sorted(set(mine["scale_img"])))
        ax.xaxis.set_major_formatter(FuncFormatter(short_count))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_ylim(-0.02, 1.02)
    axes[0, 0].set(title="(a) R@1, text to image", ylabel="share")
    axes[0, 1].set_title("(b) errors that fit the caption")
    shown = sorted(recall["system"].unique(), key=lambda s: s == "perfect")  # the perfect retriever last
    legend_below(figure, [looks[s] for s in shown], ncols=3)
    return Picture(figure, pd.concat([recall, true], ignore_index=True)[COST_COLUMNS], _alt(recall, true))


def _alt(recall: pd.DataFrame, true: pd.DataFrame) -> str:
    said = []
    for system_id, line in recall.groupby("system", sort=False):
        name = "a perfect retriever" if system_id == "perfect" else registry.system(system_id).name
        ends = [f"{line.value.iloc[i]:.2f} at {short_count(line.scale_img.iloc[i])} scenes" for i in (0, -1)]
        said.append(f"{name} {ends[0]}, {ends[1]}")
    last = true.groupby("system", sort=False)["value"].last()
    shares = [f"{registry.system(system_id).name} {value:.2f}" for system_id, value in last.items()]
    return (
        f"Two panels over the size of the gallery. R@1: {'; '.join(said)}. Share of wrong first answers that are true, "
        f"at the largest size: {', '.join(shares) or 'not known'}."
    )
