"""Pictures that the paper has not: mAP above chance, the gap that ties leave, who is ahead, what a seed changes.

As in `figures`, each function takes metrics.csv and returns a `Picture` whose numbers are rows of that table; what is
computed here is the share of the way from chance to perfect, and the distance from the mean over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fico_utils import registry
from fico_utils.display.figures import CHANCE, DIRECTION_NAMES, _look, _paper_look, unavailable
from fico_utils.display.picture import COLUMN, INK, MM, QUIET, Picture, in_words, style
from fico_utils.display.rows import one_run, papers_rows
from fico_utils.display.tables import of_test_split
from fico_utils.evaluation import Metric
from fico_utils.results.schema import DIRECTIONS

__all__ = ["chance_corrected", "ranking", "seed_spread", "tie_gap"]

COLUMNS = ["source", "system", "corpus", "direction", "metric", "k", "value", "ci_low", "ci_high", "chance",
           "status", "run"]  # fmt: skip
#: In a system's row image-to-text stands above text-to-image.
OFFSETS = {"i2t": -0.18, "t2i": 0.18}
#: (metric, k) of the panels of `tie_gap`.
TIED = (("recall", "1"), ("recall", "10"), ("map", "10"), ("map", "N"))
BOUNDS = ("optimistic", "pessimistic")
#: (metric, k) of the panels of `seed_spread`.
MOVED = (("recall", "1"), ("map", "10"))


def _rows(ax: Axes, systems: Sequence[str]) -> None:
    """One line for each system, the first on top."""
    ax.set_yticks(range(len(systems)), [registry.system(s).name for s in systems])
    ax.set_ylim(len(systems) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def _unavailable(ax: Axes, n: int) -> None:
    """Say in a panel of lines, one a system, that there is nothing to draw."""
    unavailable(ax)
    ax.set_yticks([])
    ax.set_ylim(max(n, 1) - 0.5, -0.5)


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["status"] == "ok"]


# ------------------------------------------------------------------------------------------ above chance


def chance_corrected(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Picture:
    """mAP@10 and mAP@N as the share of the way from a random ranking (0) to a perfect one (1), by system and corpus.

    Parameters
    ----------
    metrics : DataFrame, metrics.csv.
    corpora : sequence of str, ours to show; default: those that `metrics` holds.

    Notes
    -----
    (value - chance) / (1 - chance), for the ends of the interval, too. The chance of the paper's mAP@N is where its
    curves end; for its mAP@10 nobody states one, so only its mAP@N is drawn. n/a: a reranker has no mAP@N.
    A corpus of ours that stands beside none of the paper's has a further row, mAP@10 on the left, mAP@N on the right.
    """
    mine, found = of_test_split(metrics, corpora)
    mine, paper = (f[f["metric"] == "map"] for f in (mine, papers_rows(metrics, "metrics")))
    ours, papers = _above_chance(mine), _above_chance(paper, paper[paper["source"] == "chance"])
    known = {*ours.loc[ours["corpus"].isin({p.ours for p in found}), "system"]} or {*papers["system"]}
    shown = [s for s in registry.systems() if s in known]
    drawn = []
    with style():
        beside, apart = ([p for p in found if bool(p.paper) == wanted] for wanted in (True, False))
        panels = [(place, k) for k in ("10", "N") for place in beside] + [(p, k) for p in apart for k in ("10", "N")]
        figure = Figure(figsize=(COLUMN, (len(found) * (3.8 * len(shown) + 9) + 16) * MM))
        axes = figure.subplots(len(found), 2, sharex=True, sharey=True, squeeze=False)
        for ax, (place, k) in zip(axes.flat, panels, strict=True):
            parts = (papers, place.paper), (ours, place.ours)
            panel = pd.concat([frame[(frame["corpus"] == c) & (frame["k"] == k)] for frame, c in parts])
            panel = panel[panel["system"].isin(shown)]
            _shares(ax, panel, shown)
            drawn.append(_numbers(panel))
            if k == "10" or not place.paper:
                ax.set_title(f"{place.name}{'' if place.ours else ' (paper)'}\nmAP@{k}")
            else:
                both = place.ours and "paper" in {*panel["source"]}
                ax.set_title(f"mAP@{k}, grey: {registry.corpus(place.paper).name}" if both else f"mAP@{k}")
        figure.supxlabel(
            "share of the way from chance (0) to a perfect ranking (1)\n"
            "upper mark: image-to-text, lower: text-to-image\n"
            "bars: 95 % intervals; grey: the paper's mAP@N",
            fontsize=6,
        )
    data = pd.concat(drawn, ignore_index=True)[[*COLUMNS, "share", "share_low", "share_high"]]
    best = data[data["source"] == "ours"].groupby(["corpus", "k"], sort=False)["share"].max()
    said = "; ".join(f"{registry.corpus(c).name} mAP@{k} {share:.2f}" for (c, k), share in best.items())
    alt = (
        f"{in_words(2 * len(found)).capitalize()} panels, {in_words(len(found))} corpora and mAP@10 and mAP@N: for "
        "each system the share of the way from chance to a perfect ranking, in both directions, with the paper's in "
        f"grey. The best of ours: {said or 'nothing was measured'}."
    )
    return Picture(figure, data, alt)


def _above_chance(frame: pd.DataFrame, chance: pd.DataFrame | None = None) -> pd.DataFrame:
    """Rows of systems with their share of the way above chance; `chance`: rows that hold it, where they do not."""
    rows = frame[frame["source"].isin(("ours", "paper"))]
    if chance is not None:
        place = ["corpus", "direction", "k"]
        level = chance.drop_duplicates(place).set_index(place)["value"]
        rows = rows.assign(chance=[level.get(key) for key in rows[place].itertuples(index=False, name=None)])
        rows = rows.astype({"chance": float})
    rows = rows[rows["chance"].notna() & (rows["chance"] < 1)]
    shares = {
        name: (rows[column] - rows["chance"]) / (1 - rows["chance"])
        for name, column in (("share", "value"), ("share_low", "ci_low"), ("share_high", "ci_high"))
    }
    return rows.assign(**shares)


def _shares(ax: Axes, panel: pd.DataFrame, shown: Sequence[str]) -> None:
    if panel.empty:
        unavailable(ax)
    ax.axvline(0, **CHANCE)
    ax.axvline(1, color=INK, linewidth=0.6)
    for row in panel.itertuples():
        y, system = shown.index(row.system), registry.system(row.system)
        if row.status != "ok":
            if row.source == "ours" and row.direction == "i2t":
                ax.text(0.03, y, "n/a", color=QUIET, va="center", fontsize=5.5)
            continue
        at = y + OFFSETS[row.direction]
        if row.source == "paper":
            ax.plot(row.share, at, **_paper_look("", system.marker))
            continue
        ax.plot([row.share_low, row.share_high], [at, at], color=system.colour, linewidth=0.9)
        ax.plot(row.share, at, **{**_look(system), "linestyle": ""})
    _rows(ax, shown)
    ax.set_xticks([0, 0.5, 1])
    lowest = panel[["share", "share_low"]].min(axis=None)
    ax.set_xlim(min(-0.06, lowest - 0.03, ax.get_xlim()[0]), 1.04)


# ----------------------------------------------------------------------------------------------- ties


def tie_gap(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Picture:
    """What the order of tied items is worth: scores of the hash rows under the worst, expected and best order.

    Parameters
    ----------
    metrics : DataFrame, metrics.csv, with rows of `recall_optimistic` and so on.
    corpora : sequence of str, those to draw; default: all of ours.
    """
    mine = one_run(metrics, "metrics.csv")
    mine = _numbers(mine[(mine["split"] == "test") & (mine["source"] == "ours")])
    bounded = mine[mine["metric"].str.endswith(BOUNDS)]
    names = [c for c in registry.CORPORA if c in {*bounded["corpus"]} and (corpora is None or c in corpora)]
    narrow = len(names) > 2  # then the words of a corpus' name stand below each other
    shown = [s for s in registry.systems() if s in {*bounded["system"]}]
    drawn = [bounded.head(0)]
    with style():
        figure = Figure(figsize=(COLUMN, (len(TIED) * (4.4 * max(len(shown), 1) + 10) + 11) * MM))
        axes = figure.subplots(len(TIED), max(len(names), 1), sharey=True, squeeze=False)
        for axes_row, (metric, k) in zip(axes, TIED, strict=True):
            for ax, corpus_id in zip(axes_row, names or [None], strict=True):
                panel = mine[(mine["corpus"] == corpus_id) & (mine["k"] == k) & mine["system"].isin(shown)]
                panel = panel[panel["metric"].isin((metric, *(f"{metric}_{bound}" for bound in BOUNDS)))]
                title = f"{registry.corpus(corpus_id).name}\n" if corpus_id and ax in axes[0] else ""
                ax.set_title((title.replace(" ", "\n") if narrow else title) + f"{Metric(metric, k).label}, %")
                _bars(ax, panel, metric, shown, ticks=3 if narrow else 4)
                drawn.append(panel)
        figure.supxlabel(
            "bar: worst to best order of tied items; mark: expected value\n"
            "upper bar: image-to-text, lower: text-to-image",
            fontsize=6,
        )
    data = pd.concat(drawn, ignore_index=True)[COLUMNS]
    return Picture(figure, data, _alt_ties(data))


def _bars(ax: Axes, panel: pd.DataFrame, metric: str, shown: Sequence[str], ticks: int) -> None:
    if panel.empty:
        _unavailable(ax, len(shown))
        return
    for (system_id, direction), rows in panel.groupby(["system", "direction"], sort=False):
        value = 100 * rows.set_index("metric")["value"]
        at, system = shown.index(system_id) + OFFSETS[direction], registry.system(system_id)
        ends = [value.get(f"{metric}_{bound}") for bound in BOUNDS]
        if None not in ends:
            ax.plot(ends, [at, at], color=system.colour, linewidth=3.2, alpha=0.4, solid_capstyle="butt")
        if metric in value:
            ax.plot(value[metric], at, **{**_look(system), "linestyle": ""})
    ax.margins(x=0.12)
    ax.xaxis.set_major_locator(MaxNLocator(ticks, prune="both"))
    _rows(ax, shown)


def _alt_ties(data: pd.DataFrame) -> str:
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


# -------------------------------------------------------------------------------------------- ranking


def ranking(metrics: pd.DataFrame, task: str = "instance", corpora: Sequence[str] | None = None) -> Picture:
    """Mean place of each system among those of the run, by corpus and direction; what noise cannot tell apart joined.

    Parameters
    ----------
    metrics : DataFrame, metrics.csv, with rows of `place` and `map_place`.
    task : str, ``instance`` (by rank of the first correct item) or ``category`` (by AP@10).
    corpora : sequence of str, ours to show, one beside each of the paper's; default: those that `metrics` holds.

    Notes
    -----
    Intervals are half a critical difference to either side (`fico_utils.results.observed`), so two systems differ
    where theirs do not overlap; a thick line at the right joins those that may be equal.
    """
    metric, k, words = {
        "instance": ("place", "", "by the rank of the first correct item"),
        "category": ("map_place", "10", "by average precision at 10"),
    }[task]
    mine, found = of_test_split(metrics, corpora)
    names = [place.ours for place in found if place.ours]
    mine = _numbers(mine[(mine["metric"] == metric) & (mine["k"] == k) & mine["corpus"].isin(names)])
    drawn = [mine.head(0)]
    most = int(mine.groupby(["corpus", "direction"]).size().max()) if len(mine) else 1
    with style():
        height = max(len(names), 1) * (3.3 * max(most, 2) + 12) + 11
        figure = Figure(figsize=(COLUMN, height * MM))
        axes = figure.subplots(max(len(names), 1), 2, squeeze=False, sharex=True)
        for axes_row, corpus_id in zip(axes, names or [None], strict=True):
            for ax, direction in zip(axes_row, DIRECTIONS, strict=True):
                panel = mine[(mine["corpus"] == corpus_id) & (mine["direction"] == direction)]
                panel = panel.sort_values("value", kind="stable")
                title = f"{registry.corpus(corpus_id).name}\n" if corpus_id else ""
                ax.set_title(title + DIRECTION_NAMES[direction])
                _places(ax, panel)
                drawn.append(panel)
        figure.supxlabel(
            f"mean place, 1 is best, {words}\n"
            "bars that overlap: may be equal, joined by a line at the right\n"
            "dotted: no better or worse than the others",
            fontsize=6,
        )
    data = pd.concat(drawn, ignore_index=True)[COLUMNS]
    return Picture(figure, data, _alt_places(data, words))


def _places(ax: Axes, panel: pd.DataFrame) -> None:
    """One panel: systems from best to worst, their intervals, and lines beside those that may be equal."""
    if panel.empty:
        _unavailable(ax, 1)
        return
    for y, row in enumerate(panel.itertuples()):
        system = registry.system(row.system)
        ax.plot([row.ci_low, row.ci_high], [y, y], color=system.colour, linewidth=0.9, marker="|", markersize=4)
        ax.plot(row.value, y, **{**_look(system), "linestyle": "", "markersize": 2.8})
    ax.axvline(panel["chance"].iloc[0], **CHANCE)
    _rows(ax, list(panel["system"]))
    n, lanes = len(panel), []
    for first, last in joined(panel):  # the first lane whose last group has ended
        lane = next((i for i, end in enumerate(lanes) if end < first), len(lanes))
        lanes[lane : lane + 1] = [last]
        x = n + 0.3 + 0.05 * n * (lane + 0.5)
        ax.plot([x, x], [first - 0.25, last + 0.25], color=INK, linewidth=1.6, solid_capstyle="butt")
    ax.set_xlim(0.8, max(ax.get_xlim()[1], n + 0.3 + 0.05 * n * (len(lanes) + 0.5)))  # panels share it
    ax.set_xticks([t for t in MaxNLocator(6, integer=True).tick_values(1, n) if 1 <= t <= n])


def joined(panel: pd.DataFrame) -> list[tuple[int, int]]:
    """First and last position of the largest groups, two or more, whose intervals all overlap; best place first."""
    low, high, found = list(panel["ci_low"]), list(panel["ci_high"]), []
    for first in range(len(low)):
        last = max(j for j in range(first, len(low)) if low[j] <= high[first])
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def _alt_places(data: pd.DataFrame, words: str) -> str:
    parts = []
    for (corpus_id, direction), rows in data.groupby(["corpus", "direction"], sort=False):
        order = ", ".join(f"{registry.system(r.system).name} {r.value:.2f}" for r in list(rows.itertuples())[:3])
        parts.append(f"{registry.corpus(corpus_id).name} {direction}: {order}")
    ahead = "; ".join(parts) or "nothing of ours was measured"
    return f"Mean place of each system {words}, with intervals, best first. {ahead}."


# ---------------------------------------------------------------------------------------------- seeds


def seed_spread(spread: pd.DataFrame, metrics: pd.DataFrame) -> Picture:
    """How far another seed moves a score, beside how far another test split may: points from the mean over seeds.

    Parameters
    ----------
    spread : DataFrame, seeds.csv (`fico_utils.results.seeds`).
    metrics : DataFrame, metrics.csv of one of its runs, whose intervals are drawn.
    """
    place = ["system", "corpus", "direction", "metric", "k"]
    mine = one_run(metrics, "metrics.csv")
    mine = _numbers(mine[(mine["split"] == "test") & (mine["source"] == "ours")]).set_index(place)
    data = spread.join(((mine["ci_high"] - mine["ci_low"]) / 2).rename("half_interval"), on=place)
    data = data[[pair in MOVED for pair in zip(data["metric"], data["k"], strict=True)]].reset_index(drop=True)
    names = [c for c in registry.CORPORA if c in {*data["corpus"]}]
    shown = [s for s in registry.systems() if s in {*data["system"]}]
    with style():
        height = max(len(names), 1) * (3.8 * max(len(shown), 1) + 9) + 12
        figure = Figure(figsize=(COLUMN, height * MM))
        axes = figure.subplots(max(len(names), 1), len(MOVED), sharex=True, sharey=True, squeeze=False)
        for axes_row, corpus_id in zip(axes, names or [None], strict=True):
            for ax, (metric, k) in zip(axes_row, MOVED, strict=True):
                title = f"{registry.corpus(corpus_id).name}\n" if corpus_id else ""
                ax.set_title(f"{title}{Metric(metric, k).label}, points")
                _moved(ax, data[(data["corpus"] == corpus_id) & (data["metric"] == metric)], shown)
        seeds = ", ".join(sorted({*" ".join(data["seeds"]).split()}, key=int))
        figure.supxlabel(
            f"distance from the mean over seeds {seeds}\n"
            "line: from the least to the largest; grey: 95 % interval over images\n"
            "upper: image-to-text, lower: text-to-image",
            fontsize=6,
        )
    return Picture(figure, data, _alt_moved(data))


def _moved(ax: Axes, panel: pd.DataFrame, shown: Sequence[str]) -> None:
    if panel.empty:
        _unavailable(ax, len(shown))
        return
    for row in panel.itertuples():
        at, system = shown.index(row.system) + OFFSETS[row.direction], registry.system(row.system)
        half = 100 * row.half_interval
        ax.plot([-half, half], [at, at], color=QUIET, linewidth=3.2, alpha=0.35, solid_capstyle="butt")
        ends = [100 * (end - row.mean) for end in (row.low, row.high)]
        ax.plot(ends, [at, at], color=system.colour, linewidth=0.9, marker="|", markersize=3.5)
    ax.axvline(0, color=INK, linewidth=0.6)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, prune="both"))
    _rows(ax, shown)


def _alt_moved(data: pd.DataFrame) -> str:
    head = "For each system the range of R@1 and mAP@10 over seeds, beside the 95 % interval over the test split"
    if data.empty:
        return f"{head}: nothing was measured with more than one seed."
    wide = data.loc[(data["high"] - data["low"]).idxmax()]
    inside = ((data["high"] - data["mean"]).clip(lower=data["mean"] - data["low"]) <= data["half_interval"]).mean()
    return (
        f"{head}. The seed moves {registry.system(wide['system']).name} most, "
        f"{100 * (wide['high'] - wide['low']):.1f} points at {wide['direction']} "
        f"{Metric(wide['metric'], wide['k']).label}; "
        f"{inside:.0%} of the ranges lie within the interval."
    )
