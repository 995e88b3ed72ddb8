"""What may be deployed: FAISS indexes by their factory strings, over vectors or over codes, with settings of a search.

Indexes of vectors are made by ``faiss.index_factory(d, factory, faiss.METRIC_INNER_PRODUCT)``, those of codes by
``faiss.index_binary_factory(bits, factory)``; each is built once and searched in several ways.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

#: What a search looks at: all items, those of some lists (of which there are as many as the root of the items), or
#: those on a way through a graph.
ALL, LISTS, GRAPH = "n", "sqrt n", "log n"
#: The candidate that is exhaustive and of vectors.
EXACT = "Flat"
#: Items that a search gives; vectors that k-means asks for, for each centroid.
K, A_CENTROID = 10, 39
#: Vectors that the rotation of OPQ is learned from at most; FAISS alone takes more of them, and longer.
OPQ_ON = 5000
#: Queries (n, d) float32 and their codes or None -> scores (n, k) float32, larger is closer, and ids (n, k).
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
    searches: Sequence[str] = ("",)
    codes: str = ""  # how vectors become codes, and their bits, such as ``itq 256``; empty for an index of vectors
    depths: Sequence[int] = (0,)

    clock = staticmethod(time.thread_time)  # seconds of a search on one thread

    @property
    def variants(self) -> list[Variant]:
        """Every way to search it."""
        return [Variant(search, depth) for search in self.searches for depth in self.depths]

    def title(self, variant: Variant) -> str:
        """What a row of the table is called."""
        reranked = f"{variant.depth} reranked" if variant.depth else ""
        return ", ".join(filter(None, [self.codes and f"{self.codes} bits", self.name, variant.search, reranked]))

    def filled_index(self, items: np.ndarray) -> Any:
        """The index of some items: vectors (n, d) float32, or codes (n, bits / 8) uint8."""
        import faiss

        if self.codes:
            index = faiss.index_binary_factory(8 * items.shape[1], self.factory)
        else:
            index = faiss.index_factory(items.shape[1], self.factory, faiss.METRIC_INNER_PRODUCT)
        if isinstance(index, faiss.IndexPreTransform) and self.factory.startswith("OPQ"):
            # by default OPQ turns for codes of 8 bits a part, for minutes, where 4 bits are kept
            turn = faiss.downcast_VectorTransform(index.chain.at(0))
            parts = faiss.ProductQuantizer(turn.d_out, turn.M, 4)
            turn.pq, turn.max_train_points, turn.niter = parts, OPQ_ON, 20
            turn.train(items)
            turn.pq = None
        index.train(items)
        index.add(items)
        return index

    @staticmethod
    def written_bytes(index: Any) -> int:
        """Bytes of an index as it is written."""
        import faiss

        sizes: list[int] = []

        def take(piece: Any) -> int:
            sizes.append(len(piece))
            return len(piece)

        write = faiss.write_index if isinstance(index, faiss.Index) else faiss.write_index_binary
        write(index, faiss.PyCallbackIOWriter(take))
        return sum(sizes)

    def find(self, index: Any, search: str, asked: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores (n, k) float32, larger is closer, and ids (n, k) of what is found for vectors or codes (n, ...).

        Where fewer than `k` are found, ids of -1 and scores of -inf stand behind them.
        """
        import faiss

        if not self.codes:
            faiss.ParameterSpace().set_index_parameters(index, search)
            return index.search(asked, k)
        for name, value in (part.split("=") for part in search.split(",") if part):
            setattr(index.hnsw if name == "efSearch" else index, name, int(value))
        distances, ids = index.search(asked, k)
        return np.where(ids < 0, -np.inf, -distances.astype(np.float32)), ids


def list_builds(n: int, dim: int, codes: Sequence[str], quick: bool) -> Iterator[Build]:
    """What may be built of `n` vectors of `dim` dimensions, and of their `codes`; the exhaustive search comes first.

    What the items do not suffice to train is left out.
    """
    n_list = round(n**0.5)
    has_lists = n >= A_CENTROID * n_list and n_list > 1
    probes = [f"nprobe={p}" for p in ((4, 16) if quick else (1, 4, 16, 64)) if p <= n_list]
    factors = [f"k_factor_rf={k}" for k in ((4, 20) if quick else (2, 8, 32))]
    fast = f"PQ{dim // 2 if dim % 2 == 0 else dim}x4fs"  # two dimensions share 4 bits
    yield Build(EXACT, "Flat")
    yield Build("SQfp16", "SQfp16")
    yield Build("SQ8", "SQ8")
    if n >= A_CENTROID * 16:
        yield Build("PQ fast scan, refined", f"{fast},Refine(SQfp16)", searches=factors)
    if has_lists:
        yield Build("IVF-Flat", f"IVF{n_list},Flat", LISTS, probes)
    if has_lists and not quick:
        refined = [f"{probe},k_factor_rf=8" for probe in probes]
        yield Build("IVF-PQ fast scan, refined", f"IVF{n_list},{fast},Refine(SQfp16)", LISTS, refined)
        if dim % 8 == 0:  # 16 centroids a part: 256 of them take minutes to learn, and find little more
            yield Build("IVF-PQ fast scan", f"IVF{n_list},PQ{dim // 4}x4fs", LISTS, probes[1:])
            yield Build("IVF-OPQ fast scan", f"OPQ{dim // 8},IVF{n_list},PQ{dim // 8}x4fs", LISTS, probes[1:])
    widths = (16, 64) if quick else (16, 32, 64, 128, 256)
    yield Build("HNSW", "HNSW16" if quick else "HNSW32", GRAPH, [f"efSearch={w}" for w in widths])
    depths = [d for d in ((0, 100) if quick else (0, 20, 100, 500)) if d < n]
    longest = {made.split()[0]: made for made in codes}  # they are listed by length
    for made in codes:
        yield Build("BFlat", "BFlat", codes=made, depths=depths)
        if quick or made not in longest.values():
            continue
        if has_lists:
            yield Build("BIVF", f"BIVF{n_list}", LISTS, probes[1:], made, depths[::3])
        if made.startswith("itq"):
            yield Build("BHNSW", "BHNSW16", GRAPH, ["efSearch=64"], made, depths[::3])
            width = min(max(8, round(np.log2(n))), int(made.split()[1]) // 4)
            yield Build("MultiHash", f"BHash4x{width}", ALL, ["nflip=0", "nflip=1"], made, depths[::3])


def make_search(build: Build, index: Any, variant: Variant, vectors: np.ndarray | None, k: int) -> Search:
    """How one variant is asked for `k` items; `vectors` (n, d) rank the found again where it says so."""

    def search(queries: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        scores, ids = build.find(index, variant.search, codes if build.codes else queries, variant.depth or k)
        if not variant.depth:
            return scores, ids
        scores = np.stack([vectors[row].astype(np.float32) @ query for row, query in zip(ids, queries, strict=True)])
        scores[ids < 0] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)

    return search
