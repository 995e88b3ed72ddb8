"""Figure 4: what search indexes find and how long they take, ours and the paper's."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import GREY, paper_look, system_look
from fico_utils.display.picture import Picture, drawing_style, legend_below, panel_grid
from fico_utils.display.rows import split_rows, with_value

COLUMNS = [
    "source", "system", "phase", "scale_img", "scale_txt", "quantity", "k", "unit", "value", "status", "run",
]  # fmt: skip


@register_figure("fig4", "Figure 4. Recall and time of search indexes", "costs")
@drawing_style()
def search_indexes(costs: pd.DataFrame) -> Picture:
    """Figure 4: (a) recall against k, (b) search time against size, of the search indexes.

    `costs` is costs.csv. (a) shows ours at the largest size measured and the paper's at 1M queries, 5M candidates. The
    paper's points come from another machine.
    """
    mine, paper = split_rows(costs, "costs").values()
    mine = with_value(mine[mine["phase"] == "search"])
    recall, seconds = _recall_rows(mine), mine[mine["quantity"] == "seconds"]
    paper_recall, paper_seconds = _recall_rows(paper[paper["run"] == "figure4a"]), paper[paper["run"] == "figure4b"]
    figure, axes = panel_grid(96, 2)
    upper, lower = axes.flat
    panels = ((upper, "k", recall, paper_recall), (lower, "scale_txt", seconds, paper_seconds))
    for ax, x, ours, theirs in panels:
        for index_id, rows in theirs.groupby("system", sort=False):
            ax.plot(rows[x], rows["value"], **paper_look(registry.INDEXES[index_id].line))
        for index_id, rows in ours.groupby("system", sort=False):
            ax.plot(rows[x], rows["value"], **system_look(registry.INDEXES[index_id]))
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())
    upper.set(xlabel="k (log scale)", ylabel="recall@k", ylim=(-0.02, 1.04), title="(a) recall against k")
    upper.set_xticks([1, 10, 100, 1000])
    upper.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    lower.set(yscale="log", xlabel="candidates (log scale)", ylabel="search time, s (log scale)")
    lower.set_title("(b) search time against size")
    for ax, x, _, theirs in panels:
        _name_paper(ax, theirs, x)
    looks = [system_look(i) for i in registry.INDEXES.values() if i.id in set(mine["system"])]
    legend_below(figure, [*looks, paper_look("-", label="paper, another machine")], ncols=3)
    data = pd.concat([recall, paper_recall, seconds, paper_seconds], ignore_index=True)
    return Picture(figure, data[COLUMNS], _alt(recall, seconds))


def _recall_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of recall@k at the largest size, with k as a number, ascending."""
    rows = frame[frame["quantity"].str.startswith("recall@")]
    rows = rows[rows["scale_txt"] == rows["scale_txt"].max()]
    return rows.assign(k=rows["quantity"].str[7:].astype(float)).sort_values("k", kind="stable")


def _name_paper(ax: Axes, rows: pd.DataFrame, x: str) -> None:
    """Write whose each of the paper's lines is beside its last point, in grey; names that collide stack."""
    lasts = rows.groupby("system")[[x, "value"]].last()
    heights = ax.transData.transform(lasts.to_numpy())[:, 1]
    stacks: list[list[tuple]] = []  # of (height, x, value, index id), the lowest first
    for end in sorted(zip(heights.tolist(), lasts[x], lasts["value"], lasts.index, strict=True)):
        if not stacks or end[0] - stacks[-1][-1][0] >= 0.04 * ax.figure.bbox.height:
            stacks.append([])
        stacks[-1].append(end)
    for stack in stacks:
        names = "\n".join(f"paper: {registry.INDEXES[index_id].name}" for *_, index_id in reversed(stack))
        ax.annotate(
            names, stack[len(stack) // 2][1:3], xytext=(5, 0), textcoords="offset points", color=GREY, fontsize=5.5,
            va="center", annotation_clip=False,
        )  # fmt: skip


def _alt(recall: pd.DataFrame, seconds: pd.DataFrame) -> str:
    parts = []
    for index_id, rows in recall.groupby("system", sort=False):
        first, last, name = rows.iloc[0], rows.iloc[-1], registry.INDEXES[index_id].name
        parts.append(f"{name} recall {first.value:.2f} at k={first.k:g}, {last.value:.2f} at {last.k:g}")
    for last in seconds.drop_duplicates("system", keep="last").itertuples():
        name = registry.INDEXES[last.system].name
        parts.append(f"{name} searches {last.scale_txt:.0f} candidates in {last.value:.2g} s")
    ours = "; ".join(parts) or "nothing of ours was measured"
    return f"Search indexes, two panels: recall against k; search time against size. {ours}. Grey: the paper."
