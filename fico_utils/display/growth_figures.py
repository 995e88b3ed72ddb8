"""Recall against the size of the gallery, and what is worth deploying: figures of the tidy tables, ours alone.

Colour is the family, marker and line are the system, as everywhere. A screen with a reranker wears both: the line and
the edge of the system that screens, the marker and the filling of the one that reads again.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from fico_utils import registry
from fico_utils.display.picture import COLUMN, INK, MM, QUIET, Picture, style
from fico_utils.display.rows import one_run
from fico_utils.errors import InputError
from fico_utils.results.setups import pareto_front, setup_name, setup_parts

PERFECT = {"color": INK, "linestyle": (0, (1, 1.6)), "linewidth": 0.9, "label": "perfect retriever"}
#: What is written beside a system on an index; its exhaustive search has no word.
INDEX_WORDS = {
    "flat_ip": "", "hnsw_flat": "HNSW", "binary_flat": "ITQ", "binary_flat_counting": "ITQ", "binary_ivf": "ITQ, IVF",
}  # fmt: skip
#: Screens that a legend holds beside the systems; ways to search from which on only those on the front have a word.
FEW, CROWD = 4, 20
OTHER_SCREENS = {"color": QUIET, "marker": ".", "markersize": 2.5, "alpha": 0.6, "linestyle": "none", "zorder": 1}
COLUMNS = ["source", "system", "corpus", "phase", "scale_img", "quantity", "unit", "value", "status", "run"]
DIRECTION_WORDS = {"i2t": "image to text", "t2i": "text to image"}


def _measured(costs: pd.DataFrame, phase: str, what: str) -> pd.DataFrame:
    mine = one_run(costs, "costs.csv")
    mine = mine[(mine["phase"] == phase) & (mine["status"] == "ok")]
    if mine.empty:
        raise InputError(f"the costs hold nothing measured in phase {phase!r}; {what}")
    corpora = list(dict.fromkeys(mine["corpus"]))
    return mine[mine["corpus"] == corpora[0]]


def _look(system: registry.System) -> dict:
    return {
        "color": system.colour, "linestyle": system.line, "marker": system.marker,
        "markerfacecolor": "white" if system.hollow else system.colour, "label": system.name,
    }  # fmt: skip


def _legend(figure: Figure, handles: list[Line2D], ncols: int) -> None:
    """A legend below the panels, which keep their size: the figure grows by the rows beyond the second."""
    rows = -(-len(handles) // ncols)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + max(0, rows - 2) * 3.6 * MM)
    figure.legend(handles=handles, loc="outside lower center", ncols=ncols)


def _count(x: float, _: object = None) -> str:
    """A number of items as the paper writes it.

    >>> _count(2000), _count(1_000_000), _count(500)
    ('2K', '1M', '500')
    """
    for size, letter in ((1e6, "M"), (1e3, "K")):
        if x >= size:
            return f"{x / size:g}{letter}"
    return f"{x:g}"


# ------------------------------------------------------------------------------------------------- gallery


def gallery(costs: pd.DataFrame, direction: str = "t2i") -> Picture:
    """R@1 and the share of true "errors" against the number of unique scenes searched, by system.

    Parameters
    ----------
    costs : DataFrame, costs.csv with rows of phase ``gallery``; of several corpora the first is shown. One is all
        there is: drawn scenes alone have no end and say which "errors" are true, so no other corpus grows.
    direction : ``t2i`` or ``i2t``.

    Raises
    ------
    InputError
        No such rows, or an unknown direction.
    """
    if direction not in DIRECTION_WORDS:
        raise InputError(f"direction is {direction!r}; expected one of {', '.join(DIRECTION_WORDS)}")
    mine = _measured(costs, "gallery", "measure with costs.gallery_rows first")
    parts = {
        name: mine[mine["quantity"] == quantity].sort_values("scale_img", kind="stable")
        for name, quantity in (("recall", f"recall_{direction}@1"), ("true", f"true_{direction}@1"))
    }
    with style():
        figure = Figure(figsize=(COLUMN, 56 * MM))
        left, right = figure.subplots(1, 2, sharex=True)
        for ax, rows in ((left, parts["recall"]), (right, parts["true"])):
            for system_id, line in rows.groupby("system", sort=False):
                look = PERFECT if system_id == "perfect" else _look(registry.system(system_id))
                ax.plot(line["scale_img"], line["value"], **look)
            ax.set_xscale("log")
            ax.set_xlabel("scenes (log scale)")
            ax.set_xticks(sorted(set(mine["scale_img"])))
            ax.xaxis.set_major_formatter(FuncFormatter(_count))
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.set_ylim(-0.02, 1.02)
        left.set_title(f"(a) R@1, {DIRECTION_WORDS[direction]}")
        right.set_title("(b) errors that are true")
        left.set_ylabel("fraction")
        shown = list(dict.fromkeys(parts["recall"]["system"]))
        handles = [Line2D([], [], **_look(registry.system(s))) for s in shown if s != "perfect"]
        handles += [Line2D([], [], **PERFECT)] if "perfect" in shown else []
        _legend(figure, handles, ncols=3)
    data = pd.concat(parts.values(), ignore_index=True)[COLUMNS]
    return Picture(figure, data, _gallery_words(parts))


def _gallery_words(parts: dict[str, pd.DataFrame]) -> str:
    said = []
    for system_id, line in parts["recall"].groupby("system", sort=False):
        name = "a perfect retriever" if system_id == "perfect" else registry.system(system_id).name
        ends = [f"{line.value.iloc[i]:.2f} at {_count(line.scale_img.iloc[i])} scenes" for i in (0, -1)]
        said.append(f"{name} {ends[0]}, {ends[1]}")
    shares = [
        f"{registry.system(s).name} {line.value.iloc[-1]:.2f}"
        for s, line in parts["true"].groupby("system", sort=False)
    ]
    return (
        f"Two panels over the size of the gallery. R@1: {'; '.join(said)}. Share of wrong first answers that are true, "
        f"at the largest size: {', '.join(shares) or 'not known'}."
    )


# -------------------------------------------------------------------------------------------------- pareto


def pareto(costs: pd.DataFrame, size: int | None = None, recall: str = "recall_t2i@1") -> Picture:
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
    mine = _measured(costs, "deploy", "measure with costs.setup_rows first")
    sizes = mine.groupby("scale_img")["system"].nunique()
    size = int(sizes[sizes == sizes.max()].index.max()) if size is None else size
    rows = mine[(mine["scale_img"] == size) & mine["quantity"].isin(("seconds_per_query", "item_bytes", recall))]
    points = rows.pivot_table(index="system", columns="quantity", values="value", sort=False).dropna()
    if points.empty or len(points.columns) < 3:
        measured = ", ".join(str(int(s)) for s in sizes.index)
        raise InputError(f"no setup has {recall} at {size} items; expected one of the sizes {measured}")
    best = pareto_front(points[[recall, "seconds_per_query", "item_bytes"]].to_numpy(), ("max", "min", "min"))
    named = _named(points.index, best)
    with style():
        figure = Figure(figsize=(COLUMN, 98 * MM))
        top, bottom = figure.subplots(2, 1, sharey=True)
        for ax, quantity in ((top, "seconds_per_query"), (bottom, "item_bytes")):
            _setups(ax, points, quantity, recall, best, named)
            ax.set_xscale("log")
            ax.set_ylabel(f"R@{recall.split('@')[1]}")
            ax.margins(x=0.12, y=0.12)
        top.set_title(f"(a) {_count(size)} items: seconds a query")
        top.set_xlabel("s a query (log scale)")
        bottom.set_title(f"(b) {_count(size)} items: bytes an item")
        bottom.set_xlabel("B an item (log scale)")
        _legend(figure, _setup_handles(points.index, named), ncols=2)
    order = {name: i for i, name in enumerate(points.index)}
    shown = rows[rows["system"].isin(order)]
    data = shown.sort_values(["system", "quantity"], key=lambda c: c.map(order) if c.name == "system" else c)
    data = data[COLUMNS].assign(front=data["system"].map(dict(zip(points.index, best, strict=True))))
    return Picture(figure, data.reset_index(drop=True), _pareto_words(points, best, size, recall))


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
            handles[first.id] = Line2D([], [], **{**_look(first), "linestyle": "none"})
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
