"""What is worth deploying: each way to search by what it finds, the time of a query and the bytes of an item.

Colour is the family, marker and line are the system, as everywhere. A screen with a reranker wears both: the line and
the edge of the system that screens, the marker and the filling of the one that reads again.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import legend_below, system_look
from fico_utils.display.picture import COLUMN, MM, QUIET, Picture, drawing_style
from fico_utils.display.rows import COST_COLUMNS, is_measured, phase_rows, short_count
from fico_utils.errors import InputError
from fico_utils.results.setups import pareto_front, setup_name, setup_parts

#: What is written beside a system on an index; its exhaustive search has no word.
INDEX_WORDS = {
    "flat_ip": "", "hnsw_flat": "HNSW", "binary_flat": "ITQ", "binary_flat_counting": "ITQ", "binary_ivf": "ITQ, IVF",
}  # fmt: skip
#: Screens that a legend holds beside the systems; ways to search from which on only those on the front have a word.
FEW, CROWD = 4, 20
OTHER_SCREENS = {"color": QUIET, "marker": ".", "markersize": 2.5, "alpha": 0.6, "linestyle": "none", "zorder": 1}


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
    sizes = mine.groupby("scale_img")["system"].nunique()
    size = _shared_size(mine) if size is None else size
    rows = mine[(mine["scale_img"] == size) & mine["quantity"].isin(("seconds_per_query", "item_bytes", recall))]
    points = rows.pivot_table(index="system", columns="quantity", values="value", sort=False).dropna()
    if points.empty or len(points.columns) < 3:
        measured = ", ".join(str(int(s)) for s in sizes.index)
        raise InputError(f"no setup has {recall} at {size} items; expected one of the sizes {measured}")
    best = pareto_front(points[[recall, "seconds_per_query", "item_bytes"]].to_numpy(), ("max", "min", "min"))
    named = _named(points.index, best)
    with drawing_style():
        figure = Figure(figsize=(COLUMN, 98 * MM))
        top, bottom = figure.subplots(2, 1, sharey=True)
        for ax, quantity in ((top, "seconds_per_query"), (bottom, "item_bytes")):
            _setups(ax, points, quantity, recall, best, named)
            ax.set_xscale("log")
            ax.set_ylabel(f"R@{recall.split('@')[1]}")
            ax.margins(x=0.12, y=0.12)
        top.set_title(f"(a) {short_count(size)} items: seconds a query")
        top.set_xlabel("s a query (log scale)")
        bottom.set_title(f"(b) {short_count(size)} items: bytes an item")
        bottom.set_xlabel("B an item (log scale)")
        legend_below(figure, _setup_handles(points.index, named), ncols=2)
    order = {name: i for i, name in enumerate(points.index)}
    shown = rows[rows["system"].isin(order)]
    data = shown.sort_values(["system", "quantity"], key=lambda c: c.map(order) if c.name == "system" else c)
    data = data[COST_COLUMNS].assign(front=data["system"].map(dict(zip(points.index, best, strict=True))))
    return Picture(figure, data.reset_index(drop=True), _pareto_words(points, best, size, recall))


def _shared_size(mine: pd.DataFrame) -> int:
    """The largest size at which most setups were measured."""
    sizes = mine.groupby("scale_img")["system"].nunique()
    return int(sizes[sizes == sizes.max()].index.max())


def _deploy_sizes(costs: pd.DataFrame) -> tuple[int, int]:
    """The size at which most setups were measured, and the largest; fusion reads what was kept and ends before it."""
    mine = phase_rows(costs, "deploy", "measure with galleries.setup_rows first")
    return _shared_size(mine), int(mine["scale_img"].max())


def _goes_further(costs: pd.DataFrame) -> bool:
    if not is_measured("deploy")(costs):
        return False
    shared, largest = _deploy_sizes(costs)
    return largest > shared


@register_figure("pareto_largest", "Ways to search the most items that were measured", "costs", when=_goes_further)
def pareto_largest(costs: pd.DataFrame) -> Picture:
    """`search_setups` among the most items that any setup was measured with."""
    return search_setups(costs, size=_deploy_sizes(costs)[1])


def _parts(setup: str) -> tuple[registry.System, str, registry.System | None, int]:
    """The system that searches first, its index, the system that reads again, and how deep."""
    first, index, second, depth = setup_parts(setup)
    return registry.system(first), index, registry.system(second) if second else None, depth


def _named(setups, best) -> set[tuple[str, str]]:
    """Screens (who searches, who reads again) that are named: all, or of many those with a point on the front."""
    parts = [(_parts(setup), on_front) for setup, on_front in zip(setups, best, strict=True)]
    screens = {(p[0].id, p[2].id): False for p, _ in parts if p[2] is not None}
    for (first, _, second, _), on_front in parts:
        if second is not None and on_front:
            screens[first.id, second.id] = True
    return {pair for pair, on_front in screens.items() if on_front or len(screens) <= FEW}


def _setups(ax: Axes, points: pd.DataFrame, quantity: str, recall: str, best, named: set[tuple[str, str]]) -> None:
    crowded, depths = len(points) > CROWD, _depths(points.index)
    screens: dict[tuple[str, str], list] = {}
    for (setup, point), on_front in zip(points.iterrows(), best, strict=True):
        first, index, second, depth = _parts(setup)
        x, y = point[quantity], point[recall]
        if on_front:
            ax.plot(x, y, marker="o", markersize=8, markerfacecolor="none", markeredgecolor=QUIET, linestyle="none")
        if second is not None:
            if (first.id, second.id) in named:
                screens.setdefault((first.id, second.id), []).append((depth, x, y))
            else:
                ax.plot(x, y, **OTHER_SCREENS)
            continue
        plain = INDEX_WORDS.get(index, "") if not first.bits else ""
        face = "white" if plain or first.hollow else first.colour
        ax.plot(x, y, marker=first.marker, color=first.colour, markerfacecolor=face, linestyle="none")
        if plain and (on_front or not crowded):
            _word(ax, plain, x, y, first.colour, {"ITQ": (-4, 0), "ITQ, IVF": (4, 0)}.get(plain, (0, 4.5)))
    for (first_id, second_id), found in screens.items():
        first, second = registry.system(first_id), registry.system(second_id)
        found.sort()
        ax.plot(
            [x for _, x, _ in found], [y for _, _, y in found], color=first.colour, linestyle=first.line, linewidth=0.7
        )
        for depth, x, y in found:
            ax.plot(
                x, y, marker=second.marker, markersize=_marker(depth, depths), markerfacecolor=second.colour,
                markeredgecolor=first.colour, markeredgewidth=0.7, linestyle="none",
            )  # fmt: skip


def _depths(setups) -> list[int]:
    """Every depth that a screen hands on, ascending."""
    return sorted({depth for *_, depth in map(_parts, setups) if depth})


def _marker(depth: int, depths: list[int]) -> float:
    """Size of a screen's marker, pt: it grows with the depth, as numbers beside crowded points hide each other."""
    return 2.5 + 2.5 * depths.index(depth) / max(1, len(depths) - 1)


