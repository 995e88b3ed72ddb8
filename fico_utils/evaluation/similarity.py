"""Blocks of scores, larger is closer: from embeddings, from hash codes, or from a ready matrix.

Nothing of size n_img x n_txt is ever held.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.compiling import fastest
from fico_utils.evaluation.embeddings import (
    SETS,
    SIDES,
    EmbeddingScores,
    Names,
    ScoreSource,
    find_measure,
    hint_transposed,
    narrowest_type,
    read_chunks,
    read_table,
)
from fico_utils.evaluation.kernels_instance import code_scores
from fico_utils.evaluation.tasks import QUERIES_ASK


def pack_codes(codes: Any, bits: int | None = None, name: str = "codes") -> tuple[np.ndarray, int]:
    """Hash codes as packed 64-bit words: (n, ceil(bits / 64)) uint64, and the number of bits.

    Parameters
    ----------
    codes : ndarray (n, bits), bool, {0, 1} or {-1, +1} of any type; or, if `bits` is given, (n, ceil(bits / 8)) uint8
        as ``numpy.packbits`` makes them.
    bits : int, optional, of packed codes.

    Examples
    --------
    >>> pack_codes(np.array([[-1, 1, 1], [1, -1, -1]]))[0][:, 0] == pack_codes(np.uint8([[96], [128]]), 3)[0][:, 0]
    array([ True,  True])
    """
    codes = read_table(codes, name)
    n, width = codes.shape
    if bits is None:
        bits, packed = width, np.zeros((n, -(-width // 64) * 8), np.uint8)
        low = -1 if codes.min() == -1 else 0
        for start, chunk in read_chunks(codes):
            odd = np.argwhere((chunk != low) & (chunk != 1))
            if odd.size:
                row, column = odd[0]
                raise InputError(
                    f"{name} hold {chunk[row, column]} in row {start + row}, a third value beside those of a code: "
                    "expected {0, 1} or {-1, +1}, or packed uint8 with the number of bits (bits, --bits)"
                )
            packed[start : start + chunk.shape[0], : -(-width // 8)] = np.packbits(chunk > 0, axis=1)
    else:
        if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or bits < 1:
            raise InputError(f"bits is {bits!r}, expected a whole number from 1")
        if codes.dtype != np.uint8:
            raise InputError(f"{name} hold {codes.dtype} values, expected packed uint8: leave bits out if not packed")
        if width != -(-bits // 8):
            raise InputError(f"{name} are {width} bytes wide, but {bits} bits need {-(-bits // 8)}")
        if bits % 8 and np.any(codes[:, -1] & (0xFF >> bits % 8)):
            raise InputError(f"{name} have bits set beyond the first {bits}: give the true number of bits")
        packed = np.zeros((n, -(-bits // 64) * 8), np.uint8)
        packed[:, :width] = codes
    if bits > 65534:
        raise InputError(f"{name} have {bits} bits, expected at most 65534")
    return packed.view(np.uint64), int(bits)


class CodeScores(ScoreSource):
    """Hash codes: 1 more than the number of equal bits, so that 0 is left for what is no item of a query."""

    dtype = np.dtype(np.uint16)

    def __init__(self, images: Any, texts: Any, bits: int | None = None, names: Names = SIDES) -> None:
        (images, self.bits), (texts, bits_txt) = pack_codes(images, bits, names[0]), pack_codes(texts, bits, names[1])
        if self.bits != bits_txt:
            raise InputError(
                f"{names[0]} have {self.bits} bits and {names[1]} {bits_txt}, expected codes of one length"
                + hint_transposed((len(images), self.bits), (len(texts), bits_txt), names)
            )
        self.shape = images.shape[0], texts.shape[0]
        self._sides = {"i2t": (images, np.ascontiguousarray(texts.T))}
        if names == SIDES:
            self._sides["t2i"] = texts, np.ascontiguousarray(images.T)
        else:
            self._sides = {QUERIES_ASK: self._sides["i2t"]}

    def rows(self, direction: str, numbers: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scores of some queries, in ``out``."""
        chosen, gallery = self._sides[direction]
        chosen = chosen[numbers]
        scores = out[: chosen.shape[0]]
        fastest(code_scores, scores.size)(chosen, gallery, self.bits, scores)
        return scores


