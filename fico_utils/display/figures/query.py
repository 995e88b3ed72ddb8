"""Figure 1, the companion's own drawing: one query retrieved both ways, relevant by id or by label."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from fico_utils import registry
from fico_utils.display.catalogue import register_figure
from fico_utils.display.looks import INK, QUIET
from fico_utils.display.picture import Picture, drawing_style, millimetre_canvas
from fico_utils.errors import InputError

#: Frames by what an item is to the query, and the word beside it: relevant by id, by label only, or not at all.
FRAMES = {
    "by id": {"edgecolor": INK, "linewidth": 1.6},
    "by label": {"edgecolor": INK, "linewidth": 0.9, "linestyle": (0, (2.2, 1.4))},
    "not relevant": {"edgecolor": "#C4C4C4", "linewidth": 0.6},
}
KEYS = {"by id": "relevant by id", "by label": "relevant by label only", "not relevant": "not relevant"}


@dataclass(frozen=True)
class Hit:
    """One retrieved item: its picture (H, W, 3) uint8, or None where a caption was retrieved; its score.

    `is_match`: it belongs to the query, relevant by id (instance level). `shares_label`: it has a label in common with
    the query, relevant by label (category level). A higher score is closer.
    """

    picture: np.ndarray | None
    caption: str
    is_match: bool
    shares_label: bool
    score: float

    @property
    def relevance(self) -> str:
        """A key of `FRAMES`."""
        return "by id" if self.is_match else "by label" if self.shares_label else "not relevant"


@dataclass(frozen=True)
class Example:
    """One query, a caption or a picture (H, W, 3) uint8, and what two systems returned for it, best first.

    `fine` is of a fine-grained system, `coarse` of a coarse-grained one; `note` says which corpus, profile and seed.
    """

    query: str | np.ndarray
    fine: Sequence[Hit]
    coarse: Sequence[Hit]
    fine_system: str = "scan"
    coarse_system: str = "ucch"
    note: str = ""


@register_figure("fig1", "Figure 1. One query retrieved both ways", "example")
@drawing_style()
def query_example(example: Example) -> Picture:
    """Figure 1: one query retrieved both ways; a full frame is relevant by id, a dashed one by label only.

    The first five items of each list are drawn. InputError where a list is empty.
    """
    lists = {example.fine_system: list(example.fine)[:5], example.coarse_system: list(example.coarse)[:5]}
    for system_id, hits in lists.items():
        if not hits:
            raise InputError(f"figure 1 was given no items retrieved by {system_id}; expected a ranked list of Hit")
    pictures = any(h.picture is not None for hits in lists.values() for h in hits)
    by_text = isinstance(example.query, str)
    lines = textwrap.wrap(f"“{example.query}”", 54)[:4] if by_text else []
    head, row_height = (4.5 + 3 * len(lines) if by_text else 18), (26.5 if pictures else 31)
    total = head + 2 * row_height + 8
    figure, ax = millimetre_canvas(85, total)
    ax.text(1.5, total - 2, "Query", fontsize=6.5, weight="bold", va="top")
    if by_text:
        ax.text(12, total - 2, "\n".join(lines), fontsize=6.5, va="top", style="italic", linespacing=1.15)
    else:
        _draw_picture(ax, example.query, 12, total - 16, 14)
    for row, (system_id, hits) in enumerate(lists.items()):
        system, top = registry.system(system_id), total - head - row * row_height
        search = "CG search" if system.family == "cg" else "FG search"
        ax.add_patch(Rectangle((1.5, top - 3.1), 1.4, 2.4, facecolor=system.colour, edgecolor="none"))
        ax.text(4, top - 1.9, f"{search}: {system.name}", fontsize=6.5, weight="bold", va="center")
        (_draw_pictures if pictures else _draw_captions)(ax, hits, top, row_height, system.serving.hashed)
    for i, (relevance, words) in enumerate(KEYS.items()):
        _draw_frame(ax, relevance, 1.8 + i * 27, 3.6, 2.6, 2.2)
        ax.text(1.8 + i * 27 + 3.5, 4.7, words, fontsize=5, va="center")
    ax.text(1.8, 0.6, example.note, fontsize=4.8, color=QUIET, va="bottom")
    rows = [
        (system_id, rank, h.caption, h.is_match, h.shares_label, h.score)
        for system_id, hits in lists.items()
        for rank, h in enumerate(hits, 1)
    ]
    data = pd.DataFrame(rows, columns=["system", "rank", "caption", "relevant_by_id", "relevant_by_label", "score"])
    said = []
    for system_id, hits in lists.items():
        ranks = ", ".join(str(rank) for rank, hit in enumerate(hits, 1) if hit.is_match)
        own = f"by id at rank {ranks}" if ranks else "none by id"
        shared = f"{sum(h.shares_label for h in hits)} of {len(hits)} relevant by label"
        said.append(f"{registry.system(system_id).name}: {own}, {shared}")
    query = f'the caption "{example.query}"' if by_text else "a picture"
    return Picture(figure, data, f"One query, {query}, and what two systems return first. {'; '.join(said)}.")


def _draw_pictures(ax: Axes, hits: list[Hit], top: float, _: float, hashed: bool) -> None:
    """The pictures of a list side by side, best first, their verdicts below."""
    side = 15.2
    for i, hit in enumerate(hits):
        x, y = 1.8 + i * 16.6, top - 5 - side
        if hit.picture is not None:
            _draw_picture(ax, hit.picture, x, y, side)
        _draw_frame(ax, hit.relevance, x, y, side, side)
        ax.text(x, y - 0.7, "\n".join(_verdict(i, hit, hashed)), fontsize=5, va="top", linespacing=1.1)


def _draw_captions(ax: Axes, hits: list[Hit], top: float, height: float, hashed: bool) -> None:
    """The captions of a list below each other, best first, their verdicts at the right."""
    step = (height - 5) / len(hits)
    for i, hit in enumerate(hits):
        y = top - 4.5 - (i + 1) * step
        _draw_frame(ax, hit.relevance, 1.8, y + 0.5, 81.5, step - 1)
        ax.text(3, y + step / 2, textwrap.shorten(hit.caption, 66, placeholder=" …"), fontsize=5.5, va="center")
        ax.text(82.3, y + step / 2, "  ".join(_verdict(i, hit, hashed)), fontsize=5, va="center", ha="right")


def _draw_picture(ax: Axes, picture: np.ndarray, x: float, y: float, side: float) -> None:
    ax.imshow(picture, extent=(x, x + side, y, y + side), interpolation="nearest", aspect="auto", zorder=1)


def _draw_frame(ax: Axes, relevance: str, x: float, y: float, width: float, height: float) -> None:
    ax.add_patch(Rectangle((x, y), width, height, facecolor="none", zorder=3, **FRAMES[relevance]))


def _verdict(position: int, hit: Hit, hashed: bool) -> tuple[str, str]:
    """Rank and relevance of a hit, and its score: of hash codes the bits that differ."""
    score = f"{-hit.score:.0f} bits differ" if hashed else f"score {hit.score:.2f}"
    return f"{position + 1}  {hit.relevance}", score
