"""Figure 2, the companion's own drawing: the paper's framework as the folders of this package."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import QUIET
from fico_utils.display.picture import Picture, drawing_style, millimetre_canvas

#: The components of the paper's framework: what each does, which folder of this package it is, and what lies there.
COMPONENTS = pd.DataFrame(
    [
        ("Data pre-processing", "pictures, captions, labels, splits, features",
         "data", "drawn scenes, published corpora, folders, regions, patches, words, Doc2Vec, labels"),
        ("Model encoding", "three families with one interface",
         "models", "one file a system, losses, training, encoding, checkpoints"),
        ("Similarity", "cosine, inner product, Euclidean, Hamming, attention",
         "evaluation", "kernels for vectors, codes and ready matrices"),
        ("Retrieval tasks", "instance level: relevant by id; category level: by label",
         "evaluation", "relevance, ties, ranks of relevant items"),
        ("Evaluation metrics", "R@k, ranks, mAP@k, 11-point curves, chance",
         "evaluation", "metrics, intervals, mean places"),
        ("Complexity analysis", "encode store attend search",
         "costs", "clock memory storage attention indexes"),
    ],
    columns=["title", "does", "folder", "holds"],
)  # fmt: skip
#: What goes down to each component from the one above.
FLOWS = ("", "features", "embeddings or hash codes", "scores, both directions", "ranks of relevant items")

WIDTH, BOX_WIDTH, GAP, LINE = 85, 63.0, 5.0, 2.15
FILES = {"fontsize": 4.8, "va": "bottom", "color": QUIET, "family": "monospace"}


@register_figure("fig2", "Figure 2. The framework")
@drawing_style()
def framework_boxes() -> Picture:
    """Figure 2: the framework's components, what lies in the folder of each, and what flows between them."""
    *boxes, complexity = COMPONENTS.itertuples(index=False)
    code = [textwrap.wrap(f"{c.folder}/  {c.holds}", 53) for c in boxes]
    heights = [9.4 + LINE * len(lines) for lines in code]
    height = sum(heights) + GAP * (len(heights) - 1) + 3
    figure, ax = millimetre_canvas(WIDTH, height)
    y, bottoms = height - 1.5, []
    for i, component in enumerate(boxes):
        if i:
            _arrow(ax, (9, y), (9, y - GAP))
            ax.text(11.5, y - GAP / 2, FLOWS[i], fontsize=5.3, va="center", style="italic", color=QUIET)
            y -= GAP
        _box(ax, 1.5, y - heights[i], BOX_WIDTH, heights[i])
        ax.text(3.7, y - 3.2, f"{i + 1}", fontsize=8, weight="bold", color=QUIET, va="center")
        ax.text(8, y - 3.2, component.title, fontsize=7, weight="bold", va="center")
        ax.text(8, y - 6.6, component.does, fontsize=5.3, va="center")
        y -= heights[i]
        ax.text(8, y + 1.1, "\n".join(code[i]), linespacing=1.1, **FILES)
        bottoms.append(y)
    _families(ax, bottoms[1] + heights[1] - 6.5)
    _complexity(ax, complexity, bottoms, heights)
    data = COMPONENTS.assign(folder="fico_utils/" + COMPONENTS["folder"] + "/")
    data.insert(0, "component", range(1, len(data) + 1))
    words = "; ".join(f"{c.component}, {c.title} in {c.folder}" for c in data.iloc[:-1].itertuples())
    alt = (
        f"The framework as boxes from top to bottom: {words}. Beside encoding, similarity and tasks "
        f"stands the complexity analysis in fico_utils/{complexity.folder}/."
    )
    return Picture(figure, data, alt)


def _families(ax: Axes, y: float) -> None:
    """The three families as chips in their colours, after what the encoding box says."""
    for i, (family, (_, hues)) in enumerate(registry.FAMILIES.items()):
        ax.text(
            49 + 6.2 * i, y, family.upper(), fontsize=5, weight="bold", color="white", ha="center", va="center",
            bbox={"boxstyle": "round,pad=0.25", "facecolor": hues[1], "edgecolor": "none"},
        )  # fmt: skip


def _complexity(ax: Axes, component: tuple, bottoms: list[float], heights: list[float]) -> None:
    """The column beside encoding, similarity and tasks, whose costs it measures."""
    low, high, x = bottoms[3], bottoms[1] + heights[1], BOX_WIDTH + 5.0
    width = WIDTH - x - 1.5
    _box(ax, x, low, width, high - low)
    middle = x + width / 2
    ax.text(middle, high - 2, "Complexity\nanalysis", fontsize=6, weight="bold", va="top", ha="center")
    ax.text(middle, high - 9, component.does.replace(" ", "\n"), fontsize=5.3, va="top", ha="center")
    files = "\n".join([f"{component.folder}/", *component.holds.split()])
    ax.text(middle, low + 1.1, files, ha="center", **FILES)
    for bottom, height in zip(bottoms[1:4], heights[1:4], strict=True):
        _arrow(ax, (1.5 + BOX_WIDTH, bottom + height / 2), (x, bottom + height / 2))


def _box(ax: Axes, x: float, y: float, width: float, height: float) -> None:
    outline = {"boxstyle": "round,pad=0,rounding_size=1.2", "facecolor": "#F7F7F7", "edgecolor": "#555555"}
    ax.add_patch(FancyBboxPatch((x, y), width, height, linewidth=0.8, **outline))


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 6, "linewidth": 0.8, "color": QUIET}
    ax.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **look))
