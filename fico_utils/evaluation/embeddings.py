"""Scores of continuous embeddings, and the measures by which two embeddings or two hash codes are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.tasks import DIRECTIONS, QUERIES_ASK

#: Scores of one matrix product; its rows at least and at most, and what divides them.
TILE, LEAST, ROWS, STEP = 2_400_000, 48, 480, 12
#: Bytes of float64 that a pass over the embeddings holds at a time.
CHUNK = 2**22
#: What the two sides are called in messages: by the name of the first, a query set asks its gallery in one direction.
SIDES, SETS = ("images", "texts"), ("queries", "gallery")
Names = tuple[str, str]
#: The type to compute in, and what is done to rows before they are multiplied.
Prepared = tuple[np.dtype, Callable[[np.ndarray], np.ndarray]]


def as_array(values: Any, name: str) -> np.ndarray:
    """Whatever holds numbers, as numpy's array: sparse matrices are filled up, numpy's own arrays stay as they are.

    Torch tensors may be of any type, on any device, sparse or with gradients; a type that numpy lacks becomes float32.

    InputError where ``values`` cannot be read so; ``name`` says in it what they are.
    """
    if isinstance(values, np.ndarray) and not values.dtype.hasobject and not isinstance(values, np.matrix):
        return values
    try:
        if hasattr(values, "toarray"):  # of scipy
            return values.toarray()
        if not hasattr(values, "detach"):
            array = np.asarray(values)
            # a column of pandas that holds a vector in each row
            return np.stack(array) if array.dtype.hasobject and array.ndim == 1 and np.ndim(array[0]) else array
        tensor = values.detach().cpu().to_dense().resolve_conj().resolve_neg()
        try:
            return tensor.numpy()
        except TypeError:  # bfloat16 and smaller
            return tensor.float().numpy()
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(
            f"{name} cannot be read as an array ({reason}), expected numbers: give a plain numeric array"
        ) from None


def read_table(array: Any, name: str) -> np.ndarray:
    """``array`` as a two-dimensional, non-empty array of numbers (a memory map stays one)."""
    array = as_array(array, name)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} hold {array.dtype} values, expected numbers: give a plain numeric array")
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{name} have shape {array.shape}, expected two dimensions (items, width), none empty")
    return array


def read_chunks(array: np.ndarray, width: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Consecutive rows of an array, each piece with its first row; ``width`` if a row stands for more numbers."""
    step = max(1, CHUNK // (8 * (width or array.shape[1])))
    for start in range(0, array.shape[0], step):
        yield start, array[start : start + step]


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
                "repair it; an evaluation may let zero vectors score 0 with everything (allow_zero, --allow-zero)"
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
    """The distinct rows after a change, in an order of their own (of a hash), and the number of each row among them.

    The change is made twice, in pieces, so that there is never more than one copy.
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


def narrowest_type(*arrays: np.ndarray) -> np.dtype:
    """Single precision where no array has more."""
    return np.dtype(np.float32 if all(np.can_cast(x.dtype, np.float32) for x in arrays) else np.float64)


def _prepare_cosine(images: np.ndarray, texts: np.ndarray, peaks: tuple[float, float]) -> Prepared:
    return narrowest_type(images, texts), _unit


def _prepare_inner_product(images: np.ndarray, texts: np.ndarray, peaks: tuple[float, float]) -> Prepared:
    size = _bounded(peaks[0] * peaks[1] * images.shape[1], peaks)
    in_range = size == 0 or 1e-20 < size < 1e30  # of products in single precision
    return narrowest_type(images, texts) if in_range else np.dtype(np.float64), np.asarray


def _prepare_euclidean(images: np.ndarray, texts: np.ndarray, peaks: tuple[float, float]) -> Prepared:
    _bounded(4 * max(peaks) ** 2 * images.shape[1], peaks)
    means = [x.mean(axis=0, dtype=np.float64) for x in (images, texts)]
    # the common centre is rounded to 8 bits, so that the subtraction is exact and equal distances stay equal
    mantissa, exponent = np.frexp((means[0] + means[1]) / 2)
    centre = np.ldexp(np.round(mantissa * 256) / 256, exponent)
    return np.dtype(np.float64), lambda rows: rows - centre


def _bounded(size: float, peaks: tuple[float, float]) -> float:
    """The largest number that products may reach, if double precision holds it."""
    if size > 1e300:
        raise InputError(f"images and texts reach {max(peaks):.3g}, too large to multiply: scale them down")
    return size


def hint_transposed(a: tuple[int, ...], b: tuple[int, ...], names: Names) -> str:
    """The end of a sentence about two tables of unequal widths: which of them may hold an item a column."""
    turned = [name for name, same in zip(names, (a[0] == b[1], b[0] == a[1]), strict=True) if same]
    turned = turned or (names if a[0] == b[0] else ())
    return f", an item a row: transpose {' and '.join(turned)} if an item is a column there" if turned else ""


@dataclass(frozen=True)
class Measure:
    """How two embeddings, or two hash codes, are compared."""

    name: str
    #: Of images, texts and their largest absolute values; None for hash codes.
    prepare: Callable[[np.ndarray, np.ndarray, tuple[float, float]], Prepared] | None = None
    refuses_zero: bool = False  # a zero vector has no meaning
    takes_squares: bool = False  # half the squared length of each gallery vector is taken off its products

    @property
    def has_codes(self) -> bool:
        """Whether it compares hash codes."""
        return self.prepare is None

    def arguments(self, images: np.ndarray, texts: np.ndarray) -> dict[str, Any]:
        """Arguments of `evaluate` for arrays as a system stores them; its codes are packed."""
        bits = {"bits": 8 * images.shape[1]} if self.has_codes else {}
        return {"images": images, "texts": texts, "measure": self.name, **bits}


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("cosine", _prepare_cosine, refuses_zero=True),
        Measure("inner_product", _prepare_inner_product),
        Measure("euclidean", _prepare_euclidean, takes_squares=True),
        Measure("hamming"),
    )
}


def find_measure(name: str) -> Measure:
    """The measure of a name; InputError where there is none.

    >>> find_measure("hamming").has_codes
    True
    """
    if name not in MEASURES:
        raise InputError(f"measure is {name!r}, expected one of {', '.join(MEASURES)}")
    return MEASURES[name]


class ScoreSource:
    """Where scores come from, row by row; what is kept for each direction is None where it does not matter."""

    shape: tuple[int, int]  # numbers of images and captions, or of queries and items
    dtype: np.dtype
    bits: int | None = None  # of codes, whose scores are 1 more than the number of equal bits, so that 0 is no score
    may_cut = False  # a score may be -inf, not ranked
    #: The row of each query (equal queries share one), the item of each column, how many rows to ask for at a time.
    ids: Mapping[str, np.ndarray | None] = dict.fromkeys((*DIRECTIONS, QUERIES_ASK))
    columns: Mapping[str, np.ndarray | None] = dict.fromkeys((*DIRECTIONS, QUERIES_ASK))
    tile: Mapping[str, int | None] = dict.fromkeys((*DIRECTIONS, QUERIES_ASK))

    def n_columns(self, direction: str) -> int:
        """How many items a row of scores holds."""
        return self.shape[0 if direction == "t2i" else 1]

    def rows(self, direction: str, numbers: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """The rows of these numbers, (n, m), in the first rows of ``out``."""
        raise NotImplementedError


class EmbeddingScores(ScoreSource):
    """Cosine, inner product or negative squared Euclidean distance of two sets of vectors.

    Single precision where the inputs have no more; the lengths, and everything Euclidean (whose expanded form
    cancels), are float64.

    The last digit of a BLAS product depends on where in the matrices a vector stands. That would part equal vectors,
    which must tie, and would let the order of the gallery show. So the product is taken of the distinct vectors in an
    order of their own, in tiles of one shape, whatever the order of the input, the memory and the threads.
    """

    def __init__(
        self, images: Any, texts: Any, measure: Measure, allow_zero: bool = False, names: Names = SIDES
    ) -> None:
        images, texts = read_table(images, names[0]), read_table(texts, names[1])
        if images.shape[1] != texts.shape[1]:
            raise InputError(
                f"{names[0]} are {images.shape[1]} wide and {names[1]} {texts.shape[1]}, expected vectors of one space"
                + hint_transposed(images.shape, texts.shape, names)
            )
        self.shape = images.shape[0], texts.shape[0]
        refuse_zero = measure.refuses_zero and not allow_zero
        peaks = _peak(images, names[0], refuse_zero), _peak(texts, names[1], refuse_zero)
        self.dtype, change = measure.prepare(images, texts, peaks)
        of_images, of_texts = (_distinct(rows, self.dtype, change) for rows in (images, texts))
        self.ids, self.columns, self.tile, self._sides = {}, {}, {}, {}
        both = (("i2t", of_images, of_texts), ("t2i", of_texts, of_images))
        for direction, asking, asked in both if names == SIDES else ((QUERIES_ASK, of_images, of_texts),):
            (queries, self.ids[direction]), (gallery, gallery_ids) = asking, asked
            columns = np.argsort(gallery_ids, kind="stable")
            # which distinct vector stands in each column, where some do in several
            repeat = gallery_ids[columns] if columns.size > gallery.shape[0] else None
            half_squares = np.einsum("ij,ij->i", gallery, gallery) / 2 if measure.takes_squares else None
            self.columns[direction], self._sides[direction] = columns, (queries, gallery, repeat, half_squares)
            self.tile[direction] = _tile_rows(queries.shape[0], columns.size)

    def rows(self, direction: str, numbers: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scores of some distinct queries, (n, m), in ``out``, which has the rows of one tile."""
        queries, gallery, repeat, half_squares = self._sides[direction]
        chosen = np.zeros((out.shape[0], queries.shape[1]), queries.dtype)
        n = queries[numbers].shape[0]
        chosen[:n] = queries[numbers]
        product = out if repeat is None else np.empty((out.shape[0], gallery.shape[0]), out.dtype)
        np.matmul(chosen, gallery.T, out=product)
        if half_squares is not None:
            product -= half_squares
        if repeat is not None:
            np.take(product, repeat, axis=1, out=out, mode="clip")
        return out[:n]


def _tile_rows(n: int, m: int) -> int:
    """Rows of one product, by the sizes of both sides alone: an even number of tiles, with few rows to spare."""
    rows = min(max(TILE // m // STEP * STEP, LEAST), ROWS)
    tiles = -(-n // rows)
    tiles += tiles % 2  # two cores share them evenly
    return -(-n // tiles // STEP) * STEP
