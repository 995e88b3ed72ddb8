"""What is asked of a gallery: somebody's embeddings, read as `evaluate` reads them, and parts of the gallery."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.embeddings import read_chunks, read_table
from fico_utils.evaluation.given import Given
from fico_utils.evaluation.similarity import pack_codes
from fico_utils.evaluation.tasks import DIRECTIONS, Ragged, Task
from fico_utils.extras.scoring.forms import read_forms
from fico_utils.files import content_digest, key_of

#: Items of the smallest gallery that a growth can be fitted to.
LEAST_TO_GROW = 64
#: Measured are the gallery and, where it is to grow, these parts of it, a quick run without the half, others without
#: the eighth; each holds all items that are asked for.
PARTS = (8, 4, 2, 1)
#: Items that a search gives.
K = 10
#: Codes of the gallery and of all that may ask, (n, bits / 8) packed uint8 each.
Codes = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Asked:
    """One direction of somebody's embeddings: a gallery, a sample of queries, and pairs that none of them knows."""

    gallery: np.ndarray  # (n_items, d), as given
    asking: np.ndarray  # (n, d), as given: all that may ask
    task: Task  # of the sampled queries
    pairs: np.ndarray  # (n_pairs, 2) int64: item and asking row, of items that no query asks for
    codes: Codes | None
    seed: int

    @property
    def n_items(self) -> int:
        """How many items the whole gallery has."""
        return len(self.gallery)

    @property
    def dim(self) -> int:
        """How many dimensions a vector has."""
        return self.gallery.shape[1]

    @cached_property
    def queries(self) -> np.ndarray:
        """The sampled queries, (n_query, d) float32 of unit length."""
        return unit_rows(self.asking, self.task.asking)

    @cached_property
    def key(self) -> str:
        """Digest of all that the measured numbers depend on."""
        arrays = [*self.task.correct, self.task.asking, self.pairs, *(self.codes or ())]
        arrays += [part for side in (self.gallery, self.asking) for _, part in read_chunks(side)]
        if self.task.labels is not None:
            arrays += [*self.task.labels.members, self.task.labels.item_owner]
        return key_of([content_digest({"": array}) for array in arrays])

    def part(self, n: int, folder: Path | None = None) -> Part:
        """A gallery of `n` items, every item that a query asks for among them, in a random order.

        Its vectors lie in a file without a name in `folder`, or among the system's temporary files, and are mapped.
        """
        rng, correct = np.random.default_rng(self.seed), self.task.correct
        own = np.unique(correct.members)
        others = np.setdiff1d(np.arange(self.n_items), own, assume_unique=True)
        items = rng.permutation(np.concatenate([own, rng.permutation(others)])[:n])
        place = np.full(self.n_items, -1)
        place[items] = np.arange(n)
        task = replace(self.task, n_item=n, correct=Ragged(correct.start, place[correct.members]))
        if task.labels is not None:
            task = replace(task, labels=replace(task.labels, item_owner=task.labels.item_owner[items]))
        unit = (piece for _, piece in _unit_pieces(self.gallery, items))
        return Part(map_rows(unit, np.float32, (n, self.dim), folder), self.queries, task, items, folder)


@dataclass(frozen=True)
class Part:
    """A gallery of some size: unit vectors of its items and of the queries, and what is relevant in it."""

    items: np.ndarray  # (n, d) float32
    queries: np.ndarray  # (n_query, d) float32
    task: Task
    chosen: np.ndarray  # (n,) rows of the whole gallery
    folder: Path | None = None  # of its unnamed files

    @cached_property
    def halves(self) -> np.ndarray:
        """The items in half precision, (n, d) float16, which rank again what was found; mapped as they are."""
        pieces = (piece.astype(np.float16) for _, piece in read_chunks(self.items))
        return map_rows(pieces, np.float16, self.items.shape, self.folder)

    @cached_property
    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores (n_query, k) float32 and ids of each query's nearest items, from exhaustive search."""
        import faiss

        return faiss.knn(self.queries, self.items, min(K, len(self.items)), metric=faiss.METRIC_INNER_PRODUCT)

    @cached_property
    def best(self) -> np.ndarray:
        """The score of each query's nearest item, (n_query,) float64."""
        return self.scores(self.nearest[1])[:, 0]

    @cached_property
    def beaten(self) -> np.ndarray:
        """How many items score above the best right item of each query, (2, n_query) int64; rounding is no difference.

        Items that some query asks for stand in every part, and are the first row; the others are the second.
        """
        right = [self.items[row].astype(np.float64) @ q for row, q in zip(self.right, self.queries, strict=True)]
        bars, own = np.array([scores.max() for scores in right]) + 1e-6, np.zeros(len(self.items), bool)
        own[self.task.correct.members] = True
        counts = np.zeros((2, len(bars)), np.int64)
        for start, block in read_chunks(self.items, len(bars)):
            above, asked = self.queries @ block.T > bars[:, None], own[start : start + len(block)]
            counts += above[:, asked].sum(axis=1), above[:, ~asked].sum(axis=1)
        return counts

    @property
    def n_others(self) -> int:
        """How many items no query asks for."""
        return len(self.items) - len(np.unique(self.task.correct.members))

    @property
    def right(self) -> list[np.ndarray]:
        """The right items of each query."""
        return np.split(self.task.correct.members, self.task.correct.start[1:-1])

    def scores(self, ids: np.ndarray) -> np.ndarray:
        """Cosines of the queries and some items each, (n_query, k) float64; -inf where an id is -1."""
        wide = [self.items[row].astype(np.float64) @ query for row, query in zip(ids, self.queries, strict=True)]
        return np.where(ids < 0, -np.inf, np.stack(wide))


