"""Figure 3: precision against recall, ours in the colours of the systems, the paper's in grey behind them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.picture import (
    CHANCE,
    COLUMN,
    DIRECTION_WORDS,
    GREY,
    MM,
    Picture,
    drawing_style,
    note_unavailable,
    number_word,
    paper_look,
    system_look,
)  # fmt: skip
from fico_utils.display.rows import Place, of_test_split, papers_rows, with_value
from fico_utils.results.schema import DIRECTIONS

COLUMNS = ["source", "system", "corpus", "direction", "metric", "k", "value", "status", "run"]


@register_figure("fig3", "Precision-recall curves", "metrics", corpora=True)
def precision_recall(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Picture:
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
    (mine, places), paper = of_test_split(metrics, corpora), papers_rows(metrics, "metrics")
    curves, paper_curves = _curve_rows(mine), _curve_rows(paper)
    known = {*curves["system"]} or {*paper_curves["system"]}
    shown, measured = [s for s in registry.systems() if s in known], len(curves) > 0
    plotted = []
    with drawing_style():
        legend_rows = -(-(len(shown) + 2) // 3)
        figure = Figure(figsize=(COLUMN, (86 + 38 * (len(places) - 2) + 3 * legend_rows) * MM))
        axes = figure.subplots(len(places), 2, sharex=True, sharey="row", squeeze=False)
        for axes_row, place in zip(axes, places, strict=True):
            for ax, direction in zip(axes_row, DIRECTIONS, strict=True):
                ours = _panel(curves, place.ours, direction, shown)
                theirs = _panel(paper_curves, place.paper, direction, shown)
                chance = _chance_row(mine, paper, place, direction)
                _precision_recall(ax, ours, theirs, chance)
                plotted += [ours, theirs, chance]
                ax.set_title(f"{place.name}\n{DIRECTION_WORDS[direction]}" + ("" if place.ours else " (paper)"))
        for ax in axes[-1]:
            ax.set_xlabel("recall")
        for ax in axes[:, 0]:
            ax.set_ylabel("precision")
        systems = [registry.system(s) for s in shown]
        looks = [system_look(s) if measured else {**paper_look(s.line, s.marker), "label": s.name} for s in systems]
        looks += [{"label": "paper, same markers", **paper_look("-")}] if measured else []
        handles = [Line2D([], [], **look) for look in (*looks, {"label": "chance", **CHANCE})]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    data = pd.concat(plotted, ignore_index=True)[COLUMNS]
    levels = data[data["source"] == "chance"].itertuples()
    ends = [f"{registry.corpus(row.corpus).name} {row.direction} {row.value:.2f}" for row in levels]
    names = ", ".join(s.name for s in systems) if measured else "none of ours"
    alt = (
        f"{number_word(2 * len(places)).capitalize()} panels of precision against recall, {number_word(len(places))} "
        f"corpora in two directions. Systems: {names}; the paper's in grey. All fall from left to right towards chance "
        f"({'; '.join(ends) or 'not known'})."
    )
    return Picture(figure, data, alt)


def _curve_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Curve rows of ours or the paper's that have a value."""
    rows = with_value(frame[frame["source"].isin(("ours", "paper")) & (frame["metric"] == "precision")])
    return rows[rows["k"].str.startswith("R=")]


def _panel(curves: pd.DataFrame, corpus_id: str, direction: str, systems: Collection[str]) -> pd.DataFrame:
    rows = curves[(curves["corpus"] == corpus_id) & (curves["direction"] == direction)]
    return rows[rows["system"].isin(systems)]


def _chance_row(mine: pd.DataFrame, paper: pd.DataFrame, place: Place, direction: str) -> pd.DataFrame:
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
            look = system_look(system) if frame is ours else paper_look(system.line, system.marker)
            recall = rows["k"].str[2:].astype(float)
            ax.plot(recall, rows["value"], markevery=1 if frame is ours else 2, **look)
    for value in chance["value"]:
        ax.axhline(value, **CHANCE)
    if ours.empty and theirs.empty:
        note_unavailable(ax)
    for corpus_id in theirs["corpus"].unique() if len(ours) else ():
        words = f"paper: {registry.corpus(corpus_id).name}"
        ax.text(1, 0.97, words, transform=ax.transAxes, ha="right", va="top", color=GREY, fontsize=5.5)
    ax.set_xlim(-0.03, 1.03)
    ax.set_xticks([0, 0.5, 1])
    ax.set_xticks([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9], minor=True)
