"""What notebook 09 shows of rankings: pictures with their ranks, scores and marks, and a panel of widgets that asks."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.escaping import html_text
from fico_utils.extras.explore.searcher import Searcher, rank_range

if TYPE_CHECKING:
    import ipywidgets

MARKS = {"right": "border:3px solid #00704f", "label": "border:3px dashed #b36200", "": "border:3px solid transparent"}


def results_html(shown: Corpus, scores: np.ndarray, right: Sequence[int], labels: np.ndarray | None) -> str:
    """The first ten pictures of a ranking, as HTML: rank (or range of ranks, where tied), score, and a frame.

    `scores` (n_img,) larger is closer, -inf not read; `right` are the pictures that the caption belongs to, in a full
    frame; those that share one of their `labels` (n_img, n_labels) have a dashed one.
    """
    from PIL import Image

    shares = np.zeros(len(scores), bool) if labels is None else (labels @ labels[list(right)].any(0)) > 0
    tiles = []
    for picture in np.argsort(-scores, kind="stable")[: min(10, np.isfinite(scores).sum())]:
        first, last = rank_range(scores, picture)
        held = io.BytesIO()
        Image.fromarray(shown.images[int(picture)]).save(held, "PNG")
        mark = MARKS["right" if picture in right else "label" if shares[picture] else ""]
        rank = f"{first}" if first == last else f"{first} to {last}"
        score = f"{-scores[picture]:.0f} bits" if scores[picture] == round(scores[picture]) else f"{scores[picture]:.3f}"
        caption = shown.captions[int(np.flatnonzero(shown.caption_image == picture)[0])]
        source = base64.b64encode(held.getvalue()).decode()
        tiles.append(
            f'<figure style="margin:2px;width:84px"><img src="data:image/png;base64,{source}" '
            f'alt="{html_text(caption)}" title="{html_text(caption)}" style="width:84px;{mark}">'
            f"<figcaption><b>{rank}</b><br>{score}</figcaption></figure>"
        )
    return f'<div style="display:flex;flex-wrap:wrap">{"".join(tiles)}</div>'


def build_panel(
    searchers: Mapping[str, Searcher], shown: Corpus, labels: np.ndarray | None, caption: str, depth: int
) -> ipywidgets.VBox:
    """Widgets that search as one types: a caption, two systems, and the depth to which the second screens for the first.

    `searchers` are by the id of their system, fine-grained and coarse-grained ones. Where the caption is word for word
    one of the corpus `shown`, its picture and those that share a label are marked.
    """
    import ipywidgets as widgets

    wide = {"layout": widgets.Layout(width="95%"), "style": {"description_width": "7em"}}
    sides = {
        name: widgets.Dropdown(
            options=[(s.row.name, i) for i, s in searchers.items() if (s.row.family == "cg") == (name == "coarse")],
            description=f"{name}-grained",
            **wide,
        )
        for name in ("fine", "coarse")
    }
    text = widgets.Text(value=caption, description="caption", continuous_update=False, **wide)
    steps = sorted({depth, *(k for k in (1, 3, 10, 30, 100, 300) if k < shown.n_img), shown.n_img})
    slider = widgets.SelectionSlider(options=steps, value=depth, description="depth", **wide)
    view = widgets.HTML()

    def show(_: Any = None) -> None:
        fine, coarse = (searchers[side.value] for side in sides.values())
        try:
            view.value = _searched(fine, coarse, shown, labels, text.value, slider.value)
        except InputError as error:
            view.value = f"<p>{html_text(str(error))}</p>"

    for control in (text, *sides.values(), slider):
        control.observe(show, "value")
    show()
    return widgets.VBox([text, *sides.values(), slider, view])


def _searched(
    fine: Searcher, coarse: Searcher, shown: Corpus, labels: np.ndarray | None, caption: str, depth: int
) -> str:
    """The three rankings of a caption, and what the systems do not know of it, as HTML."""
    right = [int(shown.caption_image[i]) for i, known in enumerate(shown.captions) if known == caption]
    parts = []
    for searcher in (fine, coarse):
        if unknown := searcher.unknown_words(caption):
            parts.append(f"<p>{html_text(searcher.row.name)} does not know: {html_text(', '.join(unknown))}</p>")
    screened = coarse.score(caption)
    candidates = np.argsort(-screened, kind="stable")[:depth]
    rankings = {
        fine.row.name: fine.score(caption),
        coarse.row.name: screened,
        f"{coarse.row.name} screens {depth}, {fine.row.name} reranks": fine.score(caption, candidates),
    }
    for title, scores in rankings.items():
        place = " to ".join(str(rank) for rank in dict.fromkeys(rank_range(scores, right[0]))) if right else ""
        found = f": the right picture at {place}" if right and np.isfinite(scores[right[0]]) else ""
        lost = ": the right picture is not among those read" if right and not found else ""
        parts.append(f"<h4>{html_text(title + found + lost)}</h4>{results_html(shown, scores, right, labels)}")
    return "".join(parts)
