"""What may be deployed: FAISS indexes by their factory strings, over vectors or over codes, with settings of a search.

Indexes of vectors are made by ``faiss.index_factory(d, factory, faiss.METRIC_INNER_PRODUCT)``, those of codes by
``faiss.index_binary_factory(bits, factory)``; each is built once and searched in several ways.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fico_utils.costs.indexes import faiss_threads
from fico_utils.evaluation.embeddings import read_chunks
from fico_utils.extras.deploy.inputs import K, map_rows
from fico_utils.extras.deploy.timing import Search

#: What a search looks at: all items, those of some lists (of which there are as many as the root of the items), or
#: those on a way through a graph.
ALL, LISTS, GRAPH = "n", "sqrt n", "log n"
#: The candidate that is exhaustive and of vectors, and that of codes.
EXACT, EXHAUSTIVE = "Flat", "BFlat"
#: Vectors that k-means asks for, for each centroid.
A_CENTROID = 39
#: Vectors that the rotation of OPQ is learned from at most; FAISS alone takes more of them, and longer. Items that are
#: decoded at once.
OPQ_ON, DECODED = 5000, 20_000


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

    def filled_index(self, items: np.ndarray, folder: Path | None = None) -> Any:
        """The index of some items: vectors (n, d) float32, or codes (n, bits / 8) uint8.

        What OPQ has turned is mapped from a file without a name in a folder, since it may be as large as all items.
        """
        import faiss

        if self.codes:
            index = faiss.index_binary_factory(8 * items.shape[1], self.factory)
        else:
            index = faiss.index_factory(items.shape[1], self.factory, faiss.METRIC_INNER_PRODUCT)
        filled = index
        if isinstance(index, faiss.IndexPreTransform) and self.factory.startswith("OPQ"):
            # by default OPQ turns for codes of 8 bits a part, for minutes, where 4 bits are kept
            turn = faiss.downcast_VectorTransform(index.chain.at(0))
            parts = faiss.ProductQuantizer(turn.d_out, turn.M, 4)
            turn.pq, turn.max_train_points, turn.niter = parts, OPQ_ON, 10
            with faiss_threads(1):
                turn.train(items)
            turn.pq = None
            pieces = (turn.apply(piece) for _, piece in read_chunks(items))
            items = map_rows(pieces, np.float32, (len(items), turn.d_out), folder)
            filled = faiss.downcast_index(index.index)
        # product quantisers learn in hundreds of small steps, for which several threads wait longer than they work
        with faiss_threads(1 if "PQ" in self.factory else None):
            filled.train(items)
        filled.add(items)
        index.is_trained, index.ntotal = True, filled.ntotal  # where it was filled behind the turn
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

    What the items do not suffice to train is left out. Lists, graphs and hash tables are over the longest codes of each
    method.
    """
    n_list = round(n**0.5)
    has_lists = n >= A_CENTROID * n_list and n_list > 1
    probes = [f"nprobe={p}" for p in ((4, 16) if quick else (1, 4, 16, 64)) if p <= n_list]
    factors = [f"k_factor_rf={k}" for k in ((4, 20) if quick else (2, 8, 32))]
    fast = f"PQ{dim // 2 if dim % 2 == 0 else dim}x4fs"  # two dimensions share 4 bits
    yield Build(EXACT, EXACT)
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
        yield Build(EXHAUSTIVE, EXHAUSTIVE, codes=made, depths=depths)
    for made in () if quick else longest.values():
        if has_lists:
            yield Build("BIVF", f"BIVF{n_list}", LISTS, probes[1:], made, depths[::2])
        yield Build("BHNSW", "BHNSW16", GRAPH, ["efSearch=64"], made, depths[::2])
        width = min(max(8, round(np.log2(n))), int(made.split()[1]) // 4)
        yield Build("MultiHash", f"BHash4x{width}", ALL, ["nflip=0", "nflip=1"], made, depths[::2])


def make_search(build: Build, index: Any, variant: Variant, vectors: np.ndarray | None, k: int) -> Search:
    """How one variant is asked for `k` items; `vectors` (n, d) rank the found again where it says so."""

    def search(queries: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        asked = codes if build.codes else queries
        found = build.find(index, variant.search, asked, variant.depth or k)
        return rank_again(found[1], vectors, queries, k) if variant.depth else found

    return search


def rank_again(ids: np.ndarray, vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and ids (n, k) of found ids (n, depth), ranked by `vectors` (n_items, d)."""
    scores = np.stack([vectors[row].astype(np.float32) @ query for row, query in zip(ids, queries, strict=True)])
    scores[ids < 0] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


def find_all(
    build: Build, index: Any, n: int, vectors: np.ndarray | None, queries: np.ndarray, codes: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What each variant of an index of `n` items finds for many queries: scores and ids (n_query, k).

    One search serves all depths, but of a graph, where a deeper search goes another way. An index that rounds each
    number by itself is decoded and searched by products of matrices, which find the same items sooner.
    """
    import faiss

    k, asked = min(K, n), codes if build.codes else queries
    for search in build.searches:
        if isinstance(index, faiss.IndexScalarQuantizer):
            scores, ids = _search_decoded(index, queries, k)
        elif build.law != GRAPH:
            scores, ids = build.find(index, search, asked, min(n, max(*build.depths, K)))
        for depth in build.depths:
            if build.law == GRAPH:
                scores, ids = build.find(index, search, asked, depth or k)
            yield rank_again(ids[:, :depth], vectors, queries, k) if depth else (scores[:, :k], ids[:, :k])


def _search_decoded(index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What an exhaustive index finds, from what its items are decoded to, some thousands at once."""
    import faiss

    best = faiss.ResultHeap(len(queries), k, keep_max=True)
    for start in range(0, index.ntotal, DECODED):
        block = index.reconstruct_n(start, min(DECODED, index.ntotal - start))
        scores, ids = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        best.add_result(scores, ids + start)
    best.finalize()
    return best.D, best.I
