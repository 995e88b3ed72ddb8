"""Recall of binary search at the paper's size (Table 7, 2 048 dimensions), as a long run that can be stopped.

    python benchmarks/search_paper_size.py                                    500K candidates, 1 000 queries: about
                                                                              3 minutes on one core, under 1 GiB
    python benchmarks/search_paper_size.py --candidates 2500000               about 12 minutes on one core
    python benchmarks/search_paper_size.py --candidates 5000000 --queries 1000000 --threads 64 --float
                                                                              the paper's largest, on a large machine:
                                                                              hours, about 190 GiB

The candidates are those of FAISS's SyntheticDataset, drawn chunk by chunk; one pass over them finds each query's exact
nearest neighbour and makes the codes of every binarisation (ITQ, sign, random rotation), and nothing else is kept. What
is done lies below ``--work`` in blocks: a run that was stopped goes on at the block where it was. Then the codes are
indexed and searched: exhaustively with a heap and with counting, and through an inverted file. ``--float`` also builds
and searches the two float indexes, which hold every vector; where they do not fit, it says what they would need.

Writes a CSV with the columns of costs.csv, times beside recalls; a machine that does other work meanwhile spoils the
times, never the recalls.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
WORK = HERE.parent / "results" / "search_paper_size"
#: Candidates of a block: what is lost at most when the run is stopped.
BLOCK = 20_000
#: Queries searched at a time: bounds the answers held.
QUERIES = 10_000
INDEXES = ("binary_flat", "binary_flat_counting", "binary_ivf")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--candidates", type=int, default=500_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--train", type=int, default=10_000, help="vectors that ITQ learns from")
    parser.add_argument("--seed", type=int, default=1338, help="of the data set; FAISS's own default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--float", action="store_true", help="also the float indexes, which hold every vector")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the blocks that are done")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "search_paper_size.csv")
    return parser.parse_args()


def one_pass(data, binarisers: dict, folder: Path, key: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Exact nearest neighbours (n_query,) and the packed codes of all candidates by method; block by block."""
    import faiss

    from fico_utils.files import read_arrays, read_metadata, write_arrays

    queries, blocks = data.queries, []
    begin = time.monotonic()
    for start in range(0, data.n_base, BLOCK):
        stop, path = min(start + BLOCK, data.n_base), folder / f"block_{start:010d}.safetensors"
        if not (path.is_file() and read_metadata(path).get("key") == key):
            best, nearest = np.full(data.n_query, -np.inf, np.float32), np.zeros(data.n_query, np.int64)
            codes, first = {name: [] for name in binarisers}, start
            for chunk in data.base_chunks(start, stop):
                score, found = faiss.knn(queries, chunk, 1, metric=faiss.METRIC_INNER_PRODUCT)
                better = score[:, 0] > best
                best[better], nearest[better] = score[better, 0], found[better, 0] + first
                for name, binarise in binarisers.items():
                    codes[name].append(binarise(chunk))
                first += len(chunk)
            arrays = {name: np.concatenate(parts) for name, parts in codes.items()}
            write_arrays(path, {"best": best, "nearest": nearest, **arrays}, {"key": key})
        blocks.append(path)
        print(f"\r{stop:,} of {data.n_base:,} candidates, {time.monotonic() - begin:.0f} s", end="", file=sys.stderr)
    print(file=sys.stderr)
    best, nearest = np.full(data.n_query, -np.inf, np.float32), np.zeros(data.n_query, np.int64)
    codes = {name: [] for name in binarisers}
    for path in blocks:
        part = read_arrays(path)
        better = part["best"] > best
        best[better], nearest[better] = part["best"][better], part["nearest"][better]
        for name in codes:
            codes[name].append(part[name])
    return nearest, {name: np.concatenate(parts) for name, parts in codes.items()}


def search(index, queries: np.ndarray, nearest: np.ndarray, ks: list[int], threads: int):
    """The `Measurement` of asking all queries, some at a time, and their recall."""
    from fico_utils.costs.clock import Measurement
    from fico_utils.costs.indexes import recall_of_nearest

    seconds, recall = 0.0, dict.fromkeys(ks, 0.0)
    index.search(queries[:10], max(ks))  # the first call is slow
    for i in range(0, len(queries), QUERIES):
        start = time.perf_counter()
        found = index.search(queries[i : i + QUERIES], max(ks))[1]
        seconds += time.perf_counter() - start
        for k, value in recall_of_nearest(found, nearest[i : i + QUERIES], ks).items():
            recall[k] += value * len(found) / len(queries)
    return Measurement((seconds,), threads=threads), recall


