"""Blocks of scores, larger is closer: from embeddings, from hash codes, or from a ready matrix.

A source of scores has ``n_img``, ``n_txt``, ``dtype``, ``bits`` (0 unless codes), ``may_cut`` (can a score be -inf,
not ranked) and ``rows(direction, queries, out)``, which fills the first rows of ``out`` (at least `ROWS` of them) with
the scores of some queries, a slice or an index array, against the whole gallery, and returns these rows. Nothing of
size n_img x n_txt is ever held.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fico_utils.errors import InputError

MEASURES = ("cosine", "inner_product", "euclidean", "hamming")
#: Bytes of float64 that a pass over the embeddings holds at a time.
CHUNK = 2**22
#: Fewest rows of one matrix product: BLAS rounds a single row differently.
ROWS = 16


def _table(array: Any, name: str) -> np.ndarray:
    """``array`` as a two-dimensional, non-empty array of numbers (a memory map stays one)."""
    array = array if isinstance(array, np.ndarray) else np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} hold {array.dtype} values, expected numbers: give a plain numeric array")
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{name} have shape {array.shape}, expected two dimensions (items, width), none empty")
    return array


def _chunks(array: np.ndarray):
    step = max(1, CHUNK // (8 * array.shape[1]))
    for start in range(0, array.shape[0], step):
        yield start, array[start : start + step]


def _peak(array: np.ndarray, name: str) -> float:
    """Largest absolute value; refuses NaN and infinity, naming the row."""
    peak = 0.0
    for start, chunk in _chunks(array):
        # NaN and infinity both survive the maximum, in float64 so that no integer type wraps
        high = max(float(chunk.max()), -float(chunk.min()))
        if not np.isfinite(high):
            row = start + int(np.flatnonzero(~np.isfinite(chunk).all(axis=1))[0])
            raise InputError(f"{name} have NaN or infinity in row {row}, expected finite numbers: repair or drop it")
        peak = max(peak, high)
    return peak


def _unit(array: np.ndarray, dtype: np.dtype, allow_zero: bool, name: str) -> np.ndarray:
    """Rows divided by their Euclidean length, computed in float64; a zero row stays zero if allowed."""
    out = np.empty(array.shape, dtype)
    for start, chunk in _chunks(array):
        chunk = chunk.astype(np.float64)
        peak = np.abs(chunk).max(axis=1, keepdims=True)
        zero = np.flatnonzero(peak == 0)
        if zero.size and not allow_zero:
            raise InputError(
                f"{name} have a zero vector in row {start + zero[0]}, which has no cosine with anything: "
                "repair it, or allow zero vectors (allow_zero, --allow-zero) to score 0 with everything"
            )
        chunk /= np.where(peak == 0, 1, peak)
        length = np.sqrt(np.einsum("ij,ij->i", chunk, chunk))[:, None]
        out[start : start + chunk.shape[0]] = chunk / np.where(length == 0, 1, length)
    return out


class EmbeddingScores:
    """Cosine, inner product or negative squared Euclidean distance of two sets of vectors.

    Single precision where the inputs have no more; the lengths, and everything Euclidean (whose expanded form
    cancels), are float64. ``device`` sends the matrix product to a torch device; the rest is the same.
    """

    bits = 0
    may_cut = False

    def __init__(
        self, images: Any, texts: Any, measure: str, *, allow_zero: bool = False, device: str | None = None
    ) -> None:
        images, texts = _table(images, "images"), _table(texts, "texts")
        if images.shape[1] != texts.shape[1]:
            raise InputError(
                f"images are {images.shape[1]} wide and texts {texts.shape[1]}, expected vectors of one space"
            )
        self.n_img, self.n_txt = images.shape[0], texts.shape[0]
        peaks = _peak(images, "images"), _peak(texts, "texts")
        narrow = all(np.can_cast(x.dtype, np.float32) for x in (images, texts))
        self.dtype = np.dtype(np.float32 if narrow else np.float64)
        self._shift: dict[str, np.ndarray] = {}
        if measure == "cosine":
            pair = (
                _unit(images, self.dtype, allow_zero, "images"),
                _unit(texts, self.dtype, allow_zero, "texts"),
            )
        else:
            size = (peaks[0] * peaks[1] if measure == "inner_product" else 4 * max(peaks) ** 2) * images.shape[1]
            if size > 1e300:
                raise InputError(f"images and texts reach {max(peaks):.3g}, too large to multiply: scale them down")
            if measure == "euclidean" or not (size == 0 or 1e-20 < size < 1e30):
                self.dtype = np.dtype(np.float64)
            pair = tuple(np.ascontiguousarray(x, dtype=self.dtype) for x in (images, texts))
        if measure == "euclidean":
            centre = np.concatenate([x.mean(axis=0, keepdims=True) for x in pair]).mean(axis=0)
            # rounded to 8 bits, so that the subtraction is exact and equal distances stay equal
            mantissa, exponent = np.frexp(centre)
            centre = np.ldexp(np.round(mantissa * 256) / 256, exponent)
            pair = tuple(x - centre for x in pair)
            squares = [np.einsum("ij,ij->i", x, x) / 2 for x in pair]
            self._shift = {"i2t": squares[1], "t2i": squares[0]}
        self._sides = {"i2t": pair, "t2i": pair[::-1]}
        self._device = device
        if device is not None:
            import torch

            on_device = tuple(torch.from_numpy(np.array(x)).to(device) for x in pair)
            self._tensors = {"i2t": on_device, "t2i": on_device[::-1]}

    def rows(self, direction: str, queries: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scores of some queries, (n, m), in ``out``."""
        if self._device is None:
            chosen, gallery = self._sides[direction]
            chosen = chosen[queries]
            n = chosen.shape[0]
            if n < ROWS:
                chosen = np.concatenate([chosen, np.zeros((ROWS - n, chosen.shape[1]), chosen.dtype)])
            np.matmul(chosen, gallery.T, out=out[: chosen.shape[0]])
        else:
            import torch

            chosen, gallery = self._tensors[direction]
            chosen = chosen[queries]
            n = chosen.shape[0]
            torch.from_numpy(out[:n]).copy_(chosen @ gallery.T)
        scores = out[:n]
        if self._shift:
            scores -= self._shift[direction]
        return scores


