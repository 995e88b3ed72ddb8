"""The paper's FAISS indexes, what they are built with, the codes that the binary ones hold, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.machine import available_memory
from fico_utils.registry import INDEXES

#: How real vectors become codes; ``itq`` is what the paper's recalls fit, it does not say.
BINARISERS = ("itq", "sign", "rotation")
#: Scores of unit vectors that differ by less are equal: the rounding of single precision.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Settings:
    """What the indexes are built and searched with; of HNSW, FAISS's defaults."""

    bits: int = 64  # of a code, a multiple of 8, as FAISS's binary indexes hold whole bytes
    binariser: str = "itq"  # one of `BINARISERS`
    neighbours: int = 32  # HNSW's M
    build_width: int = 40  # efConstruction
    search_width: int = 16  # efSearch
    n_list: int | None = None  # IVF lists; None is the square root of the candidates
    n_probe: int = 32  # lists visited a query; clipped to the lists there are where `n_list` is None

    def ivf_lists(self, n_base: int) -> tuple[int, int]:
        """(lists, lists visited) for `n_base` candidates."""
        n_list = max(1, round(n_base**0.5)) if self.n_list is None else self.n_list
        n_probe = min(self.n_probe, n_list) if self.n_list is None else self.n_probe
        assert 1 <= n_probe <= n_list <= n_base, f"{n_probe} of {n_list} IVF lists over {n_base} points"
        return n_list, n_probe


def make_binariser(method: str, train: np.ndarray, bits: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from (n, dim) float32 vectors to (n, bits / 8) packed uint8 codes.

    The `method` is ``itq`` (learned rotation of the PCA; Gong and Lazebnik, CVPR 2011), ``rotation`` (random rotation)
    or ``sign`` (of evenly spaced dimensions as they are); `train` (n_train, dim) float32 is what ITQ learns from.
    InputError for a code length that is no multiple of 8 or above dim.
    """
    import faiss

    dim = train.shape[1]
    assert method in BINARISERS, f"unknown binariser {method!r}"
    if bits < 8 or bits % 8 or bits > dim:
        raise InputError(
            f"codes of {bits} bits were asked for from {dim} dimensions; expected a multiple of 8 up to {dim}"
        )
    if method == "sign":
        columns = np.linspace(0, dim, bits, endpoint=False).astype(np.int64)
        return lambda x: np.packbits(x[:, columns] > 0, axis=1)
    if method == "rotation":
        transform = faiss.RandomRotationMatrix(dim, bits)
        transform.init(1338)
    else:
        assert len(train) >= bits, f"ITQ was given {len(train)} training vectors for {bits} bits"
        transform = faiss.ITQTransform(dim, bits, True)
        transform.train(train)
    return lambda x: np.packbits(transform.apply(np.ascontiguousarray(x, np.float32)) > 0, axis=1)


def new_index(name: str, dim: int, n_base: int, settings: Settings) -> Any:
    """An empty FAISS index for `n_base` vectors of `dim` dimensions, or codes of ``settings.bits``."""
    import faiss

    assert name in INDEXES, f"unknown index {name!r}"
    if name == "flat_ip":
        return faiss.IndexFlatIP(dim)
    if name == "hnsw_flat":
        index = faiss.IndexHNSWFlat(dim, settings.neighbours, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = settings.build_width, settings.search_width
        return index
    if name == "binary_ivf":
        n_list, n_probe = settings.ivf_lists(n_base)
        index = faiss.index_binary_factory(settings.bits, f"BIVF{n_list}")
        index.nprobe = n_probe
        index.cp.min_points_per_centroid = 1  # a small trial is no reason for a warning
        return index
    index = faiss.IndexBinaryFlat(settings.bits)
    index.use_heap = name == "binary_flat"
    return index


def filled_index(name: str, items: np.ndarray, settings: Settings) -> Any:
    """A FAISS index that holds items: (n, dim) float32 vectors, or (n, bits / 8) packed uint8 codes."""
    index = new_index(name, items.shape[1], len(items), settings)
    items = np.ascontiguousarray(items)
    if not index.is_trained:
        index.train(items)
    index.add(items)
    return index


def index_bytes(index: Any) -> int:
    """Bytes an index holds beside a fixed header: vectors or codes, ids, graph, centroids."""
    import faiss

    if isinstance(index, faiss.IndexHNSW):
        graph = index.hnsw
        links = 4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size()
        return links + 4 * index.d * index.ntotal
    if isinstance(index, faiss.IndexBinaryIVF):
        return (index.code_size + 8) * index.ntotal + index.code_size * index.nlist
    return index.code_size * index.ntotal


def recall_of_nearest(ids: np.ndarray, nearest: np.ndarray, ks: Sequence[int]) -> dict[int, float]:
    """1-recall@k: the share of queries whose true nearest neighbour is among the first k ids.

    `ids` (n_query, depth) int64 stand best first, -1 where an index returned no more, which never counts; `nearest`
    (n_query,) int64 are the ids of the exact nearest neighbours. Where items may be copies of each other, several are
    nearest: `recall_of_hits` of `ties_with_best` counts each.

    >>> recall_of_nearest(np.array([[3, 7], [-1, -1]]), np.array([7, 2]), [1, 2])
    {1: 0.0, 2: 0.5}
    """
    assert ids.ndim == 2, f"ids of shape {ids.shape}; expected (n_query, depth)"
    assert nearest.shape == (len(ids),), f"nearest neighbours of shape {nearest.shape}; expected ({len(ids)},)"
    assert nearest.min() >= 0, "ids of candidates count from 0"
    return recall_of_hits(ids == nearest[:, None], ks)


def recall_of_hits(hits: np.ndarray, ks: Sequence[int]) -> dict[int, float]:
    """The share of queries with a hit among the first k found; `hits` (n_query, depth) bool stand best first."""
    assert not ks or 1 <= min(ks) <= max(ks) <= hits.shape[1], f"k = {ks} of {hits.shape[1]} found"
    first = np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1])
    return {int(k): float((first < k).mean()) for k in ks}


def ties_with_best(scores: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Which found items score as high as the exact best, so that copies count alike: (n_query, depth) bool.

    `scores` (n_query, depth) are those of what was found, -inf for nothing, and `best` (n_query,) those of exhaustive
    search; what is equal but for the rounding of single precision at unit length is equal.
    """
    return scores >= best[:, None] - ROUNDING


def require_memory(needed: int, what: str, instead: str) -> None:
    """Return if `needed` bytes are to be had; otherwise InputError: what would be needed, what to try."""
    available = available_memory()
    if needed > available:
        raise InputError(
            f"{what} needs about {needed / 2**30:.1f} GiB of memory, and {available / 2**30:.1f} GiB are "
            f"free; {instead}"
        )


@contextmanager
def faiss_threads(threads: int | None) -> Iterator[int]:
    """FAISS pinned to `threads` inside the block (None: as it is); gives the number in force."""
    import faiss

    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(threads or before)
        yield threads or before
    finally:
        faiss.omp_set_num_threads(before)
