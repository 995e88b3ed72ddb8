"""Whether `fico_utils.deploy` keeps its promises, on one of the sets of `deploy_sets.py`.

    python benchmarks/deploy.py FOLDER --name scenes --lance    default sweeps, with tables of LanceDB
    python benchmarks/deploy.py FOLDER --name scenes --quick    fewer candidates

It asks `deploy` what to deploy for the embeddings in FOLDER, with sizes to grow to, and then checks the answer:

- what is recommended, and every index of vectors, is built afresh from its factory string and asked the same queries:
  its recall@1 has to lie in the promised interval, and its time within 25 % of the promised one;
- what was measured at a half of the gallery and below is carried to the whole gallery, and compared with what was
  measured there: times within 20 %, recall@1 within 2 points;
- codes of 256 bits from ITQ and learned ones: what each loses of the recall@1 of exhaustive float search, on captions
  that were not learned from;
- the most memory that the process held beside the mapped inputs, over what its libraries take.

Times of a query are those of its thread, so that other work on the machine counts as little as can be; the load is
written beside them. What was measured is kept in FOLDER/answer: a run that was stopped goes on. Writes
``results/deploy_NAME.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import threading
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
#: How far off a time and a recall may be.
LATENCY, GROWN_LATENCY, GROWN_RECALL = 0.25, 0.20, 0.02


def check_promises(found, sweep) -> list[dict]:
    """What is recommended and each index of vectors, built again: recall@1 and ms a query, beside what was promised."""
    import faiss

    from fico_utils.extras.deploy.candidates import make_search

    faiss.omp_set_num_threads(1)
    n, named, rows = found.n_items, found.named(), found.rows_at(found.n_items).set_index("name")
    part, checked = sweep.asked.part(n), []
    for build in sweep.builds(n):
        ways = [(way, build.title(way)) for way in build.variants]
        ways = [(way, name) for way, name in ways if name in named or (name in rows.index and not build.codes)]
        if not ways or rows.loc[ways[0][1], "status"] != "measured":
            continue
        codes = sweep.coder.codes(build.codes, part)[0] if build.codes else None
        index = build.filled_index(part.items if codes is None else codes[0])
        vectors = part.halves if build.codes else None
        for way, name in ways:
            search = make_search(build, index, way, vectors, 10)
            ids = np.concatenate([search(*both)[1] for both in split_queries(part.queries, codes and codes[1], 500)])
            promised = rows.loc[name, ["recall@1", "recall@1_ci_low", "recall@1_ci_high", "query_ms"]].to_dict()
            raw, ratio = time_query(search, part.queries, codes and codes[1], build.clock)
            again = {"ms_raw": raw, "ms_again": ratio * found.records[0]["reference_ms"]}
            reached = {"again": hit_rate(ids[:, 0], part.task.correct)}
            checked.append({"name": name, "named": name in named} | promised | reached | again)
    return sorted(checked, key=lambda row: not row["named"])


def split_queries(queries: np.ndarray, codes, size: int):
    """Queries and their codes, `size` at a time."""
    for start in range(0, len(queries), size):
        yield queries[start : start + size], None if codes is None else codes[start : start + size]


def hit_rate(first: np.ndarray, correct) -> float:
    """The share of queries whose first item (n_query,) is one of their right ones."""
    lists = np.split(correct.members, correct.start[1:-1])
    return float(np.mean([item in right for item, right in zip(first, lists, strict=True)]))


def time_query(search, queries, codes=None, clock=time.thread_time, rounds: int = 25) -> tuple[float, float]:
    """Milliseconds of one query on one thread, and how many times as long as the reference search it takes.

    Both are medians of some rounds, each of other queries.
    """
    from fico_utils.extras.deploy.timing import reference_clock

    singles, refer, n, times = list(split_queries(queries, codes, 1)), reference_clock(), 5, []
    for turn in range(rounds + 1):
        before, start = refer(), clock()
        for i in range(n):
            search(*singles[(turn * n + i) % len(singles)])
        spent = 1e3 * (clock() - start) / n
        if turn:
            times.append((spent, spent / ((before + refer()) / 2)))
        else:
            n = int(np.clip(50 / max(spent, 1e-3), 3, 100))
    return tuple(float(value) for value in np.median(times, axis=0))


def check_growth(found, sweep) -> list[dict]:
    """Each way to search the whole gallery: carried there from a half of it and less, beside what was measured."""
    from fico_utils.extras.deploy.growth import carry_rows
    from fico_utils.extras.deploy.timing import at_one_state

    n, records, named = found.n_items, list(found.records), found.named()
    names = {row["name"] for row in records if row["items"] == n}
    if n // 2 not in {row["items"] for row in records}:  # a quick run leaves this size out
        halves = []
        for build in sweep.builds(n // 2):
            if build.title(build.variants[0]) in names:
                key = f"half {build.codes} {build.name}"
                halves += sweep.records.kept(key, lambda build=build: sweep.measure(n // 2, build))
        records += at_one_state(halves, records[0]["reference_ms"])
    fitted = [row for row in records if row["items"] <= n // 2]
    carried = {row["name"]: row for row in carry_rows(fitted, n, {}, found.n_query)}
    rows = []
    for row in records:
        if row["items"] == n and row["name"] in carried:
            to = carried[row["name"]]
            times = {"query_ms": row["query_ms"], "carried_ms": to["query_ms"], "high_ms": to["query_ms_high"]}
            times |= {"low_ms": to["query_ms_low"], "named": row["name"] in named}
            rows.append({"name": row["name"], **times, "recall@1": row["recall@1"], "carried_recall": to["recall@1"]})
    return sorted(rows, key=lambda row: not row["named"])


class OwnMemory:
    """The most memory, without mapped files, that the process held in a block over what it held before: `extra`, B."""

    def __enter__(self) -> OwnMemory:
        self.before = self.most = self.held()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()
        return self

    @staticmethod
    def held() -> int:
        """Resident bytes without those of files (Linux)."""
        resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
        return (resident - shared) * os.sysconf("SC_PAGESIZE")

    def sample(self) -> None:
        """Look every 10 ms."""
        while not self.done.wait(0.01):
            self.most = max(self.most, self.held())

    def __exit__(self, *_) -> None:
        self.done.set()
        self.thread.join()
        self.extra = self.most - self.before


def check_codes(asked, coder) -> dict | None:
    """Recall@1 of exhaustive search of floats, of ITQ's codes and of learned codes, of 256 bits where there are.

    None where there are no pairs to learn from but those that are asked about.
    """
    from fico_utils.extras.deploy.candidates import Build
    from fico_utils.extras.deploy.codes import BITS, LEAST_PAIRS

    if len(asked.pairs) < LEAST_PAIRS:
        return None
    bits = max(b for b in BITS if b <= asked.dim)
    part, reached = asked.part(asked.n_items), {"bits": bits}
    for name in ("", f"itq {bits}", f"learned {bits}"):
        build = Build("BFlat" if name else "Flat", "BFlat" if name else "Flat", codes=name)
        items, queries = coder.codes(name, part)[0] if name else (part.items, part.queries)
        ids = build.filled_index(items).search(queries, 1)[1][:, 0]
        reached[name.partition(" ")[0] or "float"] = hit_rate(ids, part.task.correct)
    lost = {name: reached["float"] - reached[name] for name in ("itq", "learned")}
    return reached | {"learned_loses_of_itq": lost["learned"] / lost["itq"] if lost["itq"] > 0 else None}


def count_within(values: np.ndarray, named: np.ndarray, most: float) -> str:
    """How many values are at most so far from 0: of what the answer names, and of the others."""
    near = abs(values) <= most
    return " and ".join(
        f"{near[those].sum()} of {those.sum()} {words}"
        for words, those in (("named", named), ("others", ~named))
        if those.any()
    )


def summary(name: str, found: dict) -> str:
    """The checks as Markdown."""
    promises, growth, codes, best = found["promises"], found["growth"], found["codes"], found["best"]
    named, named_grown = (np.array([r["named"] for r in rows], bool) for rows in (promises, growth))
    outside = [max(r["recall@1_ci_low"] - r["again"], r["again"] - r["recall@1_ci_high"], 0) for r in promises]
    times, raw = (np.array([r[ms] / r["query_ms"] for r in promises]) for ms in ("ms_again", "ms_raw"))
    grown = np.array([r["carried_ms"] / r["query_ms"] for r in growth])
    recall = np.array([r["carried_recall"] - r["recall@1"] for r in growth])
    extra, largest = (found[name] / 2**20 for name in ("extra_bytes", "largest_bytes"))
    lines = [
        f"# Does deploy keep its promises? {name}",
        f"{found['items']:,} items of {found['dim']} dimensions, {found['queries']:,} queries; "
        f"{'quick' if found['quick'] else 'default'} sweeps{' with LanceDB' if found['lance'] else ''}; "
        f"{found['machine']}; load {found['load'][0]:.1f} at the start and {found['load'][1]:.1f} at the end; "
        f"{found['seconds']:.0f} s, {found['cpu_seconds']:.0f} s of CPU. *Named* is what the answer names: the "
        "exhaustive search, what is recommended, and codes with their rivals. Times are at one state of the machine, "
        "in which a reference search takes its median time; *raw* is what the clock said.",
        "| check | result |\n| --- | --- |",
        f"| recommended | {best['name']}: recall@1 {best['recall@1']:.4f} in {best['query_ms']:.3g} ms |",
        f"| memory beside the inputs | {extra:,.0f} MiB at most, {extra / largest:.1f} times the largest index |",
        f"| built afresh, recall@1 within its interval | {count_within(np.array(outside), named, 0)} |",
        f"| built afresh, time within {LATENCY:.0%} | {count_within(times - 1, named, LATENCY)}; {times.min():.2f} to "
        f"{times.max():.2f} of what was promised (raw {raw.min():.2f} to {raw.max():.2f}) |",
        f"| carried from half, time within {GROWN_LATENCY:.0%} | "
        f"{count_within(grown - 1, named_grown, GROWN_LATENCY)}; median {np.median(grown):.2f}, {grown.min():.2f} to "
        f"{grown.max():.2f} of what was measured |",
        f"| carried from half, recall@1 within 2 points | {count_within(recall, named_grown, GROWN_RECALL)}; "
        f"off by {100 * abs(recall).max():.1f} points at most |",
    ]
    if codes:
        share = codes["learned_loses_of_itq"]
        told = "those of ITQ lose nothing" if share is None else f"they lose {share:.0%} of what ITQ's lose"
        reached = ", ".join(f"{name} {codes[name]:.4f}" for name in ("float", "itq", "learned"))
        lines.append(f"| codes of {codes['bits']} bits, recall@1 | {reached}: {told} |")
    text = "\n\n".join(lines[:3]) + "\n" + "\n".join(lines[3:])
    head = "| index | recall@1 promised | again | ms promised | again | raw |\n| --- | --- | --- | --- | --- | --- |"
    rows = [
        f"| {'*' * r['named']}{r['name']}{'*' * r['named']} | {r['recall@1']:.4f} ({r['recall@1_ci_low']:.4f} to "
        f"{r['recall@1_ci_high']:.4f}) | {r['again']:.4f} | {r['query_ms']:.4g} | {r['ms_again']:.4g} | "
        f"{r['ms_raw']:.4g} |"
        for r in promises
    ]
    text += "\n\n## Built afresh\n\n" + "\n".join([head, *rows])
    head = "| way to search | recall@1 carried | measured | ms carried | measured |\n| --- | --- | --- | --- | --- |"
    rows = [
        f"| {'*' * r['named']}{r['name']}{'*' * r['named']} | {r['carried_recall']:.4f} | {r['recall@1']:.4f} | "
        f"{r['carried_ms']:.4g} ({r['low_ms']:.3g} to {r['high_ms']:.3g}) | {r['query_ms']:.4g} |"
        for r in growth
    ]
    text += "\n\n## Carried from half the gallery and less\n\n" + "\n".join([head, *rows])
    text += "\n\n## The answer\n\n" + found["answer"].replace("# What", "### What")
    head = "| way to search | recall@1 | ms a query | bytes an item | build s |\n| --- | --- | --- | --- | --- |"
    rows = [
        f"| {r['name']} | {r['recall@1']:.4f} | {r['query_ms']:.4g} | {r['bytes_per_item']:,.0f} | {r['build_s']:.1f} |"
        for r in found["table"]
    ]
    return text + f"\n## All {len(rows)} candidates\n\n" + "\n".join([head, *rows]) + "\n"


def ask(options) -> tuple:
    """What was given, the answer, and what it took: seconds, those of CPU, and memory over that of a tiny run."""
    import scipy.stats  # noqa: F401

    import fico_utils
    from fico_utils.extras.deploy import learned  # noqa: F401

    # loads and compiles what any run needs; less would be scored without numba
    some = np.random.default_rng(0).normal(size=(4000, 256)).astype(np.float32)
    fico_utils.deploy(some, some + np.flip(some, 1), quick=options.quick, grow_to=10_000)
    del some
    names = ("images", "texts", "caption_image")
    given = {name: np.load(options.folder / f"{name}.npy", mmap_mode="r") for name in names}
    given["caption_image"] = np.array(given["caption_image"])
    how = {name: getattr(options, name) for name in ("quick", "lance", "grow_to", "memory_gib", "latency_ms")}
    load, start, cpu = os.getloadavg()[0], time.time(), time.process_time()
    with OwnMemory() as memory:
        found = fico_utils.deploy(**given, **how, out=options.folder / "answer")
        answer = found.answer
    took = {"seconds": time.time() - start, "cpu_seconds": time.process_time() - cpu, "extra_bytes": memory.extra}
    return given, found, took | {"load": [load, os.getloadavg()[0]], "answer": answer}


def main() -> None:
    """Ask, check, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--lance", action="store_true", help="tables of LanceDB, too")
    parser.add_argument("--memory-gib", type=float, default=16)
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--grow-to", default="10M,100M")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    given, found, took = ask(options)
    print(took.pop("answer"), took, flush=True)
    from fico_utils.extras.deploy import N_QUERY
    from fico_utils.extras.deploy.inputs import read_asked
    from fico_utils.extras.deploy.records import Records
    from fico_utils.extras.deploy.sweep import Sweep

    asked = read_asked(given, None, "t2i", 0, N_QUERY)
    kept = Records(options.folder / "checks", {"quick": options.quick})
    for head in (options.folder / "answer").glob("learned_*.safetensors"):
        shutil.copy(head, kept.folder)
    sweep = Sweep(asked, kept, options.quick, True, options.lance)
    best, rows = found.best(), found.rows_at(found.n_items)
    columns = ["name", "recall@1", "query_ms", "bytes_per_item", "build_s"]
    result = {
        "items": asked.n_items,
        "dim": asked.dim,
        "queries": len(asked.queries),
        "quick": options.quick,
        "lance": options.lance,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        **took,
        "largest_bytes": float(rows.loc[rows["depth"] == 0, "memory_bytes"].max()),
        "best": {name: best[name] for name in ("name", "factory", "search", "recall@1", "query_ms")},
        "promises": check_promises(found, sweep),
        "codes": check_codes(asked, sweep.coder),
        "growth": check_growth(found, sweep),
        "answer": found.answer,
        "table": rows.loc[rows["status"] == "measured", columns].to_dict("records"),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"deploy_{options.name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / f"deploy_{options.name}.md").write_text(summary(options.name, result), encoding="utf-8")


if __name__ == "__main__":
    main()