def read_asked(given: Mapping[str, Any], codes: Any, direction: str, seed: int, n_query: int) -> Asked:
    """What `deploy` was `given` of `evaluate`'s keywords, checked as there, with at most `n_query` queries drawn.

    InputError where it has no meaning, or where no caption has an image.
    """
    if direction not in DIRECTIONS:
        raise InputError(f"direction is {direction!r}, expected one of {', '.join(DIRECTIONS)}")
    for name in ("images", "texts"):
        if given[name] is None:
            raise InputError(f"{name} are not given, and both sides are needed")
    read, by_image = read_forms(Given(**given, distractors=True)), direction == "i2t"
    whole = next(task for task in read.tasks if task.direction == direction)
    if not whole.asking.size:
        raise InputError("no caption has an image: give caption_image, the index of each caption's image")
    sides = read_table(read.images, "images"), read_table(read.texts, "texts")
    asking, gallery = sides if by_image else sides[::-1]
    order = np.random.default_rng(seed).permutation(whole.asking.size)
    lists = whole.correct.take(order)
    new = np.zeros(lists.members.size + 1, np.int64)
    new[np.unique(lists.members, return_index=True)[1] + 1] = 1
    room = len(gallery) // (PARTS[0] if len(gallery) >= LEAST_TO_GROW else 1)
    fits = np.cumsum(new)[lists.start[1:]] <= max(room, lists.start[1])
    task = whole.take(np.sort(order[:n_query][fits[:n_query]]))
    pairs = np.stack([whole.correct.members, np.repeat(whole.asking, whole.correct.sizes)], 1)
    known = np.isin(pairs[:, 0], task.correct.members) | np.isin(pairs[:, 1], task.asking)
    own = None if codes is None else _read_codes(codes, read.source.shape)
    return Asked(gallery, asking, task, pairs[~known], own[::-1] if own and by_image else own, seed)


def _read_codes(codes: Any, shape: tuple[int, int]) -> Codes:
    """Codes of images and of texts, a pair; bits of any type, or packed uint8."""
    if not isinstance(codes, (tuple, list)) or len(codes) != 2:
        raise InputError("codes are a pair, those of the images and those of the texts: give both")
    packed = []
    for array, n, name in zip(codes, shape, ("codes of the images", "codes of the texts"), strict=True):
        array = read_table(array, name)
        if len(array) != n:
            raise InputError(f"{name} have {len(array)} rows, expected one for each of {n}")
        is_packed = array.dtype == np.uint8 and array.max() > 1
        words, bits = pack_codes(array, 8 * array.shape[1] if is_packed else None, name)
        packed.append(np.ascontiguousarray(words.view(np.uint8)[:, : -(-bits // 8)]))  # FAISS holds whole bytes
    widths = [8 * side.shape[1] for side in packed]
    if widths[0] != widths[1]:
        raise InputError(f"codes of the images and of the texts have {widths} bits, expected codes of one length")
    return packed[0], packed[1]


def unit_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows of an array at unit length, (n, d) float32; the array may be mapped, and is read in pieces."""
    unit = np.empty((len(rows), array.shape[1]), np.float32)
    for start, piece in _unit_pieces(array, rows):
        unit[start : start + len(piece)] = piece
    return unit


def _unit_pieces(array: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start, at in read_chunks(np.asarray(rows)[:, None], array.shape[1]):
        wide = array[at[:, 0]].astype(np.float64)
        wide /= np.abs(wide).max(axis=1, keepdims=True)  # squares of what is very long or short leave the range
        yield start, (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def map_rows(pieces: Iterable[np.ndarray], dtype: type, shape: tuple[int, int], folder: Path | None) -> np.ndarray:
    """An array of these rows, in a file that ends with its last reader; written first, as a full disk is an OSError."""
    with tempfile.TemporaryFile(dir=folder) as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        return np.asarray(np.memmap(file, dtype, "r", shape=shape))
