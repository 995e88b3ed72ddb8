"""How far another seed moves a score, beside how far another test split may."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import INK, OFFSETS, QUIET
from fico_utils.display.picture import Picture, drawing_style, name_rows, note_unavailable, panel_grid
from fico_utils.display.rows import our_scores
from fico_utils.evaluation import Metric

#: (metric, k) of the panels.
PANELS = (("recall", "1"), ("map", "10"))


@register_figure("seed_spread", "How far another seed moves a score", "seeds", "metrics")
@drawing_style()
def seed_spread(spread: pd.DataFrame, metrics: pd.DataFrame) -> Picture:
    """How far another seed moves a score, beside how far another test split may: points from the mean over seeds.

    `spread` is seeds.csv (`fico_utils.extras.seeds`), `metrics` is metrics.csv of one of its runs, whose intervals are
    drawn.
    """
    place = ["system", "corpus", "direction", "metric", "k"]
    mine = our_scores(metrics).set_index(place)
    data = spread.join(((mine["ci_high"] - mine["ci_low"]) / 2).rename("half_interval"), on=place)
    data = data[[pair in PANELS for pair in zip(data["metric"], data["k"], strict=True)]].reset_index(drop=True)
    names = [c for c in registry.known_corpora() if c in {*data["corpus"]}]
    shown = [s for s in registry.systems() if s in {*data["system"]}]
    height = max(len(names), 1) * (3.8 * max(len(shown), 1) + 9) + 12
    figure, axes = panel_grid(height, max(len(names), 1), len(PANELS), sharex=True, sharey=True)
    for axes_row, corpus_id in zip(axes, names or [None], strict=True):
        for ax, (metric, k) in zip(axes_row, PANELS, strict=True):
            title = f"{registry.corpus(corpus_id).name}\n" if corpus_id else ""
            ax.set_title(f"{title}{Metric(metric, k).label}, points")
            _draw_ranges(ax, data[(data["corpus"] == corpus_id) & (data["metric"] == metric)], shown)
    seeds = ", ".join(sorted({*" ".join(data["seeds"]).split()}, key=int))
    figure.supxlabel(
        f"distance from the mean over seeds {seeds}\n"
        "line: from the least to the largest; grey: 95 % interval over images\n"
        "upper: image-to-text, lower: text-to-image",
        fontsize=6,
    )
    return Picture(figure, data, _alt(data))


def _draw_ranges(ax: Axes, panel: pd.DataFrame, shown: Sequence[str]) -> None:
    if panel.empty:
        note_unavailable(ax, len(shown))
        return
    for row in panel.itertuples():
        at, system = shown.index(row.system) + OFFSETS[row.direction], registry.system(row.system)
        half = 100 * row.half_interval
        ax.plot([-half, half], [at, at], color=QUIET, linewidth=3.2, alpha=0.35, solid_capstyle="butt")
        ends = [100 * (end - row.mean) for end in (row.low, row.high)]
        ax.plot(ends, [at, at], color=system.colour, linewidth=0.9, marker="|", markersize=3.5)
    ax.axvline(0, color=INK, linewidth=0.6)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, prune="both"))
    name_rows(ax, shown)


def _alt(data: pd.DataFrame) -> str:
    head = "For each system the range of R@1 and mAP@10 over seeds, beside the 95 % interval over the test split"
    if data.empty:
        return f"{head}: nothing was measured with more than one seed."
    wide = data.loc[(data["high"] - data["low"]).idxmax()]
    inside = ((data["high"] - data["mean"]).clip(lower=data["mean"] - data["low"]) <= data["half_interval"]).mean()
    label = Metric(wide["metric"], wide["k"]).label
    return (
        f"{head}. The seed moves {registry.system(wide['system']).name} most, "
        f"{100 * (wide['high'] - wide['low']):.1f} points at {wide['direction']} {label}; "
        f"{inside:.0%} of the ranges lie within the interval."
    )
