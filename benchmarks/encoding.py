"""What streaming costs beside encoding: overhead over the bare forward pass, and memory against the size.

    python benchmarks/encoding.py             all twelve systems; 10 000 and 100 000 scenes, about 20 minutes on 2 cores
    python benchmarks/encoding.py --quick     three systems; 500 and 2 000 scenes, about a minute
    python benchmarks/encoding.py --memory-only --streamed adv_64   both peaks of one light row, and their ratio

Overhead: the seconds that `costs.encoding_rows` measures for a system, over those of its bare forward pass on tensors
that are ready (converted, in batches, results dropped); the best of the repeats of each, taken in turns, as one block
and in the blocks that notebook 05 streams. Memory: a pass over unique PictoScenes pairs, drawn, turned into features,
encoded and dropped, each size in a process of its own. The systems are untrained, in the sizes of the mini profile:
neither time nor memory depends on training. Only ratios inside one run mean anything. Writes
``results/encoding.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CORPUS = "picto_diverse"
OVERHEAD, GROWTH = (
    1.15,
    1.10,
)  # what is aimed at: encoding over the bare pass, peak of the largest size over the smallest
QUICK = ("beit3", "scan", "ucch")
STREAMED = (
    "beit3",
    "ucch",
)  # whose memory is measured unless others are named; adv_64 is the lightest with its features
STREAM = 1000  # scenes held at once where time is measured, as in notebook 05
BLOCK = 500  # the same where memory is measured


def prepare(systems: list[str], threads: int) -> tuple[list, dict]:
    """Extractors and models, untrained."""
    import torch

    from fico_utils import costs, experiment
    from fico_utils.data.features import Backbone
    from fico_utils.data.text import train_doc2vec
    from fico_utils.profiles import profile_settings
    from fico_utils.workspace import Run, set_threads

    set_threads(threads)
    torch.manual_seed(0)
    small = profile_settings("mini") | {"n_train": {CORPUS: 1000}, "n_val": {CORPUS: 1}, "n_test": {CORPUS: 1}}
    run = Run("mini", 0, Path(tempfile.gettempdir()), small)  # nothing is written there
    captions = experiment.corpus(run, CORPUS).captions[:500]
    doc2vec = train_doc2vec(captions, seed=0, epochs=1), 0, small["doc2vec_epochs"]
    extractors = costs.feature_stages(Backbone().eval(), experiment.vocabulary(run, CORPUS), doc2vec)
    return extractors, {s: experiment.new_model(run, s, CORPUS).eval() for s in systems}


def batches(features: np.ndarray, block: int, size: int = 256) -> list[np.ndarray]:
    """The features as the stream cuts them: blocks, and batches inside each."""
    blocks = [features[i : i + block] for i in range(0, len(features), block)]
    return [part[i : i + size] for part in blocks for i in range(0, len(part), size)]


def overhead(systems: list[str], n: int, threads: int, repeats: int) -> list[dict]:
    """Seconds of encoding n images and their captions as the stream does it, and of the bare forward pass."""
    import torch

    from fico_utils import costs
    from fico_utils.costs.blocks import Stage
    from fico_utils.models.training import as_tensor

    extractors, models = prepare(systems, threads)
    features = costs.Scenes(CORPUS)(0, n)
    for stage in extractors:
        for reads, work in stage.sides.values():
            features |= work(features[reads])

    def source(start: int, stop: int) -> dict:
        return {"pixels": np.arange(start, stop), "captions": np.arange(5 * start, 5 * stop)}

    found = []
    for system, model in models.items():
        sides = {"image": ("pixels", model.image_input, model.encode_image)}
        sides["text"] = ("captions", model.text_input, model.encode_text)
        ready = [
            Stage("backbone", {side: (raw, lambda rows, name=name: {name: features[name][rows]})}, makes=(name,))
            for side, (raw, name, _) in sides.items()
        ]
        encoder = costs.system_stage(system, model)
        for block in dict.fromkeys((n, min(n, STREAM))):
            tensors = {
                side: [as_tensor(part) for part in batches(features[name], block * (5 if side == "text" else 1))]
                for side, (_, name, _) in sides.items()
            }
            bare, streamed = [], []
            for _ in range(repeats + 1):  # the first of each warms up
                with torch.inference_mode():
                    start = time.perf_counter()
                    for side, (_, _, encode) in sides.items():
                        for batch in tensors[side]:
                            encode(batch)
                    bare.append(time.perf_counter() - start)
                rows = costs.encoding_rows(source, [(ready, [encoder])], [n], block=block, timing=costs.Timing(1))
                streamed.append(next(r["value"] for r in rows if (r["phase"], r["quantity"]) == ("encode", "seconds")))
            found.append(
                {
                    "system": system,
                    "n_img": n,
                    "blocks": n // block,
                    "bare": min(bare[1:]),
                    "streamed": min(streamed[1:]),
                }
            )
            found[-1]["ratio"] = found[-1]["streamed"] / found[-1]["bare"]
    return found


def memory(systems: list[str], n: int, threads: int) -> dict:
    """Peak memory of a process that streams n scenes, and what it held before the pass, MiB."""
    from fico_utils import costs
    from fico_utils.machine import resident_memory

    extractors, models = prepare(systems, threads)
    encoders = [costs.system_stage(s, m) for s, m in models.items()]
    before, start = resident_memory() / 2**20, time.perf_counter()
    rows = costs.encoding_rows(costs.Scenes(CORPUS), [(extractors, encoders)], [n], block=BLOCK, timing=costs.Timing(1))
    wall = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    seconds = {f"{r['phase']} {r['system']}": r["value"] for r in rows if r["quantity"] == "seconds"}
    return {"n_img": n, "systems": systems, "peak_mib": peak, "before_mib": before, "wall": wall, "seconds": seconds}


def child(arguments: list[str]) -> object:
    """What this script prints in a process of its own."""
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, __file__, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def report(about: dict, ratios: list[dict], passes: list[dict]) -> str:
    """The tables as markdown."""
    lines = [f"# Encoding in a stream, measured {about['date']}", "", *(f"* {k}: {v}" for k, v in about.items()), ""]
    if ratios:
        lines += [f"## Overhead over the bare forward pass (target: at most {OVERHEAD})", ""]
        lines += ["| system | images | blocks | bare s | streamed s | ratio | met |", "|---|---|---|---|---|---|---|"]
    for r in ratios:
        met = "yes" if r["ratio"] <= OVERHEAD else "missed"
        numbers = f"{r['bare']:.3f} | {r['streamed']:.3f} | {r['ratio']:.3f}"
        lines.append(f"| {r['system']} | {r['n_img']} | {r['blocks']} | {numbers} | {met} |")
    if passes:
        growth = passes[-1]["peak_mib"] / passes[0]["peak_mib"]
        met = "yes" if growth <= GROWTH else "missed"
        lines += ["", f"## Memory of a pass (target: at most {GROWTH} times; {growth:.3f}: {met})", ""]
        lines += [
            "| images | systems | MiB before | peak MiB | wall s | seconds a stage |",
            "|---|---|---|---|---|---|",
        ]
        for p in passes:
            stages = ", ".join(f"{name} {s:.1f}" for name, s in p["seconds"].items())
            numbers = f"{p['before_mib']:.0f} | {p['peak_mib']:.0f} | {p['wall']:.0f}"
            lines.append(f"| {p['n_img']} | {', '.join(p['systems'])} | {numbers} | {stages} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three systems, 500 and 2 000 scenes")
    parser.add_argument("--systems", help="ids of systems for the overhead, comma-separated")
    parser.add_argument("--scenes", help="sizes for the memory, comma-separated")
    parser.add_argument("--streamed", help="ids of systems for the memory, comma-separated", default=",".join(STREAMED))
    parser.add_argument("--memory-only", action="store_true", help="leave the overhead out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for encoding.json and encoding.md")
    for hidden in ("--overhead", "--memory"):
        parser.add_argument(hidden, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()

    from fico_utils import registry

    systems = args.systems.split(",") if args.systems else list(QUICK if args.quick else registry.SYSTEMS)
    if args.overhead:
        print(json.dumps(overhead(systems, args.overhead, args.threads, 3 if args.quick else 5)))
        return
    if args.memory:
        print(json.dumps(memory(systems, args.memory, args.threads)))
        return
    sizes = [int(n) for n in args.scenes.split(",")] if args.scenes else ([500, 2000] if args.quick else [10**4, 10**5])
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {args.threads} threads",
        "versions": ", ".join(f"{p} {version(p)}" for p in ("numpy", "torch")),
        "python": platform.python_version(),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    common = ["--threads", str(args.threads), *(["--quick"] if args.quick else [])]
    ratios: list[dict] = []
    passes: list[dict] = []
    each = [] if args.memory_only else systems
    plan = [(ratios, ["--overhead", "400" if args.quick else "2000", "--systems", s]) for s in each]
    plan += [(passes, ["--memory", str(n), "--systems", args.streamed]) for n in sorted(sizes)]
    for results, arguments in plan:  # written after every measurement: a stopped run loses one
        new = child([*arguments, *common])
        results.extend(new if isinstance(new, list) else [new])
        kept = {"about": about, "overhead": ratios, "memory": passes}
        (args.out / "encoding.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        (args.out / "encoding.md").write_text(report(about, ratios, passes), encoding="utf-8")
        print(" ".join(arguments), "done", flush=True)
    print((args.out / "encoding.md").read_text(encoding="utf-8"))
    if passes:
        peaks = ", ".join(f"{p['n_img']:,} scenes {p['peak_mib']:.0f} MiB" for p in passes)
        print(f"peak memory: {peaks}; ratio {passes[-1]['peak_mib'] / passes[0]['peak_mib']:.3f}")


if __name__ == "__main__":
    main()
