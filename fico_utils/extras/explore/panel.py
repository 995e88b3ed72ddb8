"""What notebook 09 shows: rankings as rows of pictures with their ranks, scores and marks, and widgets that ask."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.data.corpus import Corpus
from fico_utils.data.text import words
from fico_utils.errors import InputError
from fico_utils.escaping import html_text
from fico_utils.extras.explore.page import FIRST, webp_file
from fico_utils.extras.explore.searcher import Searcher, rank_range

if TYPE_CHECKING:
    import ipywidgets

FRAMES = {"right": "3px solid #00704f", "label": "3px dashed #b36200", "": "3px solid transparent"}


def rankings_html(
    rankings: Mapping[str, np.ndarray], shown: Corpus, right: Sequence[int] = (), labels: np.ndarray | None = None
) -> str:
    """Rows of the first ten pictures, as HTML: rank (or range of ranks, where tied), score or differing bits, a frame.

    `rankings` are scores (n_img,) by title, as `Searcher.score` gives them; `right` are the pictures that the caption
    belongs to, in a full frame; those that share one of their `labels` (n_img, n_labels) have a dashed one.
    """
    rows, shares = [], np.zeros(shown.n_img, bool) if labels is None else (labels @ labels[list(right)].any(0)) > 0
    for title, scores in rankings.items():
        found = [rank_text(scores, r) for r in right if np.isfinite(scores[r])]
        told = (
            f": the right picture has rank {found[0]}" if found else ": the right picture was not read" if right else ""
        )
        tiles = []
        for picture in map(int, np.argsort(-scores, kind="stable")[: min(FIRST, np.isfinite(scores).sum())]):
            score = f"{-scores[picture]:.0f} bits" if (scores <= 0).all() else f"{scores[picture]:.3f}"
            caption = html_text(shown.captions[int(np.argmax(shown.caption_image == picture))])
            frame = FRAMES["right" if picture in right else "label" if shares[picture] else ""]
            source = base64.b64encode(webp_file(shown.images[picture])).decode()
            tiles.append(
                f'<figure style="margin:2px;width:84px"><img src="data:image/webp;base64,{source}" alt="{caption}" '
                f'title="{caption}" style="width:84px;border:{frame}">'
                f"<figcaption><b>{rank_text(scores, picture)}</b><br>{score}</figcaption></figure>"
            )
        rows.append(
            f'<h4>{html_text(title + told)}</h4><div style="display:flex;flex-wrap:wrap">{"".join(tiles)}</div>'
        )
    return "".join(rows)


def rank_text(scores: np.ndarray, picture: int) -> str:
    """The rank of a picture, or its range where others have the same score, such as ``2 to 3``."""
    return " to ".join(map(str, dict.fromkeys(rank_range(scores, picture))))


def build_panel(
    searchers: Mapping[str, Searcher], shown: Corpus, labels: np.ndarray | None, caption: str, depth: int
) -> ipywidgets.VBox:
    """Widgets that search: a caption, a fine-grained and a coarse-grained system, how many the second screens.

    `searchers` are by the id of their system. Where the caption is word for word one of the corpus `shown`, its picture
    and those that share one of the `labels` (n_img, n_labels) are marked.
    """
    import ipywidgets as widgets

    wide = {"layout": widgets.Layout(width="95%"), "style": {"description_width": "8em"}}
    names = [[(s.row.name, i) for i, s in searchers.items() if (s.row.family == "cg") == coarse] for coarse in (0, 1)]
    steps = sorted({depth, *(k for k in (1, 3, 10, 30, 100, 300) if k < shown.n_img), shown.n_img})
    text = widgets.Text(value=caption, description="caption", continuous_update=False, **wide)
    fine = widgets.Dropdown(options=names[0], description="fine-grained", **wide)
    coarse = widgets.Dropdown(options=names[1], description="coarse-grained", **wide)
    slider = widgets.SelectionSlider(options=steps, value=depth, description="depth", **wide)
    view = widgets.HTML()

    def show(_: Any = None) -> None:
        first, screen = searchers[fine.value], searchers[coarse.value]
        right = [int(i) for known, i in zip(shown.captions, shown.caption_image, strict=True) if known == text.value]
        try:
            rankings = {s.row.name: s.score(text.value) for s in (first, screen)}
        except InputError as error:
            view.value = html_text(str(error))
            return
        n_words, unknown = (
            len({*words(text.value)}),
            {s.row.name: len(s.unknown_words(text.value)) for s in (first, screen)},
        )
        if max(unknown.values()) < n_words:
            kept = np.argsort(-rankings[screen.row.name], kind="stable")[: slider.value]
            rankings[f"{screen.row.name} hands on {slider.value} to {first.row.name}"] = first.score(text.value, kept)
        said = first.describe_unread(text.value) + screen.describe_unread(text.value)
        if 2 * max(unknown.values()) > n_words:
            example = f"“{shown.captions[0]}”"
            said.append(
                f"These systems learned their words from captions such as {example}; they know no other language."
            )
        rankings = {title: scores for title, scores in rankings.items() if unknown.get(title) != n_words}
        told = "".join(f"<p>{html_text(line)}</p>" for line in said or ["Both systems know all of these words."])
        view.value = told + rankings_html(rankings, shown, right, labels)

    for control in (text, fine, coarse, slider):
        control.observe(show, "value")
    show()
    return widgets.VBox([text, fine, coarse, slider, view])