def rows_of(codes: dict, asked: dict, nearest: np.ndarray, dim: int, bits: int, threads: int, columns: dict) -> list:
    """Rows of costs.csv: every index on ITQ's codes, and the recall of the other codes beside."""
    from fico_utils.costs.clock import Measurement
    from fico_utils.costs.indexes import Settings, index_bytes, new_index
    from fico_utils.costs.rows import cost_row
    from fico_utils.costs.search import RECALL_AT

    n, rows = len(codes["itq"]), []
    ks = [k for k in RECALL_AT if k <= n]
    place = {"corpus": "synthetic", "scale_img": len(nearest), "scale_txt": n, **columns}
    for name in INDEXES:
        index = new_index(name, dim, n, Settings(bits=bits))
        start = time.perf_counter()
        if not index.is_trained:
            index.train(codes["itq"])
        index.add(codes["itq"])
        built = Measurement((time.perf_counter() - start,), threads=threads)
        searched, recall = search(index, asked["itq"], nearest, ks, threads)
        rows.append(cost_row("index", "seconds", built, system=name, **place))
        rows.append(
            cost_row("index", "index_bytes", index_bytes(index), unit="B", threads=threads, system=name, **place)
        )
        rows.append(cost_row("search", "seconds", searched, system=name, **place))
        for k, value in recall.items():
            rows.append(cost_row("search", f"recall@{k}", value, unit="", threads=threads, system=name, **place))
    for method in ("sign", "rotation"):
        index = new_index("binary_flat_counting", dim, n, Settings(bits=bits))
        index.add(codes[method])
        for k, value in search(index, asked[method], nearest, ks, threads)[1].items():
            rows.append(
                cost_row(
                    "search", f"recall_{method}@{k}", value, unit="", threads=threads, system="binary_flat", **place
                )
            )
    return rows


def against_the_paper(rows: list, n: int) -> list[str]:
    """Lines that put our recalls of ITQ's codes beside the paper's at the same number of candidates."""
    from fico_utils.results.paper_reference import paper_reference

    paper = paper_reference("costs")
    paper = paper[(paper["run"] == "table7") & (paper["scale_txt"] == n)]
    theirs = {(r.system, r.quantity): r.value for r in paper.itertuples()}
    return [
        f"{r['system']} {r['quantity']}: {100 * r['value']:.1f} %, the paper's "
        f"{100 * theirs[r['system'], r['quantity']]:.1f} %"
        for r in rows
        if r["phase"] == "search" and (r["system"], r["quantity"]) in theirs and r["quantity"] != "seconds"
    ]


def main() -> None:
    """Run it."""
    given = arguments()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(given.threads)
    import faiss
    import pandas as pd

    from fico_utils.costs.clock import Timing
    from fico_utils.costs.indexes import BINARISERS, faiss_threads, make_binariser
    from fico_utils.costs.search import Synthetic, search_rows
    from fico_utils.files import atomic_path, key_of
    from fico_utils.results.schema import COSTS_COLUMNS

    data = Synthetic(given.dim, given.candidates, given.queries, given.train, given.seed)
    columns = {"run": None, "device": "cpu"}
    with faiss_threads(given.threads):
        train = data.train()
        encoders = {method: make_binariser(method, train, given.bits) for method in BINARISERS}
        # blocks of other data, or of another rotation (ITQ may differ between machines), are not gone on with
        probe = [encode(train[:256]).tobytes().hex() for encode in encoders.values()]
        key = key_of(given.dim, given.candidates, given.queries, given.train, given.seed, probe, faiss.__version__)
        nearest, codes = one_pass(data, encoders, given.work / key, key)
        queries = data.queries
        asked = {method: encode(queries) for method, encode in encoders.items()}
        rows = rows_of(codes, asked, nearest, given.dim, given.bits, given.threads, columns)
    if given.float:
        ks = [k for k in (1, 10, 100, 1000) if k <= given.candidates]
        rows += search_rows(data, indexes=("flat_ip", "hnsw_flat"), ks=ks, timing=Timing(1, 0, threads=given.threads))
    frame = pd.DataFrame(rows).assign(profile="benchmark", run=f"d{given.dim}-b{given.bits}-s{given.seed}")
    with atomic_path(given.out) as temporary:
        frame[list(COSTS_COLUMNS)].to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")
    print("\n".join(against_the_paper(rows, given.candidates)))
    print(f"{len(frame)} rows in {given.out}; the blocks below {given.work} are no longer needed")


if __name__ == "__main__":
    main()
