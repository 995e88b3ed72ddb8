"""What may be deployed: FAISS indexes by their factory strings, over vectors or over codes, with settings of a search.

A `Build` is built once and searched in several ways, its `variants`. Vectors are asked by
``faiss.index_factory(d, factory, faiss.METRIC_INNER_PRODUCT)``, codes by ``faiss.index_binary_factory(bits, factory)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

#: Items that are looked at: all, those of some lists, those on a way through a graph. Their number grows with the
#: items, with the root of them (there are as many lists), or with their logarithm.
ALL, LISTS, GRAPH = "n", "sqrt n", "log n"
#: The candidate that is exhaustive and of vectors.
EXACT = "Flat"
#: Items that a search gives.
K = 10
#: Vectors that k-means asks for, for each centroid.
A_CENTROID = 39

#: Queries (n, d) float32 and codes of them, or None -> scores (n, k) float32, larger is closer, and ids (n, k).
Search = Callable[[np.ndarray, "np.ndarray | None"], tuple[np.ndarray, np.ndarray]]


class Variant(NamedTuple):
    """One way to search an index: parameters of FAISS, and how many found items are ranked again by their vectors."""

    search: str = ""  # such as ``nprobe=16``
    depth: int = 0


@dataclass(frozen=True)
class Build:
    """An index to be built: its name whatever the size, its factory string, and what its time grows with."""

    name: str
    factory: str
    law: str = ALL
    searches: tuple[str, ...] = ("",)
    codes: str = ""  # how vectors become codes, and how long, such as ``itq 256``; empty for an index of vectors
    depths: tuple[int, ...] = field(default=(0,))

    @property
    def variants(self) -> list[Variant]:
        """Every way to search it; an index of codes alone (0) and with each depth."""
        return [Variant(search, depth) for search in self.searches for depth in self.depths]

    def title(self, variant: Variant) -> str:
        """What a row of the table is called."""
        parts = [f"{self.codes} bits" if self.codes else "", self.name, variant.search]
        return ", ".join(filter(None, [*parts, f"{variant.depth} reranked" if variant.depth else ""]))

    def new_index(self, dim: int) -> Any:
        """The empty index."""
        import faiss

        if self.codes:
            return faiss.index_binary_factory(int(self.codes.split()[-1]), self.factory)
        return faiss.index_factory(dim, self.factory, faiss.METRIC_INNER_PRODUCT)

    def filled_index(self, items: np.ndarray) -> Any:
        """The index of some items: vectors (n, d) float32, or codes (n, bits / 8) uint8."""
        index = self.new_index(items.shape[1])
        index.train(items)
        index.add(items)
        return index


def list_builds(n: int, dim: int, codes: list[str], quick: bool) -> Iterator[Build]:
    """What may be built of `n` vectors of `dim` dimensions, and of their `codes`; the first is the exhaustive search.

    What the items do not suffice to train is left out.
    """
    n_list = max(1, round(n**0.5))
    sub = dim // 2 if dim % 2 == 0 else dim  # quantisers of a product quantiser; two dimensions each, 4 bits
    yield Build(EXACT, "Flat")
    yield Build("SQfp16", "SQfp16")
    yield Build("SQ8", "SQ8")
    fast = f"PQ{sub}x4fs"
    factors = ("k_factor_rf=4", "k_factor_rf=20") if quick else tuple(f"k_factor_rf={k}" for k in (2, 8, 32))
    if n >= A_CENTROID * 16:
        yield Build("PQ fast scan, refined", f"{fast},Refine(SQfp16)", searches=factors)
    probes = [p for p in ((4, 16) if quick else (1, 4, 16, 64)) if p <= n_list]
    if n >= A_CENTROID * n_list and n_list > 1:
        searches = tuple(f"nprobe={p}" for p in probes)
        yield Build("IVF-Flat", f"IVF{n_list},Flat", LISTS, searches)
        if not quick:
            refined = tuple(f"{p},k_factor_rf=8" for p in searches)
            yield Build("IVF-PQ fast scan, refined", f"IVF{n_list},{fast},Refine(SQfp16)", LISTS, refined)
        if not quick and n >= A_CENTROID * 256 and dim % 8 == 0:
            width = dim // 8
            yield Build("IVF-PQ", f"IVF{n_list},PQ{width}", LISTS, searches[1:])
            yield Build("IVF-OPQ fast scan", f"OPQ{width},IVF{n_list},PQ{width}x4fs", LISTS, searches[1:])
    widths = (16, 64) if quick else (16, 32, 64, 128, 256)
    yield Build("HNSW", "HNSW16" if quick else "HNSW32", GRAPH, tuple(f"efSearch={w}" for w in widths))
    depths = tuple(d for d in ((0, 100) if quick else (0, 20, 100, 500)) if d < n)
    for made in codes:
        yield Build("BFlat", "BFlat", codes=made, depths=depths)
        bits = int(made.split()[-1])
        if quick or made != longest(codes, made.split()[0]):
            continue
        if n >= A_CENTROID * n_list and n_list > 1:
            searches = tuple(f"nprobe={p}" for p in probes[1:])
            yield Build("BIVF", f"BIVF{n_list}", LISTS, searches, made, depths[:1] + depths[-2:])
        if made.startswith("itq"):
            yield Build("BHNSW", "BHNSW16", GRAPH, ("efSearch=64",), made, depths[:1] + depths[-1:])
            width = min(max(8, round(np.log2(n))), bits // 4)
            searches = ("nflip=0", "nflip=1")
            yield Build("MultiHash", f"BHash4x{width}", ALL, searches, made, depths[:1] + depths[-1:])


def longest(codes: list[str], method: str) -> str:
    """The longest codes of one method."""
    return max((c for c in codes if c.split()[0] == method), key=lambda c: int(c.split()[-1]))


def set_search(index: Any, search: str) -> None:
    """Give an index parameters such as ``nprobe=16,k_factor_rf=8``."""
    import faiss

    if isinstance(index, faiss.Index):
        faiss.ParameterSpace().set_index_parameters(index, search)
        return
    for name, value in (part.split("=") for part in search.split(",") if part):
        setattr(index.hnsw if name == "efSearch" else index, name, int(value))


def make_search(build: Build, index: Any, variant: Variant, vectors: np.ndarray | None, k: int) -> Search:
    """How one variant is asked for `k` items; `vectors` (n, d) rank the found again where it says so."""

    def search(queries: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        set_search(index, variant.search)
        if not build.codes:
            return index.search(queries, k)
        distances, ids = index.search(codes, variant.depth or k)
        if variant.depth:
            return rerank_found(vectors, queries, ids, k)
        return np.where(ids < 0, -np.inf, -distances.astype(np.float32)), ids

    return search


def rerank_found(vectors: np.ndarray, queries: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and ids (n, k) of the best `k` of the found items (n, depth), by inner product; -1 is none."""
    scores = np.stack([vectors[row].astype(np.float32) @ query for row, query in zip(ids, queries, strict=True)])
    scores[ids < 0] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
