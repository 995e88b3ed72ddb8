"""What each dialect costs, and how fast the field's own tools speak theirs: 5 000 images and 25 000 captions.

    pip install --no-deps ranx pytorch-metric-learning ir_datasets orjson cbor2 lz4   # besides the extra dev
    python benchmarks/dialects.py             everything, about 50 minutes on 2 cores, most of them the peers'
    python benchmarks/dialects.py --ours      without the peers and the large run, about 8 minutes
    python benchmarks/dialects.py --images 500 --out /tmp    a short look

Both directions. Arrays and clock are those of `scoring.py`: a process a measurement, a warm-up on a small part, the
best of the repeats. Only ratios inside one run mean anything. A tool that is missing, or not done within ten minutes,
is listed as such. The values that a peer gives are compared with ours where both define the number alike. Writes
``results/dialects.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from scoring import HERE, child, make, measure, torch_map

DEFAULT = "recall@1,5,10,50,100,200 median_rank mean_rank map@10,100,N"
#: Added to the default, one at a time and then together.
ADDED = (
    "recall_share@10", "precision@20", "precision@R", "map@R", "f1@10", "mrr@10", "ndcg@10", "acg@10", "wap@10", "rsum",
    "mean_recall",
)  # fmt: skip
RADIUS = "precision@radius2 recall_share@radius2 map@radius2"
#: Of the run at a million queries.
QUERIES, GALLERY = 1_000_000, 100_000
LIMIT = 600.0


# ------------------------------------------------------------------------------------------------- ours


def ours(codes: bool = False, **options: object):
    def work(x: dict) -> dict:
        from fico_utils import evaluate

        suffix = "_code" if codes else ""
        given = {"labels": x["labels"], "measure": "hamming" if codes else "cosine", **options}
        scores = evaluate(x["images" + suffix], x["texts" + suffix], **given)
        rows = scores.itertuples()
        return {f"{r.protocol} {r.task} {r.direction} {r.metric}{f'@{r.k}' if r.k else ''}": r.value for r in rows}

    return work


def instance(metrics: str, many: bool = False):
    """At instance level alone; `many`: ten relevant images a caption, its own and the nine after it."""

    def work(x: dict) -> dict:
        from fico_utils import evaluate

        n_img, n_txt = len(x["images"]), len(x["texts"])
        caption = np.repeat(np.arange(n_txt), 10)
        pairs = np.column_stack([(caption // 5 + np.tile(np.arange(10), n_txt)) % n_img, caption])
        given = {"relevance": pairs} if many else {}
        scores = evaluate(x["images"], x["texts"], metrics=metrics, **given)
        return {f"instance {r.direction} {r.metric}@{r.k}": r.value for r in scores.itertuples()}

    return work


def million(x: dict) -> dict:
    """A million codes ask a hundred thousand: every metric at category level, with the ball of radius 2."""
    from fico_utils import evaluate

    size = (QUERIES, GALLERY) if len(x["images"]) > 100 else (80, 40)
    rng = np.random.default_rng(0)
    sides = [rng.integers(0, 256, (n, 8), np.uint8) for n in size]
    classes = [rng.integers(0, 80, n) for n in size]
    metrics = f"{DEFAULT.split(' median')[0]} map@10,100,N {' '.join(ADDED[:-2])} {RADIUS}"
    scores = evaluate(
        queries=sides[0], gallery=sides[1], query_labels=classes[0], gallery_labels=classes[1], measure="hamming",
        bits=64, metrics=metrics,
    )  # fmt: skip
    return {f"{r.metric}@{r.k}": r.value for r in scores.itertuples()}


OURS = {
    "ours: float, fico": ours(),
    "ours: float, protocol all": ours(protocol="all"),
    "ours: codes, fico": ours(codes=True),
    "ours: codes, protocol all": ours(codes=True, protocol="all"),
    "ours: float, default metrics": ours(metrics=DEFAULT),
    **{f"ours: float, default + {metric}": ours(metrics=f"{DEFAULT} {metric}") for metric in ADDED},
    "ours: float, default + all of these": ours(metrics=f"{DEFAULT} {' '.join(ADDED)}"),
    "ours: codes, default metrics": ours(codes=True, metrics=DEFAULT),
    "ours: codes, default + radius 2": ours(codes=True, metrics=f"{DEFAULT} {RADIUS}"),
    "ours: float, instance": instance("recall@1,5,10 map@R precision@R"),
    "ours: float, instance, 10 positives a caption": instance("recall@1,5,10 map@R precision@R", many=True),
}


# ------------------------------------------------------------------------------------------------ peers


def directions(x: dict):
    """(name, scores, flags of a shared label) of both directions."""
    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x["images"], x["texts"])]
    labels = x["labels"].astype(np.float32)
    shared = (labels @ labels.T > 0).repeat(5, axis=1)
    yield "i2t", units[0] @ units[1].T, shared
    yield "t2i", units[1] @ units[0].T, shared.T


def in_hundreds(x: dict, add_up) -> dict:
    """Mean AP and precision@20 of whole rankings, a hundred queries at a time, for the dicts of TREC tools.

    ``add_up(truth, run)`` gives the sums of both over the queries of its dicts.
    """
    out = {}
    for name, scores, flags in directions(x):
        items, sums = [f"d{j}" for j in range(scores.shape[1])], np.zeros(2)
        for start in range(0, len(scores), 100):
            part = range(start, min(start + 100, len(scores)))
            truth = {f"q{q}": {items[j]: 1 for j in np.flatnonzero(flags[q])} for q in part}
            run = {f"q{q}": dict(zip(items, scores[q].tolist(), strict=True)) for q in part}
            sums += add_up(truth, run)
        found = sums / len(scores)
        out |= {f"category {name} map@N": found[0], f"category {name} precision@20": found[1]}
    return out


def trec(x: dict) -> dict:
    """pytrec_eval: what trec_eval calls map and P_20."""
    import pytrec_eval

    def add_up(truth: dict, run: dict) -> np.ndarray:
        seen = pytrec_eval.RelevanceEvaluator(truth, {"map", "P.20"}).evaluate(run)
        return np.sum([(values["map"], values["P_20"]) for values in seen.values()], axis=0)

    return in_hundreds(x, add_up)


def measures(x: dict) -> dict:
    """ir-measures: AP and P@20."""
    import ir_measures

    wanted = [ir_measures.AP, ir_measures.P @ 20]

    def add_up(truth: dict, run: dict) -> np.ndarray:
        sums = np.zeros(2)
        for value in ir_measures.iter_calc(wanted, truth, run):
            sums[wanted.index(value.measure)] += value.value
        return sums

    return in_hundreds(x, add_up)


def ranx(x: dict) -> dict:
    """ranx: map and precision@20 on whole rankings."""
    import ranx as tool

    out = {}
    for name, scores, flags in directions(x):
        items = [f"d{j}" for j in range(scores.shape[1])]
        truth = tool.Qrels({f"q{q}": {items[j]: 1 for j in np.flatnonzero(row)} for q, row in enumerate(flags)})
        run = tool.Run({f"q{q}": dict(zip(items, row.tolist(), strict=True)) for q, row in enumerate(scores)})
        found = tool.evaluate(truth, run, ["map", "precision@20"])
        out |= {f"category {name} map@N": found["map"], f"category {name} precision@20": found["precision@20"]}
    return out


def metric_learning(x: dict) -> dict:
    """pytorch-metric-learning: precision@1, R-Precision and mAP@R at instance level, by its own search."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    names = {"precision_at_1": "recall@1", "r_precision": "precision@R", "mean_average_precision_at_r": "map@R"}
    calculator = AccuracyCalculator(include=tuple(names), k="max_bin_count", device=torch.device("cpu"))
    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x["images"], x["texts"])]
    own = [np.arange(len(units[0])), np.repeat(np.arange(len(units[0])), 5)]
    out = {}
    for name, q, g in (("i2t", 0, 1), ("t2i", 1, 0)):
        found = calculator.get_accuracy(units[q], own[q], units[g], own[g])
        out |= {f"instance {name} {ours}": found[theirs] for theirs, ours in names.items()}
    return out


