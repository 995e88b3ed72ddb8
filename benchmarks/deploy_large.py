"""Indexes larger than one would hold: 2M x 256 vectors in half precision, and 5M codes of 64 bits, within 4 GiB.

    python benchmarks/deploy_large.py                 about 4 minutes of one core, 5 GB of disk below --work
    python benchmarks/deploy_large.py --scale 0.01    a trial

Each step of `fico_utils.extras.deploy.shards` is a process of its own, as in workflow/shards.smk, and may map and
allocate no more than 4 GiB together (RLIMIT_AS): training, four shards, joining their inverted lists on disk. Then a
process under the same limit asks 100 queries of what was joined, and of the four shards side by side
(faiss.IndexShards); both must give the same items. The exact nearest items come from one pass over the file. Vectors
are 2 000 random centres with noise, as embeddings have some structure and pure noise has none. Writes
``results/deploy_large.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
LIMIT, SHARDS, ASK, BLOCK = 4 * 2**30, 4, 100, 50_000
#: What is indexed: rows, factory string, lists that a query visits.
KINDS = {"vectors": (2_000_000, "IVF512,SQfp16", 16), "codes": (5_000_000, "BIVF1024", 16)}


def make_file(kind: str, path: Path, n: int) -> None:
    """Write the rows block by block, and the queries: rows with noise."""
    rng = np.random.default_rng(0)
    width, dtype = (256, np.float16) if kind == "vectors" else (8, np.uint8)
    centres = rng.normal(size=(2000, 256)).astype(np.float32)
    turn = rng.normal(size=(256, 64)).astype(np.float32)
    file = np.lib.format.open_memmap(path, "w+", dtype, (n, width))
    for i in range(0, n, BLOCK):
        rows = min(BLOCK, n - i)
        block = centres[rng.integers(0, 2000, rows)] + 0.7 * rng.standard_normal((rows, 256), np.float32)
        file[i : i + rows] = block if kind == "vectors" else np.packbits(block @ turn > 0, axis=1)
    asked = np.array(file[rng.integers(0, n, ASK)])
    if kind == "vectors":
        asked = asked + 0.3 * rng.standard_normal((ASK, 256), np.float32)
    else:
        asked = asked ^ np.packbits(rng.random((ASK, 64)) < 0.03, axis=1)
    np.save(path.with_suffix(".queries.npy"), asked)


def limited(*words: object) -> dict:
    """Run Python on some words within the limit: seconds, seconds of CPU, and the most memory it held."""
    start = time.perf_counter()
    code = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({LIMIT}, {LIMIT}))\nimport sys\n"
    code += "from runpy import run_module, run_path\nname = sys.argv[1]; sys.argv = sys.argv[1:]\n"
    code += "(run_path if name.endswith('.py') else run_module)(name, run_name='__main__')"
    child = subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, text=True)
    printed = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    assert status == 0, f"{words} failed"
    found = {"s": time.perf_counter() - start, "cpu_s": used.ru_utime + used.ru_stime, "mib": used.ru_maxrss / 1024}
    return found | {"printed": printed}


def measure_kind(kind: str, work: Path, scale: float) -> dict:
    """Build one of `KINDS`, step by step, and ask it."""
    rows, factory, probes = KINDS[kind]
    n, source, module = int(rows * scale), work / f"{kind}.npy", "fico_utils.extras.deploy.shards"
    lists = max(8, int(int("".join(c for c in factory.partition(",")[0] if c.isdigit())) * scale**0.5))
    factory = factory.replace(factory.partition(",")[0], f"{'B' * (kind == 'codes')}IVF{lists}")
    make_file(kind, source, n)
    trained, shards = work / f"{kind}.trained", [work / f"{kind}.{i}" for i in range(SHARDS)]
    steps = {"train": limited(module, "train", source, factory, trained, "--trained-on", 80_000)}
    for i, shard in enumerate(shards):
        span = "--start", i * n // SHARDS, "--stop", (i + 1) * n // SHARDS
        steps[f"shard {i}"] = limited(module, "build", source, trained, shard, *span)
    joined = work / f"{kind}.joined"
    steps["join"] = limited(module, "join", trained, joined, *shards)
    steps["ask"] = limited(Path(__file__), "--ask", kind, "--probes", probes, "--work", work)
    asked = json.loads(steps["ask"]["printed"].splitlines()[-1])
    written = joined.stat().st_size + (ivf.stat().st_size if (ivf := Path(f"{joined}.ivfdata")).exists() else 0)
    for step in steps.values():
        step.pop("printed")
    return {"items": n, "factory": factory, "nprobe": probes, "steps": steps, **asked, "bytes_per_item": written / n}


def ask(kind: str, work: Path, probes: int) -> None:
    """Ask what was joined and the shards side by side; print how well and how fast."""
    import faiss

    from fico_utils.extras.deploy.shards import open_rows, read_blocks

    faiss.omp_set_num_threads(1)
    coded, rows = kind == "codes", open_rows(work / f"{kind}.npy")
    queries = next(read_blocks(np.load(work / f"{kind}.queries.npy"), 0, ASK))[1]
    best = np.full(ASK, -np.inf)
    for _, block in read_blocks(rows, 0, len(rows)):
        if coded:
            exact = faiss.IndexBinaryFlat(64)
            exact.add(block)
            best = np.maximum(best, -exact.search(queries, 1)[0][:, 0])
        else:
            best = np.maximum(best, faiss.knn(queries, block, 1, metric=faiss.METRIC_INNER_PRODUCT)[0][:, 0])
    read, mapped = (faiss.read_index_binary, ()) if coded else (faiss.read_index, (faiss.IO_FLAG_MMAP,))
    parts = [read(str(work / f"{kind}.{i}"), *mapped) for i in range(SHARDS)]
    beside = faiss.IndexBinaryShards(64, False, False) if coded else faiss.IndexShards(256, False, False)
    for part in parts:
        set_probes(part, probes, coded)
        beside.add_shard(part)
    joined = read(str(work / f"{kind}.joined"))  # its lists on disk are mapped by themselves
    set_probes(joined, probes, coded)
    scores, ids = joined.search(queries, 10)
    start = time.thread_time()
    for i in range(ASK):
        joined.search(queries[i : i + 1], 10)
    spent = time.thread_time() - start
    again = beside.search(queries, 10)
    alike = np.array_equal(np.sort(again[0], 1), np.sort(scores, 1)) and (coded or np.array_equal(again[1], ids))
    first = -scores[:, 0] if coded else scores[:, 0]
    recall = float((first >= best - (0 if coded else 2e-3)).mean())  # half precision rounds the stored vectors
    print(json.dumps({"query_ms": 1e3 * spent / ASK, "neighbour_recall@1": recall, "shards_alike": bool(alike)}))


def set_probes(index, probes: int, coded: bool) -> None:
    """Let a query visit so many lists."""
    import faiss

    (index if coded else faiss.extract_index_ivf(index)).nprobe = probes


def main() -> None:
    """Measure both kinds and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--work", type=Path, default=HERE.parent / "results" / "deploy_large")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--ask", choices=list(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--probes", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask(options.ask, options.work, options.probes)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    load = [os.getloadavg()[0]]
    found = {kind: measure_kind(kind, options.work, options.scale) for kind in KINDS}
    load.append(os.getloadavg()[0])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "deploy_large.json").write_text(
        json.dumps(found | {"load": load}, indent=1) + "\n", encoding="utf-8"
    )
    lines = ["# Indexes that outgrow memory", f"Load {load[0]:.1f} at the start and {load[1]:.1f} at the end, 2 cores."]
    for kind, each in found.items():
        peak = max(step["mib"] for step in each["steps"].values())
        lines.append(
            f"## {each['items']:,} {kind}, {each['factory']}\n\nEach process may take {LIMIT / 2**30:.0f} GiB; the "
            f"most that one held is {peak:,.0f} MiB. What was joined takes {each['bytes_per_item']:,.1f} bytes an "
            f"item; a query takes {each['query_ms']:.2f} ms on one thread with nprobe={each['nprobe']} and finds "
            f"the nearest item for {each['neighbour_recall@1']:.0%} of the queries. Shards side by side "
            f"(IndexShards) give the same items: {'yes' if each['shards_alike'] else 'no'}."
        )
        table = ["| step | s | s of CPU | most memory, MiB |", "| --- | --- | --- | --- |"]
        table += [f"| {n} | {s['s']:.0f} | {s['cpu_s']:.1f} | {s['mib']:,.0f} |" for n, s in each["steps"].items()]
        lines.append("\n".join(table))
    (options.out / "deploy_large.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
