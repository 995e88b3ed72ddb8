"""The paper's FAISS indexes, what they are built with, and the codes that the binary ones hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.costs.vectors import CHUNK_ELEMENTS, KEEP_BYTES, Synthetic
from fico_utils.errors import InputError

#: Index ids, in the order of Table 7.
INDEXES = ("flat_ip", "hnsw_flat", "binary_flat", "binary_flat_counting", "binary_ivf")
#: How real vectors become codes; ``itq`` is what the paper's recalls fit, it does not say.
BINARISERS = ("itq", "sign", "rotation")


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

    Raises
    ------
    InputError
        A code length that is no multiple of 8 or above dim.
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
    if name != "binary_ivf":
        index = faiss.IndexBinaryFlat(settings.bits)
        index.use_heap = name == "binary_flat"
        return index
    n_list, n_probe = settings.ivf_lists(n_base)
    quantiser = faiss.IndexBinaryFlat(settings.bits)
    index = faiss.IndexBinaryIVF(quantiser, settings.bits, n_list)
    quantiser.this.disown()  # the index frees it
    index.own_fields = True
    index.nprobe = n_probe
    index.cp.min_points_per_centroid = 1  # a small trial is no reason for a warning
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


def needed_bytes(name: str, data: Synthetic, depth: int, settings: Settings) -> int:
    """Memory to build and search an index, B: it twice (it grows by copying), queries, answers, chunks."""
    binary = name.startswith("binary")
    item = settings.bits // 8 * 2 + 8 if binary else 4 * data.dim
    links = 8 * settings.neighbours + 16 if name == "hnsw_flat" else 0
    answers = 12 * depth * data.n_query
    drawn = min(KEEP_BYTES, 4 * data.dim * data.n_base) + 4 * data.dim * (data.n_query + data.n_train)
    return 2 * item * data.n_base + links * data.n_base + answers + drawn + 4 * 8 * CHUNK_ELEMENTS


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