class MatrixScores:
    """A ready matrix ``similarity`` (n_img, n_txt) and, if given, ``similarity_t2i`` (n_txt, n_img)."""

    bits = 0
    may_cut = True

    def __init__(self, similarity: Any, similarity_t2i: Any = None) -> None:
        self._i2t = _table(similarity, "similarity")
        self._t2i = None if similarity_t2i is None else _table(similarity_t2i, "similarity_t2i")
        self.n_img, self.n_txt = self._i2t.shape
        if self._t2i is not None and self._t2i.shape != (self.n_txt, self.n_img):
            raise InputError(
                f"similarity_t2i has shape {self._t2i.shape}, expected {(self.n_txt, self.n_img)}, "
                "captions by images: transpose it"
            )
        given = [x for x in (self._i2t, self._t2i) if x is not None]
        narrow = all(np.can_cast(x.dtype, np.float32) for x in given)
        self.dtype = np.dtype(np.float32 if narrow else np.float64)

    def rows(self, direction: str, queries: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scores of some queries, copied into ``out``; refuses NaN and +inf."""
        from fico_utils.evaluation.kernels_instance import first_bad_row

        if direction == "i2t":
            chosen, name, axis = self._i2t[queries], "similarity", "row"
        elif self._t2i is not None:
            chosen, name, axis = self._t2i[queries], "similarity_t2i", "row"
        else:
            chosen, name, axis = self._i2t[:, queries].T, "similarity", "column"
        scores = out[: chosen.shape[0]]
        scores[:] = chosen
        bad = first_bad_row(scores)
        if bad >= 0:
            number = queries.start + bad if isinstance(queries, slice) else queries[bad]
            raise InputError(
                f"{name} has NaN or +inf in {axis} {number}, expected numbers, or -inf for a pair that was not ranked"
            )
        return scores


def pack_codes(codes: Any, bits: int | None = None, name: str = "codes") -> tuple[np.ndarray, int]:
    """Hash codes as packed 64-bit words: (n, ceil(bits / 64)) uint64, and the number of bits.

    Parameters
    ----------
    codes : ndarray (n, bits)
        bool, or the numbers {0, 1} or {-1, +1} of any type; or, if `bits` is given, (n, ceil(bits / 8)) uint8
        as ``numpy.packbits`` makes them.
    bits : int, optional
        Number of bits of packed codes.

    >>> pack_codes(np.array([[-1, 1, 1], [1, -1, -1]]))[0][:, 0] == pack_codes(np.uint8([[96], [128]]), 3)[0][:, 0]
    array([ True,  True])
    """
    codes = _table(codes, name)
    n, width = codes.shape
    if bits is None:
        bits, packed = width, np.zeros((n, -(-width // 64) * 8), np.uint8)
        seen = set()
        for start, chunk in _chunks(codes):
            low, zero = chunk == -1, chunk == 0
            odd = np.argwhere(~(low | zero | (chunk == 1)))
            seen |= {value for value, there in ((-1, low.any()), (0, zero.any())) if there}
            if odd.size or len(seen) == 2:
                row, column = odd[0] if odd.size else np.argwhere(low | zero)[0]
                raise InputError(
                    f"{name} hold {chunk[row, column]} in row {start + row}, a third value beside those of a code: "
                    "expected {0, 1} or {-1, +1}, or packed uint8 with the number of bits (bits, --bits)"
                )
            packed[start : start + chunk.shape[0], : -(-width // 8)] = np.packbits(chunk > 0, axis=1)
    else:
        if codes.dtype != np.uint8:
            raise InputError(f"{name} hold {codes.dtype} values, expected packed uint8: leave bits out if not packed")
        if width != -(-bits // 8):
            raise InputError(f"{name} are {width} bytes wide, but {bits} bits need {-(-bits // 8)}")
        if bits % 8 and np.any(codes[:, -1] & (0xFF >> bits % 8)):
            raise InputError(f"{name} have bits set beyond the first {bits}: give the true number of bits")
        packed = np.zeros((n, -(-bits // 64) * 8), np.uint8)
        packed[:, :width] = codes
    if bits > 65535:
        raise InputError(f"{name} have {bits} bits, expected at most 65535")
    return packed.view(np.uint64), bits


class CodeScores:
    """Number of equal bits of two sets of hash codes: bits - Hamming distance."""

    may_cut = False
    dtype = np.dtype(np.uint16)

    def __init__(self, images: Any, texts: Any, bits: int | None = None) -> None:
        (images, self.bits), (texts, bits_txt) = pack_codes(images, bits, "images"), pack_codes(texts, bits, "texts")
        if self.bits != bits_txt:
            raise InputError(f"images have {self.bits} bits and texts {bits_txt}, expected codes of one length")
        self.n_img, self.n_txt = images.shape[0], texts.shape[0]
        self._sides = {
            "i2t": (images, np.ascontiguousarray(texts.T)),
            "t2i": (texts, np.ascontiguousarray(images.T)),
        }

    def rows(self, direction: str, queries: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scores of some queries, in ``out``."""
        from fico_utils.evaluation.kernels_instance import code_scores

        chosen, gallery = self._sides[direction]
        chosen = chosen[queries]
        code_scores(chosen, gallery, self.bits, out[: chosen.shape[0]])
        return out[: chosen.shape[0]]


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
        exact = max(self.n_img, self.n_txt) < 2**24
        self.dtype = np.dtype(np.float32 if exact else np.float64)

    def rows(self, direction: str, queries: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Places of the gallery for some queries, in ``out``."""
        scores = self._source.rows(direction, queries, np.empty(out.shape, self._source.dtype))
        order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")
        places = out[: scores.shape[0]]
        np.put_along_axis(places, order, np.arange(scores.shape[1], 0, -1, dtype=self.dtype)[None], axis=1)
        places[scores == -np.inf] = -np.inf
        return places


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
) -> EmbeddingScores | MatrixScores | CodeScores:
    """The source of scores for what was given; the parameters are those of `evaluate`."""
    if measure not in MEASURES:
        raise InputError(f"measure is {measure!r}, expected one of {', '.join(MEASURES)}")
    if similarity is not None:
        if images is not None or texts is not None:
            raise InputError("both embeddings and a similarity matrix are given, expected one of the two")
        return MatrixScores(similarity, similarity_t2i)
    if similarity_t2i is not None:
        raise InputError("similarity_t2i is given without similarity, expected both or only similarity")
    if images is None or texts is None:
        raise InputError("nothing to score: give images and texts, or a similarity matrix")
    if bits is not None:
        if measure != "hamming":
            raise InputError(f"bits is for hash codes, but measure is {measure!r}: say measure 'hamming'")
        if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or bits < 1:
            raise InputError(f"bits is {bits!r}, expected a whole number from 1")
    if measure == "hamming":
        return CodeScores(images, texts, None if bits is None else int(bits))
    return EmbeddingScores(images, texts, measure, allow_zero=allow_zero, device=device)
