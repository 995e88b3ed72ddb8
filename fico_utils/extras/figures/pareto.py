"""What is worth deploying: each way to search by what it finds, the time of a query and the bytes of an item.

Colour is the family, marker and line are the system, as everywhere. A screen with a reranker wears both: the line and
the edge of the system that screens, the marker and the filling of the one that reads again.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.picture import COLUMN, MM, QUIET, Picture, drawing_style, legend_below, system_look
from fico_utils.display.rows import COST_COLUMNS, is_measured, phase_rows, short_count
from fico_utils.errors import InputError
from fico_utils.extras.setups import pareto_front, setup_name, setup_parts

#: What is written beside a system on an index, and where, in points from it; its exhaustive search has no word.
INDEX_WORDS = {
    "hnsw_flat": ("HNSW", (0, 4.5), ("center", "bottom")), "binary_flat": ("ITQ", (-4, 0), ("right", "center")),
    "binary_flat_counting": ("ITQ", (-4, 0), ("right", "center")),
    "binary_ivf": ("ITQ, IVF", (4, 0), ("left", "center")),
}  # fmt: skip
#: Screens that a legend holds beside the systems; ways to search from which on only those on the front have a word.
FEW, CROWD = 4, 20
OTHER_SCREENS = {"color": QUIET, "marker": ".", "markersize": 2.5, "alpha": 0.6, "linestyle": "none", "zorder": 1}
RING = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": QUIET, "linestyle": "none"}


class Setup(NamedTuple):
    """A way to search: its name, who searches first and in which index, who reads again how many, and its numbers."""

    name: str
    first: registry.System
    index: str
    second: registry.System | None
    depth: int
    point: pd.Series
    on_front: bool

    @property
    def screen(self) -> tuple[str, str] | None:
        """Ids of who searches and who reads again."""
        return (self.first.id, self.second.id) if self.second else None


@register_figure("pareto", "Ways to search: recall, time and memory", "costs", when=is_measured("deploy"))
def search_setups(costs: pd.DataFrame, size: int | None = None, recall: str = "recall_t2i@1") -> Picture:
    """Every setup by what it finds against (a) seconds a query and (b) bytes an item, with the front of both.

    Parameters
    ----------
    costs : DataFrame, costs.csv with rows of phase ``deploy``; of several corpora the first is shown, as what is
        best to deploy is a question about one gallery.
    size : int or None, items in the gallery; None is the largest at which most setups were measured.
    recall : str, the quality on the vertical axis.

    Raises
    ------
    InputError
        No such rows, or none at this size.

    Notes
    -----
    The front is of three numbers (recall, seconds, bytes): a point on it may lie below another in one panel, as it is
    smaller in the other. It is drawn with a ring. The markers of a screen grow with its depth. Of more screens than fit
    a legend, those with a point on the front have their look; the others are grey dots.
    """
    mine = phase_rows(costs, "deploy", "measure with galleries.setup_rows first")
    size = _shared_size(mine) if size is None else size
    rows = mine[(mine["scale_img"] == size) & mine["quantity"].isin(("seconds_per_query", "item_bytes", recall))]
    points = rows.pivot_table(index="system", columns="quantity", values="value", sort=False).dropna()
    if points.empty or len(points.columns) < 3:
        measured = ", ".join(str(int(s)) for s in sorted(mine["scale_img"].unique()))
        raise InputError(f"no setup has {recall} at {size} items; expected one of the sizes {measured}")
    best = pareto_front(points[[recall, "seconds_per_query", "item_bytes"]].to_numpy(), ("max", "min", "min"))
    setups = [_read_setup(*pair, on_front) for pair, on_front in zip(points.iterrows(), best, strict=True)]
    screens = {setup.screen for setup in setups if setup.screen}
    named = screens if len(screens) <= FEW else {setup.screen for setup in setups if setup.screen and setup.on_front}
    with drawing_style():
        figure = Figure(figsize=(COLUMN, 98 * MM))
        axes = figure.subplots(2, 1, sharey=True)
        panels = (("(a)", "seconds a query", "s", "seconds_per_query"), ("(b)", "bytes an item", "B", "item_bytes"))
        for ax, (letter, words, unit, quantity) in zip(axes, panels, strict=True):
            _draw_setups(ax, setups, quantity, recall, named)
            ax.set(xscale="log", ylabel=f"R@{recall.split('@')[1]}")
            ax.margins(x=0.12, y=0.12)
            ax.set_title(f"{letter} {short_count(size)} items: {words}")
            ax.set_xlabel(f"{unit} {words.split(' ', 1)[1]} (log scale)")
        legend_below(figure, _legend_handles(setups, named), ncols=2)
    order = {name: i for i, name in enumerate(points.index)}
    data = rows[rows["system"].isin(order)]
    data = data.sort_values(["system", "quantity"], key=lambda c: c.map(order) if c.name == "system" else c)
    data = data[COST_COLUMNS].assign(front=data["system"].map(dict(zip(points.index, best, strict=True))))
    said = [
        f"{setup_name(s.name)}: recall {s.point[recall]:.2f}, {1e3 * s.point['seconds_per_query']:.2g} ms, "
        f"{s.point['item_bytes']:,.0f} B"
        for s in setups
        if s.on_front
    ]
    alt = (
        f"{len(points)} ways to search {size} items, recall against seconds a query and against bytes an item. "
        f"On the front of recall, time and memory: {'; '.join(said)}."
    )
    return Picture(figure, data.reset_index(drop=True), alt)


def _shared_size(mine: pd.DataFrame) -> int:
    """The largest size at which most setups were measured."""
    sizes = mine.groupby("scale_img")["system"].nunique()
    return int(sizes[sizes == sizes.max()].index.max())


def _deploy_sizes(costs: pd.DataFrame) -> tuple[int, int]:
    """The size at which most setups were measured, and the largest; fusion reads what was kept and ends before it."""
    mine = phase_rows(costs, "deploy", "measure with galleries.setup_rows first")
    return _shared_size(mine), int(mine["scale_img"].max())


def _goes_further(costs: pd.DataFrame) -> bool:
    shared, largest = _deploy_sizes(costs) if is_measured("deploy")(costs) else (0, 0)
    return largest > shared


@register_figure("pareto_largest", "Ways to search the most items that were measured", "costs", when=_goes_further)
def pareto_largest(costs: pd.DataFrame) -> Picture:
    """`search_setups` among the most items that any setup was measured with."""
    return search_setups(costs, size=_deploy_sizes(costs)[1])


def _read_setup(name: str, point: pd.Series, on_front: bool) -> Setup:
    first, index, second, depth = setup_parts(name)
    return Setup(
        name, registry.system(first), index, registry.system(second) if second else None, depth, point, on_front
    )


def _depths(setups: list[Setup]) -> list[int]:
    """Every depth that a screen hands on, ascending."""
    return sorted({setup.depth for setup in setups if setup.depth})


def _draw_setups(ax: Axes, setups: list[Setup], quantity: str, recall: str, named: set[tuple[str, str]]) -> None:
    depths, screens = _depths(setups), {}
    for setup in setups:
        first, x, y = setup.first, setup.point[quantity], setup.point[recall]
        if setup.on_front:
            ax.plot(x, y, markersize=8, **RING)
        if setup.screen in named:
            screens.setdefault(setup.screen, []).append((setup.depth, x, y, setup))
        elif setup.screen:
            ax.plot(x, y, **OTHER_SCREENS)
        else:
            word, away, (across, up) = INDEX_WORDS.get("" if first.bits else setup.index, ("", (0, 0), ("", "")))
            face = "white" if word or first.hollow else first.colour
            ax.plot(x, y, marker=first.marker, color=first.colour, markerfacecolor=face, linestyle="none")
            if word and (setup.on_front or len(setups) <= CROWD):
                ax.annotate(
                    word, (x, y), xytext=away, textcoords="offset points", fontsize=5, color=first.colour, ha=across,
                    va=up,
                )  # fmt: skip
    for steps in screens.values():
        steps.sort(key=lambda step: step[:3])
        first, second = steps[0][3].first, steps[0][3].second
        xs, ys = [x for _, x, *_ in steps], [y for _, _, y, _ in steps]
        ax.plot(xs, ys, color=first.colour, linestyle=first.line, linewidth=0.7)
        for (
            depth,
            x,
            y,
            _,
        ) in steps:  # the marker grows with the depth, as numbers beside crowded points hide each other
            ax.plot(
                x, y, marker=second.marker, markersize=2.5 + 2.5 * depths.index(depth) / max(1, len(depths) - 1),
                markerfacecolor=second.colour, markeredgecolor=first.colour, markeredgewidth=0.7, linestyle="none",
            )  # fmt: skip


def _legend_handles(setups: list[Setup], named: set[tuple[str, str]]) -> list[Line2D]:
    alone = {setup.first.id: setup.first for setup in setups if not setup.screen}
    looks = [{**system_look(alone[s]), "linestyle": "none"} for s in registry.systems() if s in alone]
    pairs = {setup.screen: (setup.first, setup.second) for setup in setups if setup.screen in named}
    looks += [
        {
            "color": first.colour, "linestyle": first.line, "linewidth": 0.7, "marker": second.marker,
            "markerfacecolor": second.colour, "markeredgecolor": first.colour,
            "label": f"{first.name}, then {second.name}",
        }
        for first, second in pairs.values()
    ]  # fmt: skip
    if pairs:
        depths = ", ".join(map(str, _depths(setups)))
        looks.append({"label": f"(growing with k: {depths})", "linestyle": "none"})
    if any(setup.screen and setup.screen not in named for setup in setups):
        looks.append({"label": "other screens", **OTHER_SCREENS})
    return [Line2D([], [], **look) for look in (*looks, {"label": "on the Pareto front", "markersize": 6, **RING})]
