"""What is worth deploying: each way to search by what it finds, the time of a query and the bytes of an item.

Colour is the family, marker and line are the system, as everywhere. A screen with a reranker wears both: the line and
the edge of the system that screens, the marker and the filling of the one that reads again.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import QUIET, system_look
from fico_utils.display.picture import Picture, drawing_style, legend_below, panel_grid
from fico_utils.display.rows import short_count
from fico_utils.display.table import two_digits
from fico_utils.errors import InputError
from fico_utils.extras.figures import COST_COLUMNS, phase_rows
from fico_utils.extras.setups import pareto_front, setup_name, setup_parts

#: What is written beside a system on an index, and where, in points from it; its exhaustive search has no word.
ITQ = {"text": "ITQ", "xytext": (-6, 0), "ha": "right", "va": "center"}
INDEX_WORDS = {
    "hnsw_flat": {"text": "HNSW", "xytext": (0, 4.5), "ha": "center", "va": "bottom"},
    "binary_flat": ITQ, "binary_flat_counting": ITQ,
    "binary_ivf": {"text": "ITQ, IVF", "xytext": (6, 0), "ha": "left", "va": "center"},
}  # fmt: skip
#: Screens that a legend holds beside the systems; ways to search from which on only those on the front have a word.
FEW, CROWD = 4, 20
#: The quality on the vertical axis.
RECALL = "recall_t2i@1"
OTHER_SCREENS = {"color": QUIET, "marker": ".", "markersize": 2.5, "alpha": 0.6, "linestyle": "none", "zorder": 1}
RING = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": QUIET, "linestyle": "none"}


def _deploy_sizes(costs: pd.DataFrame) -> tuple[int, int]:
    """The size at which most setups were measured, and the largest; fusion reads what was kept and ends before it."""
    mine = phase_rows(costs, "deploy", "measure with galleries.setup_rows first")
    setups = mine.groupby("scale_img")["system"].nunique()
    return int(setups[setups == setups.max()].index.max()), int(setups.index.max())


@register_figure("pareto_largest", "Ways to search the most items that were measured", "costs")
def pareto_largest(costs: pd.DataFrame) -> Picture | None:
    """Each way to search that was measured with the most items, by what it finds against time and bytes.

    It is `search_setups` at that size; None where that shows it anyway.
    """
    shared, largest = _deploy_sizes(costs)
    return search_setups(costs, size=largest) if largest > shared else None


@register_figure("pareto", "Ways to search: recall, time and memory", "costs")
@drawing_style()
def search_setups(costs: pd.DataFrame, size: int | None = None) -> Picture:
    """Each way to search by what it finds against (a) seconds a query and (b) bytes an item; rings mark the front.

    `costs` is costs.csv with rows of phase ``deploy``; of several corpora the first is shown, as what is best to deploy
    is a question about one gallery. `size` is the number of items in it; None is the largest at which most setups were
    measured. InputError where there are no such rows.

    The front is of three numbers (recall, seconds, bytes): a point on it may lie below another in one panel, as it is
    smaller in the other. It is drawn with a ring. The markers of a screen grow with its depth. Of more screens than fit
    a legend, those with a point on the front have their look; the others are grey dots.
    """
    mine = phase_rows(costs, "deploy", "measure with galleries.setup_rows first")
    size = _deploy_sizes(costs)[0] if size is None else size
    numbers = {RECALL: "recall", "seconds_per_query": "seconds", "item_bytes": "bytes"}
    rows = mine[(mine["scale_img"] == size) & mine["quantity"].isin(numbers)]
    points = rows.pivot_table(index="system", columns="quantity", values="value", sort=False).dropna()
    if points.empty or len(points.columns) < 3:
        measured = ", ".join(str(int(s)) for s in sorted(mine["scale_img"].unique()))
        raise InputError(f"no setup has {RECALL} at {size} items; expected one of the sizes {measured}")
    points = points.rename(columns=numbers)
    points["front"] = pareto_front(points[["recall", "seconds", "bytes"]].to_numpy(), ("max", "min", "min"))
    points[["first", "inside", "second", "depth"]] = [setup_parts(name) for name in points.index]
    screens = points[points["second"] != ""].groupby(["first", "second"], sort=False)
    named = [pair for pair, steps in screens if len(screens) <= FEW or steps["front"].any()]
    figure, axes = panel_grid(98, 2, sharey=True)
    panels = (("(a) time, {} items", "seconds a query"), ("(b) memory, {} items", "bytes an item"))
    for ax, (title, label), quantity in zip(axes.flat, panels, ("seconds", "bytes"), strict=True):
        _draw_setups(ax, points.assign(x=points[quantity]), named)
        ax.set(xscale="log", ylabel="R@1", xlabel=f"{label} (log scale)")
        ax.margins(x=0.12, y=0.12)
        ax.set_title(title.format(short_count(size)))
    legend_below(figure, _legend_looks(points, named), ncols=2)
    data = rows[rows["system"].isin(points.index)][COST_COLUMNS].assign(front=rows["system"].map(points["front"]))
    order = {name: i for i, name in enumerate(points.index)}
    data = data.sort_values(["system", "quantity"], key=lambda c: c.map(order) if c.name == "system" else c)
    said = [
        f"{setup_name(name)}: recall {at.recall:.2f}, {two_digits(1e3 * at.seconds)} ms, {at.bytes:,.0f} B"
        for name, at in points[points["front"]].iterrows()
    ]
    alt = (
        f"{len(points)} ways to search {size} items, recall against seconds a query and against bytes an item. "
        f"On the front of recall, time and memory: {'; '.join(said)}."
    )
    return Picture(figure, data.reset_index(drop=True), alt)


def _depths(points: pd.DataFrame) -> list[int]:
    """Every depth that a screen hands on, ascending."""
    return sorted({*points["depth"]} - {0})


def _draw_setups(ax: Axes, points: pd.DataFrame, named: list[tuple[str, str]]) -> None:
    """One panel: single systems and screens without a look of their own, then the `named` screens step by step."""
    crowded: list[dict] = []
    for at in points.sort_values("x", kind="stable").itertuples():
        first = registry.system(at.first)
        if at.front:
            ax.plot(at.x, at.recall, markersize=8, **RING)
        if not at.second:
            word = INDEX_WORDS.get("" if first.bits else at.inside)
            face = "white" if word or first.hollow else first.colour
            look = {"marker": first.marker, "color": first.colour, "markerfacecolor": face, "linestyle": "none"}
            ax.plot(at.x, at.recall, **look)
            if word and word not in crowded and (at.front or len(points) <= CROWD):
                ax.annotate(xy=(at.x, at.recall), textcoords="offset points", fontsize=5, color=QUIET, **word)
                crowded += [word] if word is ITQ else []  # codes of all systems lie close together: one word for them
        elif (at.first, at.second) not in named:
            ax.plot(at.x, at.recall, **OTHER_SCREENS)
    depths = _depths(points)
    for pair in named:
        first, second = map(registry.system, pair)
        steps = points[(points["first"] == first.id) & (points["second"] == second.id)].sort_values("depth")
        ax.plot(steps["x"], steps["recall"], color=first.colour, linestyle=first.line, linewidth=0.7)
        for step in steps.itertuples():  # the marker grows with the depth, as numbers beside crowded points collide
            ax.plot(
                step.x, step.recall, marker=second.marker, markerfacecolor=second.colour, linestyle="none",
                markersize=2.5 + 2.5 * depths.index(step.depth) / max(1, len(depths) - 1),
                markeredgecolor=first.colour, markeredgewidth=0.7,
            )  # fmt: skip


def _legend_looks(points: pd.DataFrame, named: list[tuple[str, str]]) -> list[dict]:
    alone = {*points.loc[points["second"] == "", "first"]}
    looks = [system_look(row, linestyle="none") for s, row in registry.systems().items() if s in alone]
    for first, second in [map(registry.system, pair) for pair in named]:
        looks.append({
            "color": first.colour, "linestyle": first.line, "linewidth": 0.7, "marker": second.marker,
            "markerfacecolor": second.colour, "markeredgecolor": first.colour,
            "label": f"{first.name}, then {second.name}",
        })  # fmt: skip
    if named:
        looks.append({"label": f"(growing with k: {', '.join(map(str, _depths(points)))})", "linestyle": "none"})
    if any(pair not in named for pair in zip(points["first"], points["second"], strict=True) if pair[1]):
        looks.append({"label": "other screens", **OTHER_SCREENS})
    return [*looks, {"label": "front of recall, time, memory", "markersize": 6, **RING}]