def _word(ax: Axes, text: str, x: float, y: float, colour: str, away: tuple[float, float]) -> None:
    """Write a word beside a point, `away` points from it."""
    sides = {-1: ("right", "top"), 0: ("center", "center"), 1: ("left", "bottom")}
    across, up = (int(d > 0) - int(d < 0) for d in away)
    ax.annotate(
        text, (x, y), xytext=away, textcoords="offset points", fontsize=5, color=colour,
        ha=sides[across][0], va=sides[up][1],
    )  # fmt: skip


def _setup_handles(setups, named: set[tuple[str, str]]) -> list[Line2D]:
    others: list[Line2D] = []
    handles: dict[str, Line2D] = {}
    for setup in setups:
        first, _, second, _ = _parts(setup)
        if second is None:
            handles[first.id] = Line2D([], [], **{**system_look(first), "linestyle": "none"})
        elif (first.id, second.id) not in named:
            others = [Line2D([], [], label="other screens", **OTHER_SCREENS)]
        else:
            handles[f"{first.id}+{second.id}"] = Line2D(
                [], [], color=first.colour, linestyle=first.line, linewidth=0.7, marker=second.marker,
                markerfacecolor=second.colour, markeredgecolor=first.colour, label=f"{first.name}, then {second.name}",
            )  # fmt: skip
    ring = {"marker": "o", "markersize": 6, "markerfacecolor": "none", "markeredgecolor": QUIET, "linestyle": "none"}
    order = list(registry.systems())
    singles = [handles[s] for s in order if s in handles]
    screens = [handle for name, handle in handles.items() if "+" in name]
    if screens:
        depths = ", ".join(map(str, _depths(setups)))
        screens.append(Line2D([], [], label=f"(growing with k: {depths})", linestyle="none"))
    return [*singles, *screens, *others, Line2D([], [], label="on the Pareto front", **ring)]


def _pareto_words(points: pd.DataFrame, best, size: int, recall: str) -> str:
    said = [
        f"{setup_name(setup)}: recall {p[recall]:.2f}, {1e3 * p['seconds_per_query']:.2g} ms, {p['item_bytes']:,.0f} B"
        for (setup, p), on_front in zip(points.iterrows(), best, strict=True)
        if on_front
    ]
    return (
        f"{len(points)} ways to search {size} items, recall against seconds a query and against bytes an item. "
        f"On the front of recall, time and memory: {'; '.join(said)}."
    )
