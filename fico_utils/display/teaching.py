"""Pictures of the notebooks: scenes with their captions, neighbours, training curves, attention, distances."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from fico_utils import registry
from fico_utils.display.picture import Picture, drawing_style, millimetre_canvas, panel_grid

#: Width of a page, mm.
PAGE = 170
ORDER_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


@drawing_style()
def sheet(pictures: Sequence[np.ndarray], captions: Sequence[str], columns: int = 5, alt: str = "") -> Picture:
    """A page of pictures (H, W, 3) uint8, each with its caption below; line breaks of a caption stay."""
    texts = [
        "\n".join(line for part in caption.split("\n") for line in textwrap.wrap(part, 185 // columns) or [""])
        for caption in captions
    ]
    rows, gap = -(-len(pictures) // columns), 2.5
    side = (PAGE - gap * (columns - 1)) / columns
    below = 3.2 * max(text.count("\n") + 1 for text in texts) + 2
    height = rows * (side + below)
    figure, ax = millimetre_canvas(PAGE, height)
    for i, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
        x, y = (i % columns) * (side + gap), height - (i // columns) * (side + below)
        ax.imshow(picture, extent=(x, x + side, y - side, y))
        ax.text(x, y - side - 1, text, va="top", linespacing=1.2)
    ax.set(xlim=(0, PAGE), ylim=(0, height))
    data = pd.DataFrame({"caption": list(captions)})
    return Picture(figure, data, alt or f"{len(pictures)} pictures with their captions.")


@drawing_style()
def curves(logs: Mapping[str, Sequence[Mapping[str, float]]], terms: Sequence[str] = ("loss", "score")) -> Picture:
    """Training curves: a panel for each term, a line for each training.

    `logs` gives the rows of `training.fit`'s log by name; `terms` are names of loss terms, or ``score``: the validation
    score that chooses the checkpoint (circled).
    """
    figure, axes = panel_grid(48, 1, len(terms), width=PAGE)
    for ax, term in zip(axes.flat, terms, strict=True):
        for (name, log), colour in zip(logs.items(), ORDER_COLOURS, strict=False):
            epochs, values = [row["epoch"] for row in log], [row[term] for row in log]
            ax.plot(epochs, values, marker="o", markersize=2.5, color=colour, label=name)
            if term == "score":
                best = int(np.argmax(values))
                ax.plot(epochs[best], values[best], "o", markersize=7, fillstyle="none", color=colour)
        words = "mean recall on validation (0 to 1)" if term == "score" else f"{term}, training"
        ax.set(xlabel="epoch", ylabel=words)
        ax.xaxis.get_major_locator().set_params(integer=True)
    lines = [line for line in figure.axes[-1].lines if line.get_label() in logs]  # also names that begin with _
    figure.axes[-1].legend(handles=lines)
    rows = [{"training": name, **row} for name, log in logs.items() for row in log]
    return Picture(figure, pd.DataFrame(rows), f"Training curves of {', '.join(logs)}: {', '.join(terms)} by epoch.")


@drawing_style()
def attention(picture: np.ndarray, words: Sequence[str], weights: np.ndarray) -> Picture:
    """Where each word of a caption looks: its weights over the grid of regions, laid on the picture (H, W, 3) uint8.

    `weights` (n_words, R) has rows that sum to 1; R is a square number, regions in reading order.
    """
    side, columns = int(np.sqrt(weights.shape[1])), 6
    rows = -(-len(words) // columns)
    height, width = picture.shape[:2]
    figure, axes = panel_grid(rows * PAGE / columns * 1.15, rows, columns, width=PAGE)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, word, weight in zip(axes.flat, words, weights, strict=False):
        ax.imshow(picture)
        veil = np.zeros((side, side, 4))
        veil[..., 3] = 0.82 * (1 - weight.reshape(side, side) / weight.max())  # dark where it does not look
        ax.imshow(veil, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")
        ax.set_title(word)
    data = pd.DataFrame(weights, index=pd.Index(words, name="word")).reset_index()
    return Picture(figure, data, f"Attention of the words {', '.join(words)} over {side} x {side} regions.")


@drawing_style()
def distances(values: Mapping[str, np.ndarray], bits: int) -> Picture:
    """How far apart codes are: the share of pairs at each Hamming distance (int), a line for each kind of pair."""
    shares = pd.DataFrame({kind: np.bincount(d, minlength=bits + 1) / len(d) for kind, d in values.items()})
    figure, ((ax,),) = panel_grid(46, width=0.62 * PAGE)
    for kind, colour in zip(shares, ORDER_COLOURS, strict=False):
        ax.fill_between(shares.index, shares[kind], step="mid", alpha=0.25, color=colour, linewidth=0)
        ax.step(shares.index, shares[kind], where="mid", color=colour, label=kind)
    ax.set(xlabel=f"Hamming distance of {bits}-bit codes (bits)", ylabel="share of pairs")
    ax.set_ylim(bottom=0)
    ax.legend()
    data = shares.rename_axis("distance").reset_index()
    return Picture(figure, data, f"Distribution of Hamming distances: {', '.join(values)}.")


def named_table(frame: pd.DataFrame, number: str | Callable[[float], str] = "{:.2f}") -> pd.DataFrame:
    """A table for a notebook: printed names for ids of systems, indexes and corpora, numbers as text, else a dash.

    >>> named_table(pd.DataFrame({"picto_people": [0.5, None]}, ["scan", "hnsw_flat"])).to_dict()
    {'PictoScenes people': {'SCAN': '0.50', 'FG HNSW': '–'}}
    """
    text = number.format if isinstance(number, str) else number
    rows = {**registry.systems(), **registry.INDEXES, **registry.known_corpora()}
    names = {key: row.name for key, row in rows.items()} | {"perfect": "Perfect retriever"}
    shown = frame.map(lambda x: x if isinstance(x, str) else "–" if pd.isna(x) else text(x))
    return shown.rename(index=names, columns=names)
