"""Figures 3 and 4 from the tidy tables, the paper's own values in grey; 1 and 2 in `drawings`, `framework`.

Each function returns a `Picture`: the Figure, the plotted numbers, the alternative text. `save` writes it.
Colour is the family, marker and line are the system, grey is the paper, the dotted line is chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from fico_utils import registry
from fico_utils.display.drawings import Example, Hit, fig1
from fico_utils.display.framework import fig2
from fico_utils.display.picture import COLUMN, INK, MM, QUIET, Picture, in_words, save, style
from fico_utils.display.rows import one_run, papers_rows
from fico_utils.display.tables import Place, of_test_split
from fico_utils.results.schema import DIRECTIONS

__all__ = ["Example", "Hit", "Picture", "fig1", "fig2", "fig3", "fig4", "save"]

GREY = registry.PAPER_COLOUR
CHANCE = {"color": INK, "linestyle": (0, (1, 1.6)), "linewidth": 0.9}
DIRECTION_NAMES = {"i2t": "image-to-text", "t2i": "text-to-image"}


def _look(system: registry.System | registry.Index) -> dict:
    """Keywords of a line for a system: colour of its family, its own marker and line."""
    hollow = getattr(system, "hollow", False)
    return {
        "color": system.colour,
        "linestyle": system.line,
        "marker": system.marker,
        "markerfacecolor": "white" if hollow else system.colour,
        "label": system.name,
    }


def _paper_look(line: str, marker: str = "o") -> dict:
    """Keywords of a line for the paper's values: quiet grey, hollow."""
    return {
        "color": GREY, "linestyle": line, "linewidth": 0.6, "marker": marker, "markersize": 2.8,
        "markerfacecolor": "white", "markeredgewidth": 0.5, "zorder": 1.5,
    }  # fmt: skip


def unavailable(ax: Axes) -> None:
    """Say in a panel that there is nothing to draw."""
    ax.text(0.5, 0.5, "unavailable", transform=ax.transAxes, ha="center", va="center", color=QUIET)


# -------------------------------------------------------------------------------------------------- figure 3


