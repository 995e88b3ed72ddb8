"""Scores of continuous embeddings: cosine, inner product, Euclidean distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.inputs import read_chunks, read_table

#: Scores of one matrix product; its rows at least and at most, and what divides them.
TILE, LEAST, ROWS, STEP = 2_400_000, 48, 480, 12


def _peak(array: np.ndarray, name: str, refuse_zero: bool) -> float:
    """Largest absolute value; refuses NaN and infinity, and zero vectors if asked to, naming the row."""
    peak = 0.0
    for start, chunk in read_chunks(array):
        # NaN and infinity both survive the maximum, in float64 so that no integer type wraps
        high = max(float(chunk.max()), -float(chunk.min()))
        if not np.isfinite(high):
            row = start + int(np.flatnonzero(~np.isfinite(chunk).all(axis=1))[0])
            raise InputError(f"{name} have NaN or infinity in row {row}, expected finite numbers: repair or drop it")
        zero = np.flatnonzero(~chunk.any(axis=1)) if refuse_zero else ()
        if len(zero):
            raise InputError(
                f"{name} have a zero vector in row {start + zero[0]}, which has no cosine with anything: "
                "repair it, or allow zero vectors (allow_zero, --allow-zero) to score 0 with everything"
            )
        peak = max(peak, high)
    return peak


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their Euclidean length, in float64; a zero row stays zero."""
    wide = rows.dtype.itemsize > 4
    rows = rows.astype(np.float64)
    if wide:  # squares of float64 may overflow or vanish; those of anything shorter do not
        peak = np.abs(rows).max(axis=1, keepdims=True)
        rows /= np.where(peak == 0, 1, peak)
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    rows /= np.where(length == 0, 1, length)
    return rows


