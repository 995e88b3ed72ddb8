"""The choice of `deploy` beside that of autofaiss, at the memory and the time that autofaiss's index takes.

    pip install --target /tmp/autofaiss --no-deps autofaiss fire termcolor embedding-reader fsspec
    PYTHONPATH=/tmp/autofaiss python benchmarks/deploy_autofaiss.py FOLDER --items 20000 --quick

autofaiss 2.18 declares numpy<2, so it is no extra of this package; beside a newer numpy it runs all the same. FOLDER is
one of `deploy_sets.py`. Both see the same vectors, and the same clock times both indexes: one query at a time, seconds
of its one thread. autofaiss is given a budget and chooses; `deploy` then chooses within what that index takes. Writes
``results/deploy_autofaiss.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
from deploy import HERE, hit_rate, time_query


def autofaiss_index(vectors: np.ndarray, memory_gib: float, latency_ms: float):
    """The index that autofaiss builds within a memory and a time."""
    from autofaiss import build_index

    budget = {"max_index_memory_usage": f"{memory_gib:.4f}GB", "max_index_query_time_ms": latency_ms}
    index, _ = build_index(
        vectors, save_on_disk=False, metric_type="ip", current_memory_available="4GB", nb_cores=1, verbose=40, **budget
    )
    return index


def main() -> None:
    """Compare at one budget, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory-gib", type=float, default=1.0)
    parser.add_argument("--latency-ms", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    import faiss

    import fico_utils
    from fico_utils.costs.indexes import ties_with_best
    from fico_utils.extras import deploy as package
    from fico_utils.extras.deploy.candidates import Build
    from fico_utils.extras.deploy.inputs import read_asked

    load = os.getloadavg()[0]
    given = {name: np.load(options.folder / f"{name}.npy") for name in ("images", "texts", "caption_image")}
    kept = given["caption_image"] < options.items
    given = {"images": given["images"][: options.items], "texts": given["texts"][kept]}
    given["caption_image"] = np.load(options.folder / "caption_image.npy")[kept]
    part = read_asked(given, None, "t2i", 0, package.N_QUERY).part(options.items)
    faiss.omp_set_num_threads(1)
    index = autofaiss_index(part.items, options.memory_gib, options.latency_ms)
    ids = index.search(part.queries, 10)[1]
    theirs = {"index": type(faiss.downcast_index(index)).__name__}
    ratio = time_query(lambda queries, _: index.search(queries, 10), part.queries)[1]
    theirs |= {"bytes": Build.written_bytes(index), "recall@1": hit_rate(ids[:, 0], part.task.correct)}
    theirs["neighbour_recall@1"] = float(ties_with_best(part.scores(ids), part.best)[:, 0].mean())
    found = fico_utils.deploy(**given, quick=options.quick, out=options.folder / f"autofaiss_{options.items}")
    theirs["ms"] = ratio * found.records[0]["reference_ms"]  # at the state of the machine that deploy's times have
    memory_gib, ms = theirs["bytes"] / 2**30 * 1.0001, theirs["ms"]
    rows = found.rows_at(options.items).query("status == 'measured' and query_ms <= @ms")
    nearest = rows[rows["memory_bytes"] <= memory_gib * 2**30].sort_values(["neighbour_recall@1", "recall@1"]).iloc[-1]
    compared = {"autofaiss": theirs}
    for name, row in (("deploy", found.best(memory_gib, ms)), ("deploy, by neighbours", nearest)):
        ours = {"index": f"{row['name']} ({row['factory']})", "ms": row["query_ms"], "bytes": int(row["memory_bytes"])}
        compared[name] = ours | {score: float(row[score]) for score in ("recall@1", "neighbour_recall@1")}
    result = {"items": options.items, "queries": len(part.queries), **compared}
    result |= {"version": version("autofaiss"), "load": [load, os.getloadavg()[0]]}
    lines = [
        f"# deploy beside autofaiss {result['version']}",
        f"{options.items:,} images and {len(part.queries):,} captions. autofaiss was given {options.memory_gib:g} GiB "
        f"and {options.latency_ms:g} ms; deploy was given what autofaiss's index takes. Load {load:.1f} to "
        f"{result['load'][1]:.1f}. autofaiss gives no score of the task; it was computed here. `deploy` chooses by "
        "that score; *by neighbours* is what it would be, had it chosen by what autofaiss chooses by.",
        "| | index | ms a query | MiB | nearest neighbours found | right image first |\n"
        + "| --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(
            f"| {name} | {r['index']} | {r['ms']:.3g} | {r['bytes'] / 2**20:.1f} | {r['neighbour_recall@1']:.1%} | "
            f"{r['recall@1']:.1%} |"
            for name, r in compared.items()
        ),
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "deploy_autofaiss.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / "deploy_autofaiss.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    print("\n\n".join(lines))


if __name__ == "__main__":
    main()