def coco_vectors(x: dict):
    """The arrays as embeddings of the ids that eccv-caption scores: 5 000 images, 25 000 captions."""
    from eccv_caption import Metrics

    known = Metrics()
    image_ids, caption_ids = np.array(sorted(known.coco_gts["i2t"])), np.array(sorted(known.coco_gts["t2i"]))
    of = {int(c): int(i) for i, captions in known.coco_gts["i2t"].items() for c in captions}
    place = {int(i): row for row, i in enumerate(image_ids)}
    own = np.array([place[of[int(c)]] for c in caption_ids])
    noise = x["texts"][: len(own)] - x["images"][np.arange(len(own)) // 5]
    return known, image_ids, caption_ids, x["images"], x["images"][own] + noise


def eccv_theirs(x: dict) -> dict:
    """eccv-caption's own code, from the ranking of all items that it asks for."""
    if len(x["images"]) < 5000:
        return {}
    known, image_ids, caption_ids, images, texts = coco_vectors(x)
    images, texts = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (images, texts))
    similarity = images @ texts.T
    i2t = {
        int(i): caption_ids[np.argsort(-row, kind="stable")].tolist()
        for i, row in zip(image_ids, similarity, strict=True)
    }
    t2i = {
        int(c): image_ids[np.argsort(-row, kind="stable")].tolist()
        for c, row in zip(caption_ids, similarity.T, strict=True)
    }
    found = known.compute_all_metrics(
        i2t, t2i, target_metrics=("eccv_r1", "eccv_map_at_r", "eccv_rprecision"), Ks=(1,), verbose=False
    )
    names = {"eccv_r1": "recall@1", "eccv_map_at_r": "map@R", "eccv_rprecision": "precision@R"}
    return {f"instance {d} {names[m]}": v for m, values in found.items() for d, v in values.items()}


