"""Figure 3: precision against recall, ours in the colours of the systems, the paper's in grey behind them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import CHANCE, DIRECTION_WORDS, GREY, number_word, paper_look, system_look
from fico_utils.display.picture import Picture, drawing_style, legend_below, note_unavailable, panel_grid, panel_title
from fico_utils.display.rows import Place, of_test_split, with_value
from fico_utils.results.schema import DIRECTIONS

COLUMNS = ["source", "system", "corpus", "direction", "metric", "k", "value", "status", "run"]


@register_figure("fig3", "Figure 3. Precision-recall curves", "metrics")
@drawing_style()
def precision_recall(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Picture:
    """Figure 3: precision at eleven recalls, a row of panels a corpus, two directions, the paper's curves in grey.

    The paper's curves are those of the systems that were measured here (all of them, where none was), read
    off its figure, each with its system's marker in grey. The chance line is the share of relevant pairs of
    our corpus, or, where we have none, the end of the paper's curves. A corpus of ours that stands beside none of
    the paper's has a further row, with nothing in grey.
    """
    mine, paper, places = of_test_split(metrics, corpora)
    curves, paper_curves = (
        with_value(f[f["source"].isin(("ours", "paper")) & f["k"].str.startswith("R=")]) for f in (mine, paper)
    )
    known = {*curves["system"]} or {*paper_curves["system"]}
    paper_curves = paper_curves[paper_curves["system"].isin(known)]
    systems, measured = [s for s in registry.systems().values() if s.id in known], len(curves) > 0
    looks = [system_look(s) if measured else paper_look(s.line, s.marker, label=s.name) for s in systems]
    looks += [paper_look("-", label="paper, same markers")] if measured else []
    looks.append({"label": "chance", **CHANCE})
    height = 86 + 38 * (len(places) - 2) + 3 * -(-(len(systems) + 2) // 3)
    figure, axes = panel_grid(height, len(places), 2, sharex=True, sharey="row")
    plotted = []
    for axes_row, place in zip(axes, places, strict=True):
        for ax, direction in zip(axes_row, DIRECTIONS, strict=True):
            ours, theirs = (
                rows[(rows["corpus"] == corpus_id) & (rows["direction"] == direction)]
                for rows, corpus_id in ((curves, place.ours), (paper_curves, place.paper))
            )
            chance = _chance_row(mine, paper, place, direction)
            _precision_recall(ax, ours, theirs, chance)
            plotted += [ours, theirs, chance]
            ax.set_title(
                f"{panel_title(place.name)}\n{DIRECTION_WORDS[direction]}" + ("" if place.ours else " (paper)")
            )
        axes_row[0].set_ylabel("precision")
    for ax in axes[-1]:
        ax.set_xlabel("recall")
    legend_below(figure, looks, ncols=3, row_height=0)
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


def _chance_row(mine: pd.DataFrame, paper: pd.DataFrame, place: Place, direction: str) -> pd.DataFrame:
    """The one row that says mAP@N, hence precision, of a random ranking; empty where nobody says it."""
    both = pd.concat([mine[mine["corpus"] == place.ours], paper[paper["corpus"] == place.paper]])
    return both.query("source == 'chance' and metric == 'map' and k == 'N' and direction == @direction").head(1)


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
