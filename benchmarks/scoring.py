"""How fast and how large is scoring: ours, fico-itr 1.0.0, torchmetrics, and the floors of the same run.

    python benchmarks/scoring.py             everything, about 15 minutes on 2 cores
    python benchmarks/scoring.py --quick     1 000 images only, about 2 minutes

Every measurement is a process of its own: the arrays are loaded, the work is done once on a small part (which
compiles ours), then the work is timed, both directions, and the peak of the resident memory above its start is read.
Seconds are the best of the repeats. Only ratios inside one run mean anything. Writes ``results/scoring.{json,md}``.

The floors are what any exact method must do: the product of the embeddings in blocks of 64 MiB (BLAS on all cores);
that and a value-only sort of each row; the popcount of packed codes, row by row (numpy, one core).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
METRICS = "recall@1,5,10,50,100,200 median_rank mean_rank map@10,100,N"
SMALL = 40


# ------------------------------------------------------------------------------------------------- data


def make(folder: Path, n_img: int, width: int = 256, bits: int = 64) -> None:
    """A corpus of 5 captions an image and 80 labels, 3 an image; every third pair is relevant."""
    rng = np.random.default_rng(n_img)
    labels = rng.random((n_img, 80)) < 0.45 * np.arange(1, 81) ** -0.83
    mean = labels @ rng.standard_normal((80, width), np.float32) / 2
    latent = rng.standard_normal((n_img, width), np.float32)
    plane = rng.standard_normal((width, bits), np.float32)
    np.save(folder / "labels.npy", labels.astype(np.uint8))
    for name, copies, noise in (("images", 1, 0.5), ("texts", 5, 1.0)):
        x = np.repeat(0.7 * mean + 0.7 * latent, copies, axis=0).astype(np.float32)
        x += noise * rng.standard_normal(x.shape, np.float32)
        np.save(folder / f"{name}.npy", x)
        code = x @ plane
        code += 4 * rng.standard_normal(code.shape, np.float32)
        np.save(folder / f"{name}_code.npy", np.where(code > 0, 1, -1).astype(np.int8))


# ------------------------------------------------------------------------------------------------ works


def blocks(a: np.ndarray, b: np.ndarray, sort: bool) -> None:
    rows = max(1, 2**26 // 4 // b.shape[0])
    out = np.empty((rows, b.shape[0]), np.float32)
    for start in range(0, a.shape[0], rows):
        part = a[start : start + rows]
        scores = np.matmul(part, b.T, out=out[: part.shape[0]])
        if sort:
            scores.sort(axis=1)


def floor_product(x: dict, sort: bool = False) -> None:
    blocks(x["images"], x["texts"], sort)
    blocks(x["texts"], x["images"], sort)


def floor_sort(x: dict) -> None:
    floor_product(x, sort=True)


def floor_popcount(x: dict) -> None:
    sides = [np.packbits(x[k] > 0, axis=1).view(np.uint64) for k in ("images_code", "texts_code")]
    for a, b in (sides, sides[::-1]):
        differing, count = np.empty_like(b), np.empty(b.shape, np.uint8)
        for row in a:
            np.bitwise_count(np.bitwise_xor(b, row, out=differing), out=count)


def ours(kind: str, category: bool, sample: int | None = None):
    def work(x: dict) -> dict:
        from fico_utils.evaluation import Plan, observe, score_source, summarise

        suffix, measure = ("_code", "hamming") if kind == "codes" else ("", "cosine")
        source = score_source(x["images" + suffix], x["texts" + suffix], measure=measure)
        plan = Plan(METRICS, curve=category, sample=sample)
        seen = observe(source, labels=x["labels"] if category else None, plan=plan)
        return {f"{r['direction']} {r['metric']} {r['k']}": r["value"] for r in summarise(seen, METRICS)}

    return work


def fico(kind: str, k: tuple | None):
    def work(x: dict) -> dict:
        from fico_itr import category_retrieval, compute_similarity, instance_retrieval

        suffix, measure = ("_code", "hamming") if kind == "codes" else ("", "cosine")
        sim = compute_similarity(x["images" + suffix], x["texts" + suffix], measure)
        if k is None:
            scores = instance_retrieval(sim)
            return {"i2t recall 10": scores[0]["R@10"] / 100, "t2i recall 10": scores[1]["R@10"] / 100}
        out = {}
        for top in k:
            values = category_retrieval(sim, x["labels"], top)
            out |= {f"{d} map {top or 'N'}": v for d, v in zip(("i2t", "t2i"), values, strict=True)}
        return out

    return work


def torch_map(x: dict) -> dict:
    """mAP@N of both directions; scores lifted above 0, below which torchmetrics takes nothing for relevant."""
    import torch
    from torchmetrics.retrieval import RetrievalMAP

    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x["images"], x["texts"])]
    labels, out = x["labels"].astype(np.float32), {}
    shared = (labels @ labels.T > 0).repeat(5, axis=1)
    for name, scores, flags in (("i2t", units[0] @ units[1].T, shared), ("t2i", units[1] @ units[0].T, shared.T)):
        rows = torch.arange(scores.shape[0]).repeat_interleave(scores.shape[1])
        flat = [torch.from_numpy(np.ascontiguousarray(v)).ravel() for v in (scores + 2, flags)]
        out[f"{name} map N"] = float(RetrievalMAP(empty_target_action="neg")(*flat, indexes=rows))
    return out


WORKS = {
    "floor: product": floor_product,
    "floor: product + sort": floor_sort,
    "floor: popcount": floor_popcount,
    "ours: float, instance": ours("float", False),
    "ours: float, instance + mAP@10,100,N + curve": ours("float", True),
    "ours: codes, instance": ours("codes", False),
    "ours: codes, instance + mAP@10,100,N + curve": ours("codes", True),
    "ours: codes, everything, 2000 queries a direction": ours("codes", True, sample=2000),
    "fico-itr: float, instance": fico("float", None),
    "fico-itr: float, mAP@10,100,N": fico("float", (10, 100, None)),
    "fico-itr: codes, instance": fico("codes", None),
    "fico-itr: codes, mAP@N": fico("codes", (None,)),
    "torchmetrics: float, mAP@N": torch_map,
}


# ------------------------------------------------------------------------------------------ measurement


class Peak:
    """Peak of the resident memory above its start, MiB, sampled every 2 ms (and from the kernel where it allows)."""

    def __enter__(self) -> Peak:
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self.kernel = True
        except OSError:
            self.kernel = False
        self.start = self.high = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        if self.kernel:
            status = Path("/proc/self/status").read_text()
            self.high = max(self.high, int(status.split("VmHWM:")[1].split()[0]) / 1024)
        self.mib = self.high - self.start

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.high = max(self.high, self._now())

    @staticmethod
    def _now() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def child(name: str, folder: Path, repeats: int, works: dict = WORKS) -> None:
    """Measure one work and print it as JSON."""
    arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    if name.startswith("floor"):
        for side in ("images", "texts"):
            arrays[side] /= np.linalg.norm(arrays[side], axis=1, keepdims=True)
    work = works[name]
    cut = {k: v[: SMALL * (5 if k.startswith("texts") else 1)] for k, v in arrays.items()}
    work(cut)
    seconds, peaks = [], []
    for _ in range(repeats):
        with Peak() as peak:
            start = time.perf_counter()
            values = work(arrays)
            seconds.append(time.perf_counter() - start)
        peaks.append(peak.mib)
    print(json.dumps({"seconds": min(seconds), "all": seconds, "mib": max(peaks), "values": values or {}}))


def measure(
    name: str, folder: Path, n_img: int, repeats: int, script: str = __file__, limit: float | None = None
) -> dict:
    """One work in a process of its own, which is ended after `limit` seconds."""
    words = [sys.executable, script, "--work", name, "--folder", str(folder), "--repeats", str(repeats)]
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    result = {"work": name, "n_img": n_img, "n_txt": 5 * n_img}
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=limit
        )
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(words, 1, "", f"not done after {limit / 60:.0f} minutes")
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"killed, code {done.returncode}"]
        result |= {"failed": reason[0]}
    else:
        result |= json.loads(done.stdout.splitlines()[-1])
        queries = 4000 / (6 * n_img) if "2000 queries" in name else 1
        pairs = 10 * n_img**2 if queries == 1 else 2000 * 6 * n_img
        result["ns_per_pair"] = result["seconds"] / pairs * 1e9
    shown = f"{result['seconds']:9.3f} s {result['mib']:8.0f} MiB" if "seconds" in result else result["failed"]
    print(f"{n_img:7d}  {name:52s} {shown}", flush=True)
    return result


# ---------------------------------------------------------------------------------------------- reports

#: Work, its floor and the factor allowed, the work of fico-itr and the factor wanted, MiB allowed.
TARGETS = (
    ("ours: float, instance", "floor: product", 1.3, "fico-itr: float, instance", 3, 256),
    (
        "ours: float, instance + mAP@10,100,N + curve", "floor: product + sort", 2.0,
        "fico-itr: float, mAP@10,100,N", 20, 256,
    ),
    ("ours: codes, instance", "floor: popcount", 2.0, "fico-itr: codes, instance", 25, 32),
    (
        "ours: codes, instance + mAP@10,100,N + curve", "floor: popcount", 5.0,
        "fico-itr: codes, mAP@N", 60, 64,
    ),
)  # fmt: skip


def report(results: list[dict], about: dict, n_img: int) -> str:
    """The tables as markdown."""
    at = {(r["work"], r["n_img"]): r for r in results if "seconds" in r and r["bits"] == 64}
    lines = [f"# Scoring, measured {about['date']}", "", *(f"* {k}: {v}" for k, v in about.items()), ""]
    lines += [f"## Targets, {n_img} images / {5 * n_img} captions, both directions", ""]
    lines += ["| work | s | x floor (target) | fico-itr : ours (target) | extra MiB (target) | fico MiB | met |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, floor, factor, peer, faster, most in TARGETS:
        mine, base, other = at.get((name, n_img)), at.get((floor, n_img)), at.get((peer, n_img))
        if not mine or not base:
            continue
        ratio, gain, theirs, missed = mine["seconds"] / base["seconds"], "not run", "", []
        missed += ["floor"] if ratio > factor else []
        missed += ["memory"] if mine["mib"] > most else []
        if other:
            times = other["seconds"] / mine["seconds"]
            gain, theirs = f"{times:.1f} (>= {faster})", f"{other['mib']:.0f}"
            missed += ["fico-itr"] if times < faster else []
        cells = (
            name[6:],
            f"{mine['seconds']:.2f}",
            f"{ratio:.2f} (<= {factor})",
            gain,
            f"{mine['mib']:.0f} (<= {most})",
        )
        lines.append(f"| {' | '.join(cells)} | {theirs} | {'missed: ' + ', '.join(missed) if missed else 'yes'} |")
    lines += ["", "## Every measurement", "", "| images / captions | work | s | ns/pair | extra MiB | at |"]
    lines += ["|---|---|---|---|---|---|"]
    for r in results:
        size = f"{r['n_img']} / {r['n_txt']}{', ' + str(r['bits']) + ' bits' if r.get('bits', 64) != 64 else ''}"
        if "failed" in r:
            lines.append(f"| {size} | {r['work']} | {r['failed'][:60]} | | | {r['at']} |")
        else:
            lines.append(
                f"| {size} | {r['work']} | {r['seconds']:.3f} | {r['ns_per_pair']:.2f} | {r['mib']:.0f} | {r['at']} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1 000 images only")
    parser.add_argument("--images", type=int, help="only this size; the other results of the folder stay")
    parser.add_argument("--only", default="", help="only works with this text in their name; the others stay")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for scoring.json and scoring.md")
    for hidden in ("--work", "--folder", "--repeats"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        child(args.work, Path(args.folder), int(args.repeats))
        return
    plain = [name for name in WORKS if "2000 queries" not in name]
    mine = [name for name in plain if name.startswith(("ours", "floor"))]
    # images, bits, works, repeats
    plan = [(1000, 64, plain, 3)]
    if not args.quick:
        plan += [
            (5000, 64, [n for n in plain if not n.startswith("torch")], 3),
            (20000, 64, [n for n in mine if "floor" not in n], 1),
            (5000, 2048, ["ours: codes, instance", "ours: codes, instance + mAP@10,100,N + curve"], 1),
            (100000, 64, ["ours: codes, everything, 2000 queries a direction"], 1),
        ]
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": ", ".join(f"{p} {version(p)}" for p in ("numpy", "numba", "fico-itr", "torchmetrics", "torch")),
        "python": platform.python_version(),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "scoring.json"
    partly = args.images or args.only
    results = json.loads(kept.read_text())["results"] if partly and kept.exists() else []
    for n_img, bits, works, repeats in plan:
        works = [name for name in works if args.only in name and args.images in (None, n_img)]
        if not works:
            continue
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), n_img, bits=bits)
            for name in works:
                again = 1 if name.startswith(("fico", "torch")) and n_img > 1000 else repeats
                new = {**measure(name, Path(folder), n_img, again), "bits": bits, "at": time.strftime("%F %H:%M")}
                results = [r for r in results if (r["work"], r["n_img"], r["bits"]) != (name, n_img, bits)] + [new]
                # written after every measurement: a stopped run loses one
                kept.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
                largest = max(r["n_img"] for r in results if r["bits"] == 64)
                (args.out / "scoring.md").write_text(report(results, about, min(5000, largest)))
    print((args.out / "scoring.md").read_text())


if __name__ == "__main__":
    main()