def eccv_ours(x: dict) -> dict:
    """The same numbers by ``relevance="eccv"``."""
    if len(x["images"]) < 5000:
        return {}
    from fico_utils import evaluate

    _, image_ids, caption_ids, images, texts = coco_vectors(x)
    scores = evaluate(
        images, texts, image_ids=image_ids, caption_ids=caption_ids, relevance="eccv", protocol="eccv",
        metrics="recall@1 map@R precision@R",
    )  # fmt: skip
    return {f"instance {r.direction} {r.metric}@{r.k}": r.value for r in scores.itertuples()}


def torchmetrics(x: dict) -> dict:
    """torchmetrics: mAP@N, see `scoring.torch_map`."""
    return {f"category {name.replace(' N', '@N')}": value for name, value in torch_map(x).items()}


#: Peer -> (its work, the work of ours that gives the same numbers).
PEERS = {
    "torchmetrics: mAP@N": (torchmetrics, "ours: float, default + all of these"),
    "pytrec_eval: map, P@20": (trec, "ours: float, default + all of these"),
    "ir-measures: AP, P@20": (measures, "ours: float, default + all of these"),
    "ranx: map, precision@20": (ranx, "ours: float, default + all of these"),
    "pytorch-metric-learning: P@1, R-Precision, mAP@R": (metric_learning, "ours: float, instance"),
    "eccv-caption: R@1, mAP@R, R-Precision": (eccv_theirs, "ours: float, relevance eccv"),
}
WORKS = {
    **OURS,
    "ours: float, relevance eccv": eccv_ours,
    "ours: codes, 1M queries x 100K items, everything": million,
    **{name: work for name, (work, _) in PEERS.items()},
}
#: Work, what it is a multiple of, the multiple allowed.
RATIOS = (
    *((f"ours: float, default + {metric}", "ours: float, default metrics", 1.15) for metric in ADDED),
    ("ours: float, default + all of these", "ours: float, default metrics", None),
    ("ours: codes, default + radius 2", "ours: codes, default metrics", 1.15),
    ("ours: float, protocol all", "ours: float, fico", 1.5),
    ("ours: codes, protocol all", "ours: codes, fico", 1.5),
    ("ours: float, instance, 10 positives a caption", "ours: float, instance", 1.3),
)