class MatrixScores(ScoreSource):
    """A ready matrix ``similarity`` (n_img, n_txt) and, if given, ``similarity_t2i`` (n_txt, n_img).

    `unranked` is a number that stands for -inf: a pair that was not ranked.
    """

    may_cut = True

    def __init__(self, similarity: Any, similarity_t2i: Any = None, unranked: float | None = None) -> None:
        i2t = read_table(similarity, "similarity")
        self.shape = i2t.shape
        t2i = i2t.T if similarity_t2i is None else read_table(similarity_t2i, "similarity_t2i")
        if t2i.shape != self.shape[::-1]:
            raise InputError(
                f"similarity_t2i has shape {t2i.shape}, expected {self.shape[::-1]}, captions by images: transpose it"
            )
        asking = ("similarity", "column") if similarity_t2i is None else ("similarity_t2i", "row")
        self._sides = {"i2t": (i2t, "similarity", "row"), "t2i": (t2i, *asking)}
        self._sides[QUERIES_ASK] = self._sides["i2t"]
        self.dtype = narrowest_type(i2t, t2i)
        self.unranked = None if unranked is None else float(unranked)  # compared in the type of the matrix

    def rows(self, direction: str, numbers: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scores of some queries, copied into ``out``; refuses NaN and +inf."""
        matrix, name, axis = self._sides[direction]
        chosen = matrix[numbers]
        scores = out[: chosen.shape[0]]
        scores[:] = chosen
        if self.unranked is not None:
            scores[np.isnan(chosen) if np.isnan(self.unranked) else chosen == self.unranked] = -np.inf
        bad = np.flatnonzero(~(scores < np.inf).all(axis=1))
        if bad.size:
            number = np.arange(matrix.shape[0])[numbers][bad[0]]
            raise InputError(
                f"{name} has NaN or +inf in {axis} {number}, expected numbers, or -inf for a pair that was not ranked"
            )
        return scores


def sortable_words(scores: np.ndarray) -> np.ndarray:
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


def score_source(
    images: Any = None,
    texts: Any = None,
    *,
    queries: Any = None,
    gallery: Any = None,
    similarity: Any = None,
    similarity_t2i: Any = None,
    measure: str | None = None,
    bits: int | None = None,
    allow_zero: bool = False,
    unranked: float | None = None,
) -> ScoreSource:
    """The source of scores for what was given; the parameters are those of `evaluate`."""
    compared = find_measure("cosine" if measure is None else measure)
    sides, names = (images, texts), SIDES
    if queries is not None or gallery is not None:
        if images is not None or texts is not None:
            raise InputError("both images and texts and a query set are given, expected one of the two")
        sides, names = (queries, gallery), SETS
    if similarity is not None:
        if any(side is not None for side in sides):
            raise InputError("both embeddings and a similarity matrix are given, expected one of the two")
        if measure is not None or bits is not None:
            named = "bits" if measure is None else "measure"
            raise InputError(f"{named} says how vectors are compared, and a ready matrix is given: leave {named} out")
        return MatrixScores(similarity, similarity_t2i, unranked)
    if similarity_t2i is not None:
        raise InputError("similarity_t2i is given without similarity, expected both or only similarity")
    if unranked is not None:
        raise InputError("unranked is a value of a similarity matrix, and none is given: leave it out")
    if sides[0] is None or sides[1] is None:
        given = "" if names == SIDES else f": {names[sides[0] is not None]} is missing"
        raise InputError(f"nothing to score{given}; give images and texts, queries and gallery, or a similarity matrix")
    if compared.has_codes:
        return CodeScores(*sides, bits, names)
    if bits is not None:
        raise InputError(f"bits is for hash codes, but measure is {compared.name!r}: say measure 'hamming'")
    return EmbeddingScores(*sides, compared, allow_zero, names)
