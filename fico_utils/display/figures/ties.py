"""What the order of tied items is worth. The paper has no such figure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import OFFSETS, system_look
from fico_utils.display.picture import Picture, drawing_style, name_rows, note_unavailable, panel_grid
from fico_utils.display.rows import METRIC_COLUMNS, our_scores
from fico_utils.evaluation import Metric

#: (metric, k) of the panels.
PANELS = (("recall", "1"), ("recall", "10"), ("map", "10"), ("map", "N"))
BOUNDS = ("optimistic", "pessimistic")


@register_figure("tie_gap", "What the order of tied items is worth", "metrics")
@drawing_style()
def tie_gap(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Picture:
    """What the order of tied items is worth: scores of the hash rows under the worst, expected and best order.

    `metrics` is metrics.csv with rows of `recall_optimistic` and so on; `corpora` are those to draw, by default all.
    """
    mine = our_scores(metrics)
    bounded = mine[mine["metric"].str.endswith(BOUNDS)]
    names = [c for c in registry.known_corpora() if c in {*bounded["corpus"]} and (corpora is None or c in corpora)]
    narrow = len(names) > 2  # then the words of a corpus' name stand below each other
    shown = [s for s in registry.systems() if s in {*bounded["system"]}]
    height = len(PANELS) * (4.4 * max(len(shown), 1) + 10) + 11
    figure, axes = panel_grid(height, len(PANELS), max(len(names), 1), sharey=True)
    drawn = [bounded.head(0)]
    for axes_row, (metric, k) in zip(axes, PANELS, strict=True):
        for ax, corpus_id in zip(axes_row, names or [None], strict=True):
            panel = mine[(mine["corpus"] == corpus_id) & (mine["k"] == k) & mine["system"].isin(shown)]
            panel = panel[panel["metric"].isin((metric, *(f"{metric}_{bound}" for bound in BOUNDS)))]
            title = f"{registry.corpus(corpus_id).name}\n" if corpus_id and ax in axes[0] else ""
            ax.set_title((title.replace(" ", "\n") if narrow else title) + f"{Metric(metric, k).label}, %")
            _draw_bars(ax, panel, metric, shown, ticks=3 if narrow else 4)
            drawn.append(panel)
    figure.supxlabel(
        "bar: worst to best order of tied items; mark: expected value\nupper bar: image-to-text, lower: text-to-image",
        fontsize=6,
    )
    data = pd.concat(drawn, ignore_index=True)[METRIC_COLUMNS]
    return Picture(figure, data, _alt(data))


def _draw_bars(ax: Axes, panel: pd.DataFrame, metric: str, shown: Sequence[str], ticks: int) -> None:
    if panel.empty:
        note_unavailable(ax, len(shown))
        return
    for (system_id, direction), rows in panel.groupby(["system", "direction"], sort=False):
        value = 100 * rows.set_index("metric")["value"]
        at, system = shown.index(system_id) + OFFSETS[direction], registry.system(system_id)
        ends = [value.get(f"{metric}_{bound}") for bound in BOUNDS]
        if None not in ends:
            ax.plot(ends, [at, at], color=system.colour, linewidth=3.2, alpha=0.4, solid_capstyle="butt")
        if metric in value:
            ax.plot(value[metric], at, **system_look(system, linestyle=""))
    ax.margins(x=0.12)
    ax.xaxis.set_major_locator(MaxNLocator(ticks, prune="both"))
    name_rows(ax, shown)


def _alt(data: pd.DataFrame) -> str:
    index = ["system", "corpus", "direction", "k"]
    best, worst = (data[data["metric"] == f"recall_{bound}"].set_index(index)["value"] for bound in BOUNDS)
    gap = (best - worst).dropna()
    if gap.empty:
        return "Scores of the hash rows under the best and the worst order of tied items: nothing of ours was measured."
    system, corpus_id, direction, k = gap.idxmax()
    return (
        "Scores of the hash rows on each corpus: bars from the worst to the best order of tied items, marks at the "
        f"expected value. The widest gap in recall: {registry.system(system).name} on "
        f"{registry.corpus(corpus_id).name}, {direction} R@{k}, {100 * gap.max():.1f} points."
    )
