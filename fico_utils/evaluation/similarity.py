"""Blocks of scores, larger is closer: from embeddings, from hash codes, or from a ready matrix.

A source of scores has ``n_img``, ``n_txt``, ``dtype``, ``bits`` (0 unless codes), ``may_cut`` (can a score be -inf,
not ranked), and

* ``ids(direction)``: for each query the number of its row of scores, which equal queries share; or None, each its own;
* ``columns(direction)``: the item of each column, where columns are not in the order of the gallery; or None;
* ``tile(direction)``: how many rows to ask for at a time, or None if that does not matter;
* ``rows(direction, numbers, out)``: the rows of these numbers (a slice or an array), in the first rows of ``out``.

Nothing of size n_img x n_txt is ever held.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.codes import CodeScores
from fico_utils.evaluation.embeddings import EmbeddingScores
from fico_utils.evaluation.inputs import Whole, read_table
from fico_utils.evaluation.measures import find_measure


class MatrixScores(Whole):
    """A ready matrix ``similarity`` (n_img, n_txt) and, if given, ``similarity_t2i`` (n_txt, n_img)."""

    bits = 0
    may_cut = True

    def __init__(self, similarity: Any, similarity_t2i: Any = None) -> None:
        self._i2t = read_table(similarity, "similarity")
        self._t2i = None if similarity_t2i is None else read_table(similarity_t2i, "similarity_t2i")
        self.n_img, self.n_txt = self._i2t.shape
        if self._t2i is not None and self._t2i.shape != (self.n_txt, self.n_img):
            raise InputError(
                f"similarity_t2i has shape {self._t2i.shape}, expected {(self.n_txt, self.n_img)}, "
                "captions by images: transpose it"
            )
        given = [x for x in (self._i2t, self._t2i) if x is not None]
        narrow = all(np.can_cast(x.dtype, np.float32) for x in given)
        self.dtype = np.dtype(np.float32 if narrow else np.float64)

    def rows(self, direction: str, numbers: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scores of some queries, copied into ``out``; refuses NaN and +inf."""
        from fico_utils.evaluation.kernels_instance import first_bad_row

        if direction == "i2t":
            chosen, name, axis = self._i2t[numbers], "similarity", "row"
        elif self._t2i is not None:
            chosen, name, axis = self._t2i[numbers], "similarity_t2i", "row"
        else:
            chosen, name, axis = self._i2t[:, numbers].T, "similarity", "column"
        scores = out[: chosen.shape[0]]
        scores[:] = chosen
        bad = first_bad_row(scores)
        if bad >= 0:
            number = numbers.start + bad if isinstance(numbers, slice) else numbers[bad]
            raise InputError(
                f"{name} has NaN or +inf in {axis} {number}, expected numbers, or -inf for a pair that was not ranked"
            )
        return scores


def sortable(scores: np.ndarray) -> np.ndarray:
    """uint32 words that order and tie as the scores of each row do: the bits of float32, places for float64."""
    if scores.dtype == np.float32:
        return scores.view(np.uint32)
    order = np.argsort(scores, axis=1)
    in_order = np.take_along_axis(scores, order, axis=1)
    places = np.zeros(scores.shape, np.uint32)
    np.cumsum(in_order[:, 1:] > in_order[:, :-1], axis=1, out=places[:, 1:])
    words = np.empty_like(places)
    np.put_along_axis(words, order, places, axis=1)
    return words


class OrderedScores:
    """Another source's ranking with ties broken by the order of the arrays: the first of the gallery scores m.

    Every score becomes its place, counted from the end, so that no two are equal; -inf stays.
    """

    bits = 0

    def __init__(self, source: EmbeddingScores | MatrixScores | CodeScores) -> None:
        self._source = source
        self.n_img, self.n_txt, self.may_cut = source.n_img, source.n_txt, source.may_cut
        self.ids, self.tile = source.ids, source.tile
        exact = max(self.n_img, self.n_txt) < 2**24
        self.dtype = np.dtype(np.float32 if exact else np.float64)

    def columns(self, direction: str) -> None:
        """Columns are put in the order of the gallery."""
        return None

    def rows(self, direction: str, numbers: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Places of the gallery for some queries, in ``out``."""
        scores = self._source.rows(direction, numbers, np.empty(out.shape, self._source.dtype))
        columns = self._source.columns(direction)
        if columns is not None:
            scores = scores[:, np.argsort(columns)]
        order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")
        places = out[: scores.shape[0]]
        np.put_along_axis(places, order, np.arange(scores.shape[1], 0, -1, dtype=self.dtype)[None], axis=1)
        places[scores == -np.inf] = -np.inf
        return places


Source = EmbeddingScores | MatrixScores | CodeScores | OrderedScores


def score_source(
    images: Any = None,
    texts: Any = None,
    *,
    similarity: Any = None,
    similarity_t2i: Any = None,
    measure: str = "cosine",
    bits: int | None = None,
    allow_zero: bool = False,
    device: str | None = None,
) -> Source:
    """The source of scores for what was given; the parameters are those of `evaluate`."""
    compared = find_measure(measure)
    if similarity is not None:
        if images is not None or texts is not None:
            raise InputError("both embeddings and a similarity matrix are given, expected one of the two")
        return MatrixScores(similarity, similarity_t2i)
    if similarity_t2i is not None:
        raise InputError("similarity_t2i is given without similarity, expected both or only similarity")
    if images is None or texts is None:
        raise InputError("nothing to score: give images and texts, or a similarity matrix")
    return compared.score(images, texts, bits=bits, allow_zero=allow_zero, device=device)
