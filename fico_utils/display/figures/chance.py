"""mAP above chance: the share of the way from a random ranking to a perfect one. The paper has no such figure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import CHANCE, INK, OFFSETS, QUIET, number_word, paper_look, system_look
from fico_utils.display.picture import Picture, drawing_style, name_rows, note_unavailable, panel_grid
from fico_utils.display.rows import METRIC_COLUMNS, of_test_split, papers_rows, with_value

SHARES = {"share": "value", "share_low": "ci_low", "share_high": "ci_high"}


@register_figure("chance_corrected", "mAP above chance", "metrics")
@drawing_style()
def chance_corrected(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Picture:
    """mAP@10 and mAP@N as the share of the way from a random ranking (0) to a perfect one (1), by system and corpus.

    The share is (value - chance) / (1 - chance), for the ends of the interval, too. The chance of the paper's mAP@N is
    where its curves end; for its mAP@10 nobody states one, so only its mAP@N is drawn. n/a: a reranker has no mAP@N.
    A corpus of ours that stands beside none of the paper's has a further row, mAP@10 on the left, mAP@N on the right.
    """
    mine, places = of_test_split(metrics, corpora)
    mine, paper = (f[f["metric"] == "map"] for f in (mine, papers_rows(metrics, "metrics")))
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
    return rows.assign(**{s: (rows[column] - rows["chance"]) / (1 - rows["chance"]) for s, column in SHARES.items()})


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
