"""What the paper has no figure of: scores above chance, what the order of tied items is worth, and who is ahead."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import CHANCE, DIRECTION_WORDS, INK, OFFSETS, QUIET, number_word, paper_look, system_look
from fico_utils.display.picture import Picture, drawing_style, name_rows, note_unavailable, panel_grid, panel_title
from fico_utils.display.rows import METRIC_COLUMNS, of_test_split, our_scores, room_share, with_value
from fico_utils.evaluation import Metric
from fico_utils.results.schema import DIRECTIONS

SHARES = {"share": "value", "share_low": "ci_low", "share_high": "ci_high"}
#: (metric, k) of the panels of ties, and the two orders of tied items.
TIE_PANELS = (("recall", "1"), ("recall", "10"), ("map", "10"), ("map", "N"))
BOUNDS = ("optimistic", "pessimistic")
#: Task -> metric, k, and what a system is placed by.
TASKS = {
    "instance": ("place", "", "by the rank of the first correct item"),
    "category": ("map_place", "10", "by average precision at 10"),
}


@register_figure("chance_corrected", "mAP above chance", "metrics")
@drawing_style()
def chance_corrected(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Picture:
    """mAP@10 and mAP@N as the share of the way from a random ranking (0) to a perfect one (1), by system and corpus.

    The share is (value - chance) / (1 - chance), for the ends of the interval, too. The chance of the paper's mAP@N is
    where its curves end; for its mAP@10 nobody states one, so only its mAP@N is drawn. n/a: a reranker has no mAP@N.
    A corpus of ours that stands beside none of the paper's has a further row, mAP@10 on the left, mAP@N on the right.
    """
    mine, paper, places = of_test_split(metrics, corpora)
    mine, paper = (f[f["metric"] == "map"] for f in (mine, paper))
    ours, papers = _above_chance(mine), _above_chance(paper, paper[paper["source"] == "chance"])
    known = {*ours.loc[ours["corpus"].isin({p.ours for p in places}), "system"]} or {*papers["system"]}
    shown = [s for s in registry.systems() if s in known]
    beside, apart = ([p for p in places if bool(p.paper) == wanted] for wanted in (True, False))
    panels = [(place, k) for k in ("10", "N") for place in beside] + [(p, k) for p in apart for k in ("10", "N")]
    height = len(places) * (3.8 * len(shown) + 9) + 16
    figure, axes = panel_grid(height, len(places), 2, sharex=True, sharey=True)
    drawn = []
    for ax, (place, k) in zip(axes.flat, panels, strict=True):
        parts = (papers, place.paper), (ours, place.ours)
        panel = pd.concat([frame[(frame["corpus"] == c) & (frame["k"] == k)] for frame, c in parts])
        panel = panel[panel["system"].isin(shown)]
        _draw_shares(ax, panel, shown)
        drawn.append(with_value(panel))
        if k == "10" or not place.paper:
            ax.set_title(f"{panel_title(place.name + ' (paper)' * (not place.ours))}\nmAP@{k}")
        else:
            both = place.ours and "paper" in {*panel["source"]}
            ax.set_title(f"mAP@{k}, grey: {registry.corpus(place.paper).name}" if both else f"mAP@{k}")
    figure.supxlabel(
        "share of the way from chance (0) to a perfect ranking (1)\n"
        "upper mark: image-to-text, lower: text-to-image\n"
        "bars: 95 % intervals; grey: the paper's mAP@N",
        fontsize=6,
    )
    data = pd.concat(drawn, ignore_index=True)[[*METRIC_COLUMNS, *SHARES]]
    best = data[data["source"] == "ours"].groupby(["corpus", "k"], sort=False)["share"].max()
    said = "; ".join(f"{registry.corpus(c).name} mAP@{k} {share:.2f}" for (c, k), share in best.items())
    alt = (
        f"{number_word(2 * len(places)).capitalize()} panels, {number_word(len(places))} corpora and mAP@10 and mAP@N: "
        "for each system the share of the way from chance to a perfect ranking, in both directions, with the paper's "
        f"in grey. The best of ours: {said or 'nothing was measured'}."
    )
    return Picture(figure, data, alt)


def _above_chance(frame: pd.DataFrame, chance: pd.DataFrame | None = None) -> pd.DataFrame:
    """Rows of systems with their share of the way above chance; `chance`: rows that hold it, where they do not."""
    rows = frame[frame["source"].isin(("ours", "paper"))]
    if chance is not None:
        place = ["corpus", "direction", "k"]
        level = chance.drop_duplicates(place).set_index(place)["value"].rename("chance")
        rows = rows.drop(columns="chance").join(level, on=place)
    rows = rows[rows["chance"].notna() & (rows["chance"] < 1)]
    return rows.assign(**{s: room_share(rows[column], rows["chance"]) for s, column in SHARES.items()})


def _draw_shares(ax: Axes, panel: pd.DataFrame, shown: Sequence[str]) -> None:
    if panel.empty:
        note_unavailable(ax)
    ax.axvline(0, **CHANCE)
    ax.axvline(1, color=INK, linewidth=0.6)
    for row in panel.itertuples():
        y, system = shown.index(row.system), registry.system(row.system)
        at = y + OFFSETS[row.direction]
        if row.status != "ok":
            if row.source == "ours" and row.direction == "i2t":
                ax.text(0.03, y, "n/a", color=QUIET, va="center", fontsize=5.5)
        elif row.source == "paper":
            ax.plot(row.share, at, **paper_look("", system.marker))
        else:
            ax.plot([row.share_low, row.share_high], [at, at], color=system.colour, linewidth=0.9)
            ax.plot(row.share, at, **system_look(system, linestyle=""))
    name_rows(ax, shown)
    ax.set_xticks([0, 0.5, 1])
    lowest = panel[["share", "share_low"]].min(axis=None)
    ax.set_xlim(min(-0.06, lowest - 0.03, ax.get_xlim()[0]), 1.04)


@register_figure("tie_gap", "What the order of tied items is worth", "metrics")
@drawing_style()
def tie_gap(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Picture:
    """Scores of the hash rows under the worst, the expected and the best order of tied items.

    `metrics` is metrics.csv with rows of `recall_optimistic` and so on; `corpora` are those to draw, by default all.
    """
    mine = our_scores(metrics)
    bounded = mine[mine["metric"].str.endswith(BOUNDS)]
    names = [c for c in registry.known_corpora() if c in {*bounded["corpus"]} and (corpora is None or c in corpora)]
    shown = [s for s in registry.systems() if s in {*bounded["system"]}]
    height = len(TIE_PANELS) * (4.4 * max(len(shown), 1) + 10) + 11
    figure, axes = panel_grid(height, len(TIE_PANELS), max(len(names), 1), sharey=True)
    drawn = [bounded.head(0)]
    for axes_row, (metric, k) in zip(axes, TIE_PANELS, strict=True):
        for ax, corpus_id in zip(axes_row, names or [None], strict=True):
            panel = mine[(mine["corpus"] == corpus_id) & (mine["k"] == k) & mine["system"].isin(shown)]
            panel = panel[panel["metric"].isin((metric, *(f"{metric}_{bound}" for bound in BOUNDS)))]
            above = corpus_id and ax in axes[0]
            title = f"{panel_title(registry.corpus(corpus_id).name, len(names))}\n" if above else ""
            ax.set_title(title + f"{Metric(metric, k).label}, %")
            _draw_bars(ax, panel, metric, shown, ticks=3 if len(names) > 2 else 4)
            drawn.append(panel)
    figure.supxlabel(
        "bar: worst to best order of tied items; mark: expected value\nupper bar: image-to-text, lower: text-to-image",
        fontsize=6,
    )
    data = pd.concat(drawn, ignore_index=True)[METRIC_COLUMNS]
    return Picture(figure, data, _describe_gap(data))


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


def _describe_gap(data: pd.DataFrame) -> str:
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


@register_figure("ranking_instance", "Mean place by rank of the first correct item", "metrics")
@register_figure("ranking_category", "Mean place by average precision at 10", "metrics", task="category")
@drawing_style()
def mean_places(metrics: pd.DataFrame, task: str = "instance", corpora: Sequence[str] | None = None) -> Picture:
    """Mean place of each system among those of the run, by corpus and direction; a line joins what may be equal.

    `metrics` is metrics.csv with rows of `place` and `map_place`; `task` is one of `TASKS`. Intervals are half a
    critical difference to either side (`fico_utils.results.observed`), so two systems differ where theirs do not
    overlap; a thick line at the right joins those that may be equal.
    """
    metric, k, words = TASKS[task]
    mine, _, places = of_test_split(metrics, corpora)
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
            title = f"{panel_title(registry.corpus(corpus_id).name)}\n" if corpus_id else ""
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
