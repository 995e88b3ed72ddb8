"""Figure 4: what search indexes find and how long they take, ours and the paper's."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.picture import COLUMN, GREY, MM, Picture, drawing_style, paper_look, system_look
from fico_utils.display.rows import one_run, papers_rows, with_value

COLUMNS = [
    "source", "system", "phase", "scale_img", "scale_txt", "quantity", "k", "unit", "value", "status", "run",
]  # fmt: skip


@register_figure("fig4", "Recall and time of search indexes", "costs")
def search_indexes(costs: pd.DataFrame) -> Picture:
    """Figure 4: (a) recall against k, (b) search time against size, of the search indexes; `costs` is costs.csv.

    (a) shows ours at the largest size measured and the paper's at 1M queries, 5M candidates. The paper's points come
    from another machine.
    """
    mine, paper = with_value(one_run(costs, "costs.csv")), papers_rows(costs, "costs")
    mine = mine[mine["phase"] == "search"]
    recall, seconds = _recall_rows(mine), mine[mine["quantity"] == "seconds"]
    paper_recall, paper_seconds = _recall_rows(paper[paper["run"] == "figure4a"]), paper[paper["run"] == "figure4b"]
    with drawing_style():
        figure = Figure(figsize=(COLUMN, 96 * MM))
        left, right = figure.subplots(2, 1)
        panels = ((left, "k", recall, paper_recall), (right, "scale_txt", seconds, paper_seconds))
        for ax, x, ours, theirs in panels:
            for frame in (theirs, ours):
                for index_id, rows in frame.groupby("system", sort=False):
                    index = registry.INDEXES[index_id]
                    ax.plot(rows[x], rows["value"], **(system_look(index) if frame is ours else paper_look(index.line)))
        _set_axes(left, right)
        for ax, x, _, theirs in panels:
            _name_paper(ax, theirs, x)
        handles = [Line2D([], [], **system_look(i)) for i in registry.INDEXES.values() if i.id in set(mine["system"])]
        handles.append(Line2D([], [], label="paper, another machine", **paper_look("-")))
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    data = pd.concat([recall, paper_recall, seconds, paper_seconds], ignore_index=True)
    return Picture(figure, data[COLUMNS], _alt(recall, seconds))


def _recall_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of recall@k at the largest size, with k as a number, ascending."""
    rows = frame[frame["quantity"].str.startswith("recall@")]
    rows = rows[rows["scale_txt"] == rows["scale_txt"].max()]
    return rows.assign(k=rows["quantity"].str[7:].astype(float)).sort_values("k", kind="stable")


def _set_axes(left: Axes, right: Axes) -> None:
    left.set(xscale="log", xlabel="k (log scale)", ylabel="recall@k", ylim=(-0.02, 1.04), title="(a) recall against k")
    left.set_xticks([1, 10, 100, 1000])
    left.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    right.set(xscale="log", yscale="log", xlabel="candidates (log scale)", ylabel="search time, s (log scale)")
    right.set_title("(b) search time against size")
    for ax in (left, right):
        ax.xaxis.set_minor_formatter(NullFormatter())


def _name_paper(ax: Axes, rows: pd.DataFrame, x: str) -> None:
    """Write each index's name beside the last of the paper's points, in grey; names that collide stack."""
    height = ax.transData.transform
    ends = sorted(
        (float(height((p[x].iloc[-1], p["value"].iloc[-1]))[1]), p[x].iloc[-1], p["value"].iloc[-1], index_id)
        for index_id, p in rows.groupby("system")
    )
    places: list[list] = []
    for end in ends:
        if not places or end[0] - places[-1][-1][0] >= 0.04 * ax.figure.bbox.height:
            places.append([])
        places[-1].append(end)
    for place in places:
        names = "\n".join(registry.INDEXES[end[3]].name for end in reversed(place))
        _, at, value, _ = place[len(place) // 2]
        ax.annotate(
            names, (at, value), xytext=(5, 0), textcoords="offset points", color=GREY, fontsize=5.5,
            va="center", annotation_clip=False,
        )  # fmt: skip


def _alt(recall: pd.DataFrame, seconds: pd.DataFrame) -> str:
    parts = []
    for index_id, rows in recall.groupby("system", sort=False):
        first, last, name = rows.iloc[0], rows.iloc[-1], registry.INDEXES[index_id].name
        parts.append(f"{name} recall {first.value:.2f} at k={first.k:g}, {last.value:.2f} at {last.k:g}")
    for index_id, rows in seconds.groupby("system", sort=False):
        last, name = rows.iloc[-1], registry.INDEXES[index_id].name
        parts.append(f"{name} searches {last.scale_txt:.0f} candidates in {last.value:.2g} s")
    ours = "; ".join(parts) or "nothing of ours was measured"
    return f"Search indexes, two panels: recall against k; search time against size. {ours}. Grey: the paper."
