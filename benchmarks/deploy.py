"""Whether `fico_utils.deploy` keeps its promises, on one of the sets of `deploy_sets.py`.

    python benchmarks/deploy.py FOLDER --name scenes            default sweeps
    python benchmarks/deploy.py FOLDER --name scenes --quick    fewer candidates

It asks `deploy` what to deploy for the embeddings in FOLDER, with sizes to grow to, and then checks the answer:

- what is recommended, and every other index of vectors, is built afresh from its factory string and asked the same
  queries: its recall@1 has to lie in the promised interval, and its time within 25 % of the promised one;
- what was measured at a half of the gallery and below is carried to the whole gallery, and compared with what was
  measured there: times within 20 %, recall@1 within 2 points;
- codes of 256 bits from ITQ and learned ones: what each loses of the recall@1 of exhaustive float search, on captions
  that were not learned from.

Times of a query are those of its thread, so that other work on the machine counts as little as can be; the load is
written beside them. What was measured is kept in FOLDER/answer: a run that was stopped goes on. Writes
``results/deploy_NAME.{json,md}`` and the answer itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
#: How far off a time and a recall may be.
LATENCY, GROWN_LATENCY, GROWN_RECALL = 0.25, 0.20, 0.02


def check_promises(found, asked) -> list[dict]:
    """Each index of vectors built again by FAISS alone: recall@1 and ms a query, beside what was promised."""
    import faiss

    faiss.omp_set_num_threads(1)
    part, rows = asked.part(asked.n_items), found.table
    rows = rows[(rows["items"] == asked.n_items) & (rows["status"] == "measured") & (rows["codes"] == "")]
    checked = []
    for factory, variants in rows.groupby("factory", sort=False):
        index = faiss.index_factory(asked.dim, factory, faiss.METRIC_INNER_PRODUCT)
        index.train(part.items)
        index.add(part.items)
        for row in variants.to_dict("records"):
            if row["search"]:
                faiss.ParameterSpace().set_index_parameters(index, row["search"])
            ids = index.search(part.queries, 10)[1][:, 0]
            reached = hit_rate(ids, part.task.correct)
            row = {name: row[name] for name in ("name", "recall@1", "recall@1_ci_low", "recall@1_ci_high", "query_ms")}
            checked.append(row | {"again": reached, "ms_again": time_query(index, part.queries)})
    return checked


def hit_rate(first: np.ndarray, correct) -> float:
    """The share of queries whose first item (n_query,) is one of their right ones."""
    lists = np.split(correct.members, correct.start[1:-1])
    return float(np.mean([item in right for item, right in zip(first, lists, strict=True)]))


def time_query(index, queries: np.ndarray, rounds: int = 7) -> float:
    """Milliseconds of one query on one thread: the median of some rounds."""
    times, n = [], 20
    for turn in range(rounds + 1):
        start = time.thread_time()
        for i in range(n):
            index.search(queries[i : i + 1], 10)
        spent = 1e3 * (time.thread_time() - start) / n
        if turn:
            times.append(spent)
        else:
            n = int(np.clip(100 / max(spent, 1e-3), 5, len(queries)))
    return float(np.median(times))


def check_growth(found, asked, kept, quick: bool) -> list[dict]:
    """Each way to search the whole gallery: carried there from a half of it and less, beside what was measured."""
    from fico_utils.extras.deploy.candidates import GRAPH, list_builds
    from fico_utils.extras.deploy.codes import Coder, list_codes
    from fico_utils.extras.deploy.growth import carry_rows
    from fico_utils.extras.deploy.measuring import measure_build

    n, records, coder = asked.n_items, list(found.records), Coder(asked, kept.kept_arrays)
    if n // 2 not in {row["items"] for row in records}:  # a quick run leaves this size out
        part, names = asked.part(n // 2), {row["name"] for row in records if row["items"] == n}
        for build in list_builds(n // 2, asked.dim, list_codes(asked, quick), quick):
            if build.title(build.variants[0]) not in names and build.law == GRAPH:
                continue

            def measure(build=build) -> list[dict]:
                codes, seconds = coder.codes(build.codes, part) if build.codes else (None, 0.0)
                return measure_build(build, part, codes, seconds, quick)

            records += kept.kept(f"half {build.codes} {build.name}", measure)
    fitted = [row for row in records if row["items"] <= n // 2]
    carried = {row["name"]: row for row in carry_rows(fitted, n, {}, len(asked.queries))}
    rows = []
    for row in records:
        if row["items"] == n and row["name"] in carried:
            to = carried[row["name"]]
            times = {"query_ms": row["query_ms"], "carried_ms": to["query_ms"], "high_ms": to["query_ms_high"]}
            times |= {"low_ms": to["query_ms_low"]}
            rows.append({"name": row["name"], **times, "recall@1": row["recall@1"], "carried_recall": to["recall@1"]})
    return rows


def check_codes(asked, kept) -> dict | None:
    """Recall@1 of exhaustive search of floats, of ITQ's codes and of learned codes, of 256 bits where there are.

    None where there are no pairs to learn from but those that are asked about.
    """
    from fico_utils.extras.deploy.candidates import Build
    from fico_utils.extras.deploy.codes import BITS, LEAST_PAIRS, Coder

    if len(asked.pairs) < LEAST_PAIRS:
        return None
    bits = max(b for b in BITS if b <= asked.dim)
    part, coder, reached = asked.part(asked.n_items), Coder(asked, kept.kept_arrays), {"bits": bits}
    for name in ("", f"itq {bits}", f"learned {bits}"):
        build = Build("BFlat" if name else "Flat", "BFlat" if name else "Flat", codes=name)
        items, queries = coder.codes(name, part)[0] if name else (part.items, part.queries)
        ids = build.filled_index(items).search(queries, 1)[1][:, 0]
        reached[name.partition(" ")[0] or "float"] = hit_rate(ids, part.task.correct)
    lost = {name: reached["float"] - reached[name] for name in ("itq", "learned")}
    return reached | {"learned_loses_of_itq": lost["learned"] / lost["itq"] if lost["itq"] > 0 else None}


def summary(name: str, found: dict) -> str:
    """The checks as Markdown."""
    promises, growth, codes, best = found["promises"], found["growth"], found["codes"], found["best"]
    kept = [r for r in promises if r["recall@1_ci_low"] <= r["again"] <= r["recall@1_ci_high"]]
    times = np.array([r["ms_again"] / r["query_ms"] for r in promises])
    grown = np.array([r["carried_ms"] / r["query_ms"] for r in growth])
    recall = np.array([r["carried_recall"] - r["recall@1"] for r in growth])
    lines = [
        f"# Does deploy keep its promises? {name}",
        f"{found['items']:,} items of {found['dim']} dimensions, {found['queries']:,} queries; "
        f"{'quick' if found['quick'] else 'default'} sweeps; {found['machine']}; load {found['load'][0]:.1f} at the "
        f"start and {found['load'][1]:.1f} at the end; {found['seconds']:.0f} s, {found['cpu_seconds']:.0f} s of CPU.",
        "| check | result |\n| --- | --- |",
        f"| recommended | {best['name']}: recall@1 {best['recall@1']:.4f} in {best['query_ms']:.3g} ms |",
        f"| built afresh, recall@1 within its interval | {len(kept)} of {len(promises)} indexes of vectors |",
        f"| built afresh, time within {LATENCY:.0%} | {(abs(times - 1) <= LATENCY).sum()} of {len(times)}; "
        f"{times.min():.2f} to {times.max():.2f} of what was promised |",
        f"| carried from half, time within {GROWN_LATENCY:.0%} | {(abs(grown - 1) <= GROWN_LATENCY).sum()} of "
        f"{len(grown)}; median {np.median(grown):.2f}, {grown.min():.2f} to {grown.max():.2f} of what was measured |",
        f"| carried from half, recall@1 within 2 points | {(abs(recall) <= GROWN_RECALL).sum()} of {len(recall)}; "
        f"off by {100 * abs(recall).max():.1f} points at most |",
    ]
    if codes:
        share = codes["learned_loses_of_itq"]
        told = "those of ITQ lose nothing" if share is None else f"they lose {share:.0%} of what ITQ's lose"
        reached = ", ".join(f"{name} {codes[name]:.4f}" for name in ("float", "itq", "learned"))
        lines.append(f"| codes of {codes['bits']} bits, recall@1 | {reached}: {told} |")
    text = "\n\n".join(lines[:3]) + "\n" + "\n".join(lines[3:])
    head = "| index | recall@1 promised | again | ms promised | again |\n| --- | --- | --- | --- | --- |"
    rows = [
        f"| {r['name']} | {r['recall@1']:.4f} ({r['recall@1_ci_low']:.4f} to {r['recall@1_ci_high']:.4f}) | "
        f"{r['again']:.4f} | {r['query_ms']:.4g} | {r['ms_again']:.4g} |"
        for r in promises
    ]
    text += "\n\n## Built afresh\n\n" + "\n".join([head, *rows])
    head = "| way to search | recall@1 carried | measured | ms carried | measured |\n| --- | --- | --- | --- | --- |"
    rows = [
        f"| {r['name']} | {r['carried_recall']:.4f} | {r['recall@1']:.4f} | {r['carried_ms']:.4g} "
        f"({r['low_ms']:.3g} to {r['high_ms']:.3g}) | {r['query_ms']:.4g} |"
        for r in growth
    ]
    text += "\n\n## Carried from half the gallery and less\n\n" + "\n".join([head, *rows])
    return text + "\n\n## The answer\n\n" + found["answer"].replace("# What", "### What")


def main() -> None:
    """Ask, check, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--answer-only", action="store_true", help="write results/deploy_NAME.md without the checks")
    parser.add_argument("--memory-gib", type=float, default=16)
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--grow-to", default="10M,100M")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    import fico_utils
    from fico_utils.extras import deploy as package
    from fico_utils.extras.deploy.inputs import read_asked
    from fico_utils.extras.deploy.records import Records

    names = ("images", "texts", "caption_image")
    given = {name: np.load(options.folder / f"{name}.npy", mmap_mode="r") for name in names}
    given["caption_image"] = np.array(given["caption_image"])
    load, start, cpu = os.getloadavg()[0], time.time(), time.process_time()
    how = {"quick": options.quick, "out": options.folder / "answer", "grow_to": options.grow_to}
    budget = {"memory_gib": options.memory_gib, "latency_ms": options.latency_ms}
    found = fico_utils.deploy(**given, **how, **budget)
    seconds, cpu = time.time() - start, time.process_time() - cpu
    print(found.answer, flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.answer_only:
        spent = f"{seconds:.0f} s, {cpu:.0f} s of CPU, load {load:.1f} to {os.getloadavg()[0]:.1f}"
        (options.out / f"deploy_{options.name}.md").write_text(f"{found.answer}\n{spent}.\n", encoding="utf-8")
        return
    asked = read_asked(given, None, "t2i", 0, package.N_QUERY[options.quick])
    kept = Records(options.folder / "checks", {"quick": options.quick})
    best = found.best()
    result = {
        "items": asked.n_items,
        "dim": asked.dim,
        "queries": len(asked.queries),
        "quick": options.quick,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "seconds": seconds,
        "cpu_seconds": cpu,
        "best": {name: best[name] for name in ("name", "factory", "search", "recall@1", "query_ms")},
        "promises": check_promises(found, asked),
        "codes": check_codes(asked, kept),
        "growth": check_growth(found, asked, kept, options.quick),
        "load": [load, os.getloadavg()[0]],
        "answer": found.answer,
    }
    (options.out / f"deploy_{options.name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / f"deploy_{options.name}.md").write_text(summary(options.name, result), encoding="utf-8")


if __name__ == "__main__":
    main()
