"""Figure 2, the companion's own drawing: the paper's framework as the folders of this package."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.picture import COLUMN, MM, QUIET, Picture, drawing_style, millimetre_canvas


class Component(NamedTuple):
    """A component of the paper's framework: what it does, the folder of this package that is it, what lies there."""

    title: str
    does: str
    folder: str
    holds: str


COMPONENTS = (
    Component(
        "Data pre-processing", "pictures, captions, labels, splits, features", "data",
        "drawn scenes, published corpora, folders, regions, patches, words, Doc2Vec, labels",
    ),
    Component(
        "Model encoding", "one fit and one encode for systems of", "models",
        "one file a system, losses, training, encoding, checkpoints",
    ),
    Component(
        "Similarity", "cosine, inner product, Euclidean, Hamming, attention", "evaluation",
        "kernels for vectors, codes and ready matrices",
    ),
    Component(
        "Retrieval tasks", "instance level: relevant by id; category level: by label", "evaluation",
        "relevance, ties, ranks of relevant items",
    ),
    Component(
        "Evaluation metrics", "R@k, ranks, mAP@k, 11-point curves, chance", "evaluation",
        "metrics, intervals, mean places",
    ),
)  # fmt: skip
#: What goes down from each component to the next.
FLOWS = ("features", "embeddings or hash codes", "scores, both directions", "ranks of relevant items")
COMPLEXITY = Component(
    "Complexity analysis", "encode store attend search", "costs", "clock memory storage attention indexes"
)

BOX_WIDTH, GAP, LINE = 63.0, 5.0, 2.15


@register_figure("fig2", "The framework")
def framework_boxes() -> Picture:
    """Figure 2: the framework's components, what lies in the folder of each, and what flows between them."""
    code = [textwrap.wrap(f"{c.folder}/  {c.holds}", 53) for c in COMPONENTS]
    heights = [9.4 + LINE * len(lines) for lines in code]
    height = sum(heights) + GAP * (len(heights) - 1) + 3
    with drawing_style():
        figure = Figure(figsize=(COLUMN, height * MM), layout="none")
        ax = millimetre_canvas(figure, 85, height)
        y, bottoms = height - 1.5, []
        for i, (component, lines) in enumerate(zip(COMPONENTS, code, strict=True)):
            if i:
                _arrow(ax, (9, y), (9, y - GAP))
                ax.text(11.5, y - GAP / 2, FLOWS[i - 1], fontsize=5.3, va="center", style="italic", color=QUIET)
                y -= GAP
            y -= heights[i]
            bottoms.append(y)
            _component(ax, f"{i + 1}", component, lines, y, heights[i])
        _families(ax, bottoms[1] + heights[1] - 6.5)
        _complexity(ax, bottoms, heights)
    data = pd.DataFrame((*COMPONENTS, COMPLEXITY))
    data.insert(0, "component", range(1, len(data) + 1))
    data["folder"] = "fico_utils/" + data["folder"] + "/"
    words = "; ".join(f"{c.component}, {c.title} in {c.folder}" for c in data.iloc[:-1].itertuples())
    alt = (
        f"The framework as boxes from top to bottom: {words}. Beside encoding, similarity and tasks "
        f"stands the complexity analysis in fico_utils/{COMPLEXITY.folder}/."
    )
    return Picture(figure, data, alt)


def _component(ax: Axes, number: str, component: Component, code: list[str], y: float, height: float) -> None:
    """One component's box: number, title, what it does, what lies in its folder."""
    _box(ax, 1.5, y, BOX_WIDTH, height)
    top = y + height
    ax.text(3.7, top - 3.2, number, fontsize=8, weight="bold", color=QUIET, va="center")
    ax.text(8, top - 3.2, component.title, fontsize=7, weight="bold", va="center")
    ax.text(8, top - 6.6, component.does, fontsize=5.3, va="center")
    files = {"fontsize": 4.8, "va": "bottom", "color": QUIET, "family": "monospace", "linespacing": 1.1}
    ax.text(8, y + 1.1, "\n".join(code), **files)


def _families(ax: Axes, y: float) -> None:
    """The three families as chips in their colours, after what the encoding box says."""
    for i, (family, words) in enumerate((("vlp", "VLP"), ("fg", "FG"), ("cg", "CG"))):
        hue = registry.FAMILIES[family][1][1]
        ax.text(
            49 + 6.2 * i, y, words, fontsize=5, weight="bold", color="white", ha="center", va="center",
            bbox={"boxstyle": "round,pad=0.25", "facecolor": hue, "edgecolor": "none"},
        )  # fmt: skip


def _complexity(ax: Axes, bottoms: list[float], heights: list[float]) -> None:
    """The column beside encoding, similarity and tasks, whose costs it measures."""
    low, high, x = bottoms[3], bottoms[1] + heights[1], BOX_WIDTH + 5.0
    width = 85 - x - 1.5
    _box(ax, x, low, width, high - low)
    middle = x + width / 2
    ax.text(middle, high - 2, "Complexity\nanalysis", fontsize=6, weight="bold", va="top", ha="center")
    ax.text(middle, high - 9, COMPLEXITY.does.replace(" ", "\n"), fontsize=5.3, va="top", ha="center")
    files = "\n".join([f"{COMPLEXITY.folder}/", *COMPLEXITY.holds.split()])
    ax.text(middle, low + 1.1, files, fontsize=4.8, va="bottom", ha="center", color=QUIET, family="monospace")
    for bottom, height in zip(bottoms[1:4], heights[1:4], strict=True):
        _arrow(ax, (1.5 + BOX_WIDTH, bottom + height / 2), (x, bottom + height / 2))


def _box(ax: Axes, x: float, y: float, width: float, height: float) -> None:
    outline = {"boxstyle": "round,pad=0,rounding_size=1.2", "facecolor": "#F7F7F7", "edgecolor": "#555555"}
    ax.add_patch(FancyBboxPatch((x, y), width, height, linewidth=0.8, **outline))


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 6, "linewidth": 0.8, "color": QUIET}
    ax.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **look))