# ---------------------------------------------------------------------------------------------- reports


def largest_difference(theirs: dict, mine: dict) -> str:
    """Between the numbers that both give; ours may have a protocol before their names."""
    both = [abs(value - v) for name, value in theirs.items() for key, v in mine.items() if key.endswith(name)]
    return f"{max(both):.1e} ({len(both)} numbers)" if both else "none shared"


def report(results: dict, about: dict) -> str:
    """The tables as markdown."""
    done = {name: r for name, r in results.items() if "seconds" in r}
    lines = [f"# Dialects, measured {about['date']}", "", *(f"* {k}: {v}" for k, v in about.items()), ""]
    lines += ["## What a metric, a protocol, a relevance adds", "", "| work | s | beside | times (allowed) | met |"]
    lines += ["|---|---|---|---|---|"]
    for name, base, allowed in RATIOS:
        if name in done and base in done:
            times = done[name]["seconds"] / done[base]["seconds"]
            limit, met = ("", "") if allowed is None else (f" (<= {allowed})", "yes" if times <= allowed else "**no**")
            lines.append(f"| {name[6:]} | {done[name]['seconds']:.2f} | {base[6:]} | {times:.2f}{limit} | {met} |")
    lines += ["", "## Beside the field's own tools", ""]
    lines += [
        "| tool | s | extra MiB | ours, s | their time : ours | largest difference of equal numbers |",
        "|---|---|---|---|---|---|",
    ]
    for name, (_, mine) in PEERS.items():
        if name in results and mine in done:
            if name in done:
                theirs = done[name]
                times = theirs["seconds"] / done[mine]["seconds"]
                cells = f"{theirs['seconds']:.1f} | {theirs['mib']:.0f} | {done[mine]['seconds']:.2f} | {times:.0f}"
                lines.append(f"| {name} | {cells} | {largest_difference(theirs['values'], done[mine]['values'])} |")
            else:
                lines.append(f"| {name} | {results[name]['failed']} | | {done[mine]['seconds']:.2f} | | |")
    lines += ["", "## Every measurement", "", "| work | s | extra MiB | at |", "|---|---|---|---|"]
    for name, r in results.items():
        cells = f"{r['seconds']:.3f} | {r['mib']:.0f}" if name in done else f"{r['failed']} | "
        lines.append(f"| {name} | {cells} | {r['at']} |")
    return "\n".join(lines) + "\n"


def installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} missing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", action="store_true", help="without the peers and the run of a million queries")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--only", default="", help="only works with this text in their name; the others stay")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for dialects.json and dialects.md")
    for hidden in ("--work", "--folder", "--repeats"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        child(args.work, Path(args.folder), int(args.repeats), WORKS)
        return
    tools = "numpy numba torch torchmetrics pytrec_eval-terrier ir-measures ranx eccv-caption pytorch-metric-learning"
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "size": f"{args.images} images, {5 * args.images} captions, both directions",
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": ", ".join(map(installed, tools.split())),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "dialects.json"
    results = json.loads(kept.read_text())["results"] if args.only and kept.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), args.images)
        for name in OURS if args.ours else WORKS:
            if args.only in name:
                once = name in PEERS or "1M" in name
                result = measure(name, Path(folder), args.images, 1 if once else 3, __file__, LIMIT)
                results[name] = {**result, "at": time.strftime("%F %H:%M")}
                kept.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
                (args.out / "dialects.md").write_text(report(results, about))
    print((args.out / "dialects.md").read_text())


if __name__ == "__main__":
    main()