def fig3(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Picture:
    """Figure 3: 11-point precision-recall curves, a row of panels a corpus, two directions, the paper's behind them.

    Parameters
    ----------
    metrics : DataFrame, metrics.csv.
    corpora : sequence of str, ours to show; default: those that `metrics` holds.

    Notes
    -----
    The paper's curves are those of the systems that were measured here (all of them, where none was), read
    off its figure, each with its system's marker in grey. The chance line is the share of relevant pairs of
    our corpus, or, where we have none, the end of the paper's curves. A corpus of ours that stands beside none of
    the paper's has a further row, with nothing in grey.
    """
    (mine, found), paper = of_test_split(metrics, corpora), papers_rows(metrics, "metrics")
    measured = [s for s in registry.systems() if s in set(_curves(mine)["system"])]
    shown = measured or [s for s in registry.systems() if s in set(_curves(paper)["system"])]
    plotted = []
    with style():
        legend_rows = -(-(len(shown) + 2) // 3)
        figure = Figure(figsize=(COLUMN, (86 + 38 * (len(found) - 2) + 3 * legend_rows) * MM))
        axes = figure.subplots(len(found), 2, sharex=True, sharey="row", squeeze=False)
        for axes_row, place in zip(axes, found, strict=True):
            for ax, direction in zip(axes_row, DIRECTIONS, strict=True):
                ours = _curves(mine, place.ours, direction, measured)
                theirs = _curves(paper, place.paper, direction, shown)
                chance = _chance(mine, paper, place, direction)
                _precision_recall(ax, ours, theirs, chance)
                plotted += [ours, theirs, chance]
                ax.set_title(f"{place.name}\n{DIRECTION_NAMES[direction]}" + ("" if place.ours else " (paper)"))
        for ax in axes[-1]:
            ax.set_xlabel("recall")
        for ax in axes[:, 0]:
            ax.set_ylabel("precision")
        _legend(figure, [registry.system(s) for s in shown], bool(measured))
    data = pd.concat(plotted, ignore_index=True)
    columns = ["source", "system", "corpus", "direction", "metric", "k", "value", "status", "run"]
    return Picture(figure, data[columns], _alt3(data, measured, len(found)))


def _curves(frame: pd.DataFrame, corpus_id=None, direction=None, systems=None) -> pd.DataFrame:
    """Curve rows of ours or the paper's that have a value."""
    keep = (frame["metric"] == "precision") & frame["source"].isin(("ours", "paper")) & (frame["status"] == "ok")
    if direction is not None:
        keep &= (frame["corpus"] == corpus_id) & (frame["direction"] == direction) & frame["system"].isin(systems)
    return frame[keep]


def _chance(mine: pd.DataFrame, paper: pd.DataFrame, place: Place, direction: str) -> pd.DataFrame:
    """The one row that says mAP@N, hence precision, of a random ranking; empty where nobody says it."""
    for frame, corpus_id in ((mine, place.ours), (paper, place.paper)):
        rows = frame[(frame["source"] == "chance") & (frame["corpus"] == corpus_id) & (frame["metric"] == "map")]
        rows = rows[(rows["direction"] == direction) & (rows["k"] == "N")]
        if len(rows):
            return rows.head(1)
    return paper.head(0)


def _precision_recall(ax: Axes, ours: pd.DataFrame, theirs: pd.DataFrame, chance: pd.DataFrame) -> None:
    for frame in (theirs, ours):
        for system_id, rows in frame.groupby("system", sort=False):
            system = registry.system(system_id)
            look = _look(system) if frame is ours else _paper_look(system.line, system.marker)
            recall = rows["k"].str[2:].astype(float)
            ax.plot(recall, rows["value"], markevery=1 if frame is ours else 2, **look)
    for value in chance["value"]:
        ax.axhline(value, **CHANCE)
    if ours.empty and theirs.empty:
        unavailable(ax)
    for corpus_id in theirs["corpus"].unique() if len(ours) else ():
        words = f"paper: {registry.corpus(corpus_id).name}"
        ax.text(1, 0.97, words, transform=ax.transAxes, ha="right", va="top", color=GREY, fontsize=5.5)
    ax.set_xlim(-0.03, 1.03)
    ax.set_xticks([0, 0.5, 1])
    ax.set_xticks([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9], minor=True)


def _legend(figure: Figure, systems: list, measured: bool) -> None:
    """One legend for all panels: ours in colour (all in grey where nothing was measured), paper, chance."""
    handles = []
    for system in systems:
        look = _look(system) if measured else {**_paper_look(system.line, system.marker), "label": system.name}
        handles.append(Line2D([], [], **look))
    if measured:
        handles.append(Line2D([], [], label="paper, same markers", **_paper_look("-")))
    handles.append(Line2D([], [], label="chance", **CHANCE))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)


def _alt3(data: pd.DataFrame, measured: list[str], n: int) -> str:
    names = ", ".join(registry.system(s).name for s in measured) or "none of ours"
    ends = [
        f"{registry.corpus(row.corpus).name} {row.direction} {row.value:.2f}"
        for row in data[data["source"] == "chance"].itertuples()
    ]
    return (
        f"{in_words(2 * n).capitalize()} panels of precision against recall, {in_words(n)} corpora in two directions. "
        f"Systems: {names}; "
        f"the paper's in grey. All fall from left to right towards chance ({'; '.join(ends) or 'not known'})."
    )


# -------------------------------------------------------------------------------------------------- figure 4


def fig4(costs: pd.DataFrame) -> Picture:
    """Figure 4: (a) recall against k, (b) search time against size, of the search indexes.

    Parameters
    ----------
    costs : DataFrame, costs.csv.

    Notes
    -----
    (a) shows ours at the largest size measured and the paper's at 1M queries, 5M candidates. The paper's
    points come from another machine.
    """
    mine, paper = one_run(costs, "costs.csv"), papers_rows(costs, "costs")
    mine = mine[(mine["phase"] == "search") & (mine["status"] == "ok")]
    paper = paper[paper["run"].isin(("figure4a", "figure4b"))]
    recall, seconds = _recall(mine), mine[mine["quantity"] == "seconds"]
    paper_recall, paper_seconds = (
        _recall(paper[paper["run"] == "figure4a"]),
        paper[paper["run"] == "figure4b"],
    )
    with style():
        figure = Figure(figsize=(COLUMN, 96 * MM))
        left, right = figure.subplots(2, 1)
        for ax, x, ours, theirs in (
            (left, "k", recall, paper_recall), (right, "scale_txt", seconds, paper_seconds)
        ):  # fmt: skip
            for frame in (theirs, ours):
                for index_id, rows in frame.groupby("system", sort=False):
                    index = registry.INDEXES[index_id]
                    ax.plot(rows[x], rows["value"], **(_look(index) if frame is ours else _paper_look(index.line)))
        _axes4(left, right)
        _name_paper(left, paper_recall, "k")
        _name_paper(right, paper_seconds, "scale_txt")
        handles = [Line2D([], [], **_look(i)) for i in registry.INDEXES.values() if i.id in set(mine["system"])]
        handles.append(Line2D([], [], label="paper, another machine", **_paper_look("-")))
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    data = pd.concat([recall, paper_recall, seconds, paper_seconds], ignore_index=True)
    columns = [
        "source",
        "system",
        "phase",
        "scale_img",
        "scale_txt",
        "quantity",
        "k",
        "unit",
        "value",
        "status",
        "run",
    ]
    return Picture(figure, data[columns], _alt4(recall, seconds))


def _recall(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of recall@k at the largest size, with k as a number, ascending."""
    rows = frame[frame["quantity"].str.startswith("recall@")]
    rows = rows[rows["scale_txt"] == rows["scale_txt"].max()]
    return rows.assign(k=rows["quantity"].str[7:].astype(float)).sort_values("k", kind="stable")


def _axes4(left: Axes, right: Axes) -> None:
    left.set_xscale("log")
    left.set_xlabel("k (log scale)")
    left.set_ylabel("recall@k")
    left.set_ylim(-0.02, 1.04)
    left.set_title("(a) recall against k")
    left.set_xticks([1, 10, 100, 1000])
    left.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    left.xaxis.set_minor_formatter(NullFormatter())
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("candidates (log scale)")
    right.set_ylabel("search time, s (log scale)")
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_title("(b) search time against size")


def _name_paper(ax: Axes, rows: pd.DataFrame, x: str) -> None:
    """Write each index's name beside the last of the paper's points, in grey; names that collide stack."""
    height = ax.transData.transform
    ends = sorted(
        (float(height((p[x].iloc[-1], p["value"].iloc[-1]))[1]), p[x].iloc[-1], p["value"].iloc[-1], index_id)
        for index_id, p in rows.groupby("system")
    )
    places: list[list] = []
    for end in ends:
        if places and end[0] - places[-1][-1][0] < 0.04 * ax.figure.bbox.height:
            places[-1].append(end)
        else:
            places.append([end])
    for place in places:
        names = "\n".join(registry.INDEXES[end[3]].name for end in reversed(place))
        _, at, value, _ = place[len(place) // 2]
        ax.annotate(
            names, (at, value), xytext=(5, 0), textcoords="offset points", color=GREY, fontsize=5.5,
            va="center", annotation_clip=False,
        )  # fmt: skip


def _alt4(recall: pd.DataFrame, seconds: pd.DataFrame) -> str:
    parts = []
    for index_id, rows in recall.groupby("system", sort=False):
        first, last, name = rows.iloc[0], rows.iloc[-1], registry.INDEXES[index_id].name
        parts.append(f"{name} recall {first.value:.2f} at k={first.k:g}, {last.value:.2f} at {last.k:g}")
    for index_id, rows in seconds.groupby("system", sort=False):
        last, name = rows.iloc[-1], registry.INDEXES[index_id].name
        parts.append(f"{name} searches {last.scale_txt:.0f} candidates in {last.value:.2g} s")
    ours = "; ".join(parts) or "nothing of ours was measured"
    return f"Search indexes, two panels: recall against k; search time against size. {ours}. Grey: the paper."
