"""The grid of causes: how far a system moves with other features, and with more training."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import INK
from fico_utils.display.picture import Picture, drawing_style, legend_below, name_rows, note_unavailable, panel_grid
from fico_utils.evaluation import Metric
from fico_utils.extras.causes import CELLS, mean_scores

#: (metric, k) of the panels; (features, training) -> marker and place in a system's row.
PANELS = (("recall", "1"), ("map", "10"))
MARKERS = {"regions": "s", "patches": "o"}
PLACES = dict(zip(CELLS, (-0.27, -0.09, 0.09, 0.27), strict=True))


@register_figure("causes", "What a system scores with equal features and after equal training", "grid")
@drawing_style()
def draw_causes(grid: pd.DataFrame) -> Picture:
    """What each system scores with equal features and after equal training."""
    means = mean_scores(grid)
    data = means[[quality in PANELS for quality in zip(means["metric"], means["k"], strict=True)]].reset_index(
        drop=True
    )
    names = [c for c in registry.known_corpora() if c in {*data["corpus"]}]
    shown = [s for s in registry.systems() if s in {*data["system"]}]
    figure, axes = panel_grid(len(names) * (6.5 * len(shown) + 9) + 12, len(names), len(PANELS), sharey=True)
    for axes_row, corpus in zip(axes, names, strict=True):
        for ax, (metric, k) in zip(axes_row, PANELS, strict=True):
            ax.set_title(f"{registry.corpus(corpus).name}\n{Metric(metric, k).label}, percent")
            _draw_cells(ax, data[(data["corpus"] == corpus) & (data["metric"] == metric)], shown)
    looks = [
        {
            "marker": MARKERS[f],
            "color": INK,
            "linestyle": "",
            "markerfacecolor": _face(t, INK),
            "label": f"{f}, {t} training",
        }
        for f, t in CELLS
    ]
    legend_below(figure, looks, 2)
    return Picture(figure, data, _alt(data))


def _draw_cells(ax: Axes, panel: pd.DataFrame, shown: list[str]) -> None:
    if panel.empty:
        note_unavailable(ax, len(shown))
        return
    for row in panel.itertuples():
        at, colour = shown.index(row.system) + PLACES[row.features, row.training], registry.system(row.system).colour
        ax.plot([100 * row.ci_low, 100 * row.ci_high], [at, at], color=colour, linewidth=0.8)
        ax.plot(
            [100 * row.value], [at], MARKERS[row.features], color=colour, markerfacecolor=_face(row.training, colour)
        )
    name_rows(ax, shown)


def _face(training: str, colour: str) -> str:
    return colour if training == "own" else "white"


def _alt(data: pd.DataFrame) -> str:
    first = data[data["metric"] == "recall"]
    best = first.loc[first["value"].idxmax()]
    return (
        "R@1 and mAP@10 of each system with regions and with patches, after its own training and after equal training, "
        f"mean of both directions. The highest R@1 is {100 * best['value']:.1f} %, of "
        f"{registry.system(best['system']).name} with {best['features']} after {best['training']} training on "
        f"{registry.corpus(best['corpus']).name}."
    )