def _distinct(
    array: np.ndarray, dtype: np.dtype, change: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows after a change, and for each row of ``array`` its number among them.

    Their order depends on nothing but themselves (it is that of a hash). The change is made twice, in pieces, so that
    there is never more than one copy.
    """

    def changed(rows: np.ndarray) -> np.ndarray:
        return change(rows).astype(dtype) + dtype.type(0)  # -0.0 becomes 0.0

    factors = np.random.default_rng(0).integers(0, 2**63, array.shape[1], dtype=np.uint64) * 2 + 1
    words = f"u{dtype.itemsize}"
    key = np.concatenate([np.einsum("ij,j->i", changed(part).view(words), factors) for _, part in read_chunks(array)])
    order = np.argsort(key, kind="stable")
    key = key[order]
    new = np.ones(key.size, dtype=bool)
    # equal keys mean equal rows, but for an accident that is looked for
    alike = np.flatnonzero(key[1:] == key[:-1]) + 1
    for _, at in read_chunks(alike[:, None], array.shape[1]):
        at = at[:, 0]
        new[at] = (changed(array[order[at]]) != changed(array[order[at - 1]])).any(axis=1)
    ids = np.empty(key.size, np.int64)
    ids[order] = np.cumsum(new) - 1
    first = order[new]
    rows = np.empty((first.size, array.shape[1]), dtype)
    for start, at in read_chunks(first[:, None], array.shape[1]):
        rows[start : start + at.shape[0]] = changed(array[at[:, 0]])
    return rows, ids


def _narrowest(images: np.ndarray, texts: np.ndarray) -> np.dtype:
    """Single precision where both have no more."""
    narrow = all(np.can_cast(x.dtype, np.float32) for x in (images, texts))
    return np.dtype(np.float32 if narrow else np.float64)


Prepared = tuple[np.dtype, Callable[[np.ndarray], np.ndarray]]


def prepare_cosine(images: np.ndarray, texts: np.ndarray, peaks: tuple[float, float]) -> Prepared:
    """The type to compute cosines in, and what is done to rows before they are multiplied: unit length."""
    return _narrowest(images, texts), _unit


def prepare_inner_product(images: np.ndarray, texts: np.ndarray, peaks: tuple[float, float]) -> Prepared:
    """The same for products of vectors as they are: double precision where these leave the range of single."""
    size = _bounded(peaks[0] * peaks[1] * images.shape[1], peaks)
    in_range = size == 0 or 1e-20 < size < 1e30
    return _narrowest(images, texts) if in_range else np.dtype(np.float64), np.asarray


def prepare_euclidean(images: np.ndarray, texts: np.ndarray, peaks: tuple[float, float]) -> Prepared:
    """The same for distances: double precision, around a common centre."""
    _bounded(4 * max(peaks) ** 2 * images.shape[1], peaks)
    means = [x.mean(axis=0, dtype=np.float64) for x in (images, texts)]
    # rounded to 8 bits, so that the subtraction is exact and equal distances stay equal
    mantissa, exponent = np.frexp((means[0] + means[1]) / 2)
    centre = np.ldexp(np.round(mantissa * 256) / 256, exponent)
    return np.dtype(np.float64), lambda rows: rows - centre


def _bounded(size: float, peaks: tuple[float, float]) -> float:
    """The largest number that products may reach, if double precision holds it."""
    if size > 1e300:
        raise InputError(f"images and texts reach {max(peaks):.3g}, too large to multiply: scale them down")
    return size


@dataclass(frozen=True)
class VectorMeasure:
    """How continuous embeddings are compared.

    Attributes
    ----------
    name : str
    prepare : function of images, texts and their largest absolute values; gives a type and a change of rows.
    refuses_zero : bool, a zero vector has no meaning.
    takes_squares : bool, half the squared length of each gallery vector is taken off its products.
    """

    name: str
    prepare: Callable[[np.ndarray, np.ndarray, tuple[float, float]], Prepared]
    refuses_zero: bool = False
    takes_squares: bool = False
    has_codes = False

    def score(
        self, images: Any, texts: Any, *, bits: int | None = None, allow_zero: bool = False, device: str | None = None
    ) -> EmbeddingScores:
        """The source of scores of two sets of vectors; InputError where they have no meaning under this measure."""
        if bits is not None:
            raise InputError(f"bits is for hash codes, but measure is {self.name!r}: say measure 'hamming'")
        return EmbeddingScores(images, texts, self, allow_zero=allow_zero, device=device)

    def arguments(self, images: np.ndarray, texts: np.ndarray) -> dict[str, Any]:
        """Arguments of `evaluate` for arrays as a system stores them."""
        return {"images": images, "texts": texts, "measure": self.name}


class EmbeddingScores:
    """Cosine, inner product or negative squared Euclidean distance of two sets of vectors.

    Single precision where the inputs have no more; the lengths, and everything Euclidean (whose expanded form
    cancels), are float64. ``device`` sends the matrix product to a torch device; the rest is the same.

    The last digit of a BLAS product depends on where in the matrices a vector stands. That would part equal vectors,
    which must tie, and would let the order of the gallery show. So the product is taken of the distinct vectors in an
    order of their own, in tiles of one shape, whatever the order of the input, the memory and the threads.
    """

    bits = 0
    may_cut = False

    def __init__(
        self, images: Any, texts: Any, measure: VectorMeasure, *, allow_zero: bool = False, device: str | None = None
    ) -> None:
        images, texts = read_table(images, "images"), read_table(texts, "texts")
        if images.shape[1] != texts.shape[1]:
            raise InputError(
                f"images are {images.shape[1]} wide and texts {texts.shape[1]}, expected vectors of one space"
            )
        self.n_img, self.n_txt = images.shape[0], texts.shape[0]
        refuse_zero = measure.refuses_zero and not allow_zero
        peaks = _peak(images, "images", refuse_zero), _peak(texts, "texts", refuse_zero)
        self.dtype, change = measure.prepare(images, texts, peaks)
        images, self._img_id = _distinct(images, self.dtype, change)
        texts, self._txt_id = _distinct(texts, self.dtype, change)
        self._sides = {"i2t": (images, texts), "t2i": (texts, images)}
        self._shift: dict[str, np.ndarray] = {}
        if measure.takes_squares:
            squares = [np.einsum("ij,ij->i", x, x) / 2 for x in (images, texts)]
            self._shift = {"i2t": squares[1], "t2i": squares[0]}
        gallery_id = {"i2t": self._txt_id, "t2i": self._img_id}
        self._columns = {d: np.argsort(x, kind="stable") for d, x in gallery_id.items()}
        # which distinct vector stands in each column, where some do in several
        self._repeat = {d: x[self._columns[d]] for d, x in gallery_id.items() if x.size > self._sides[d][1].shape[0]}
        self._device = device
        if device is not None:
            import torch

            on_device = tuple(torch.from_numpy(x).to(device) for x in (images, texts))
            self._tensors = {"i2t": on_device, "t2i": on_device[::-1]}

    def ids(self, direction: str) -> np.ndarray:
        """The number of each query's vector among the distinct ones."""
        return self._img_id if direction == "i2t" else self._txt_id

    def columns(self, direction: str) -> np.ndarray:
        """The item of each column: equal vectors stand side by side."""
        return self._columns[direction]

    def tile(self, direction: str) -> int:
        """Rows of one product, by the sizes of both sides alone: an even number of tiles, with few rows to spare."""
        n, m = self._sides[direction][0].shape[0], self._columns[direction].size
        rows = min(max(TILE // m // STEP * STEP, LEAST), ROWS)
        tiles = -(-n // rows)
        tiles += tiles % 2  # two cores share them evenly
        return -(-n // tiles // STEP) * STEP

    def rows(self, direction: str, numbers: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scores of some distinct queries, (n, m), in ``out``, which has the rows of one tile."""
        queries, gallery = self._sides[direction]
        repeat = self._repeat.get(direction)
        chosen = np.zeros((out.shape[0], queries.shape[1]), queries.dtype)
        n = queries[numbers].shape[0]
        chosen[:n] = queries[numbers]
        product = out if repeat is None else np.empty((out.shape[0], gallery.shape[0]), out.dtype)
        if self._device is None:
            np.matmul(chosen, gallery.T, out=product)
        else:
            import torch

            there = torch.from_numpy(chosen).to(self._device)
            torch.from_numpy(product).copy_(there @ self._tensors[direction][1].T)
        if self._shift:
            product -= self._shift[direction]
        if repeat is not None:
            np.take(product, repeat, axis=1, out=out, mode="clip")
        return out[:n]
