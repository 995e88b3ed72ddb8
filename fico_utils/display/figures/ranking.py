"""Which system is ahead, query by query, and which of them noise cannot tell apart. The paper has no such figure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import CHANCE, DIRECTION_WORDS, INK, system_look
from fico_utils.display.picture import Picture, drawing_style, name_rows, note_unavailable, panel_grid
from fico_utils.display.rows import METRIC_COLUMNS, of_test_split, with_value
from fico_utils.results.schema import DIRECTIONS

#: Task -> metric, k, and what a system is placed by.
TASKS = {
    "instance": ("place", "", "by the rank of the first correct item"),
    "category": ("map_place", "10", "by average precision at 10"),
}


@register_figure("ranking_instance", "Mean place by rank of the first correct item", "metrics")
@register_figure("ranking_category", "Mean place by average precision at 10", "metrics", task="category")
@drawing_style()
def mean_places(metrics: pd.DataFrame, task: str = "instance", corpora: Sequence[str] | None = None) -> Picture:
    """Mean place of each system among those of the run, by corpus and direction; what noise cannot tell apart joined.

    `metrics` is metrics.csv with rows of `place` and `map_place`; `task` is one of `TASKS`. Intervals are half a
    critical difference to either side (`fico_utils.results.observed`), so two systems differ where theirs do not
    overlap; a thick line at the right joins those that may be equal.
    """
    metric, k, words = TASKS[task]
    mine, places = of_test_split(metrics, corpora)
    names = [place.ours for place in places if place.ours]
    mine = with_value(mine[(mine["metric"] == metric) & (mine["k"] == k) & mine["corpus"].isin(names)])
    drawn = [mine.head(0)]
    most = int(mine.groupby(["corpus", "direction"]).size().max()) if len(mine) else 1
    height = max(len(names), 1) * (3.3 * max(most, 2) + 12) + 11
    figure, axes = panel_grid(height, max(len(names), 1), 2, sharex=True)
    for axes_row, corpus_id in zip(axes, names or [None], strict=True):
        for ax, direction in zip(axes_row, DIRECTIONS, strict=True):
            panel = mine[(mine["corpus"] == corpus_id) & (mine["direction"] == direction)]
            panel = panel.sort_values("value", kind="stable")
            title = f"{registry.corpus(corpus_id).name}\n" if corpus_id else ""
            ax.set_title(title + DIRECTION_WORDS[direction])
            _draw_places(ax, panel)
            drawn.append(panel)
    figure.supxlabel(
        f"mean place, 1 is best, {words}\n"
        "bars that overlap: may be equal, joined by a line at the right\n"
        "dotted: no better or worse than the others",
        fontsize=6,
    )
    data = pd.concat(drawn, ignore_index=True)[METRIC_COLUMNS]
    said = []
    for (corpus_id, direction), rows in data.groupby(["corpus", "direction"], sort=False):
        order = ", ".join(f"{registry.system(r.system).name} {r.value:.2f}" for r in rows.head(3).itertuples())
        said.append(f"{registry.corpus(corpus_id).name} {direction}: {order}")
    ahead = "; ".join(said) or "nothing of ours was measured"
    return Picture(figure, data, f"Mean place of each system {words}, with intervals, best first. {ahead}.")


def _draw_places(ax: Axes, panel: pd.DataFrame) -> None:
    """One panel: systems from best to worst, their intervals, and lines beside those that may be equal."""
    if panel.empty:
        note_unavailable(ax, 1)
        return
    for y, row in enumerate(panel.itertuples()):
        system = registry.system(row.system)
        ax.plot([row.ci_low, row.ci_high], [y, y], color=system.colour, linewidth=0.9, marker="|", markersize=4)
        ax.plot(row.value, y, **system_look(system, linestyle="", markersize=2.8))
    ax.axvline(panel["chance"].iloc[0], **CHANCE)
    name_rows(ax, list(panel["system"]))
    n, lanes = len(panel), []
    for first, last in joined_groups(panel):  # the first lane whose last group has ended
        lane = next((i for i, end in enumerate(lanes) if end < first), len(lanes))
        lanes[lane : lane + 1] = [last]
        x = n + 0.3 + 0.05 * n * (lane + 0.5)
        ax.plot([x, x], [first - 0.25, last + 0.25], color=INK, linewidth=1.6, solid_capstyle="butt")
    ax.set_xlim(0.8, max(ax.get_xlim()[1], n + 0.3 + 0.05 * n * (len(lanes) + 0.5)))  # panels share it
    ax.set_xticks([t for t in MaxNLocator(6, integer=True).tick_values(1, n) if 1 <= t <= n])


def joined_groups(panel: pd.DataFrame) -> list[tuple[int, int]]:
    """First and last position of the largest groups, two or more, whose intervals all overlap; best place first."""
    low, high, groups = list(panel["ci_low"]), list(panel["ci_high"]), []
    for first in range(len(low)):
        last = max(j for j in range(first, len(low)) if low[j] <= high[first])
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups
