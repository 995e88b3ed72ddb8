"""What training loses around its arithmetic: `fit` against the bare loop of the same steps, every system.

    python benchmarks/training.py             standard sizes, 60 steps an epoch, about 15 minutes on 2 cores
    python benchmarks/training.py --quick     12 steps an epoch, about 2 minutes; checkpoints then weigh more
    python benchmarks/training.py --only scan one system; the others' results stay

One epoch of `training.fit` over captions of picto_diverse and random features (half precision, as features are kept)
against a loop that does forward, loss, backward, clipping and the optimiser's step on the same batches, made into
tensors beforehand. `fit` also draws the pairs, gathers and widens the features, moves the learning rate, looks at every
loss, draws its bar and writes the checkpoint. Both start from the same weights, take turns, and must end with the same
ones, bit for bit: otherwise they did not do the same work, and nothing is reported. Validation is left out of both.

Each system is a process of its own. The ratio is that of the throughputs, bare seconds : fit seconds, the median over
the turns; only ratios inside one run mean anything. Writes ``results/training.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).resolve().parent
CORPUS = "picto_diverse"
TARGET = 0.8


# ------------------------------------------------------------------------------------------------- data


def prepare(system: str, profile: str, steps: int, folder: str, threads: int):
    """How to make the untrained system of a profile, and training inputs for an epoch of so many steps."""
    import fico_utils
    from fico_utils import experiment
    from fico_utils.models import model_class

    n_img = steps * model_class(system).recipe.batch_size
    counts = {"n_train": {CORPUS: n_img}, "n_val": {CORPUS: 1}, "n_test": {CORPUS: 1}}
    run = fico_utils.setup(profile, 0, folder, threads=threads, corpora=[CORPUS], **counts)
    return (lambda: experiment.new_model(run, system, CORPUS)), random_inputs(run, system)


def random_inputs(run, system: str):
    """What a system reads in training: real captions, their rewritings and labels, random features of the real size."""
    from fico_utils import experiment
    from fico_utils.data import rewriting
    from fico_utils.data.features import N_REGIONS
    from fico_utils.experiment.model_inputs import REWRITINGS
    from fico_utils.models.training import Inputs

    part, words = experiment.corpus(run, CORPUS).subset("train"), experiment.vocabulary(run, CORPUS)
    model, rng = experiment.new_model(run, system, CORPUS), np.random.default_rng(0)
    size = vars(model.config)
    if "d_global" in size:
        shape = (size["d_global"],)
    elif "d_patch" in size:
        shape = (size["n_patches"], size["d_patch"])
    else:
        shape = (size.get("n_regions", N_REGIONS), size["d_region"])
    image = {model.image_input: rng.standard_normal((part.n_img, *shape), np.float32).astype(np.float16)}
    if model.image_extra:
        image["labels"] = part.labels
    if model.text_input == "tokens":
        text = {"tokens": words.encode(part.captions)}
    else:
        text = {"doc2vec": rng.standard_normal((part.n_txt, 300), np.float32)}
    for kind in model.text_extra:
        n = REWRITINGS[kind]
        rows = getattr(rewriting, kind)(part.captions, n, 0)
        text[kind] = words.encode([c for row in rows for c in row]).reshape(part.n_txt, n, -1)
    return Inputs(image, text, part.caption_image, "benchmark")


# ------------------------------------------------------------------------------------------------ loops


def batches(model, inputs) -> tuple[list, float]:
    """The tensors of every batch that `fit` draws in its first epoch, and the seconds it took to make them."""
    from fico_utils.models import training

    chosen = training.batches(inputs.caption_image, model.recipe, seed=0, epoch=0)
    started = time.perf_counter()
    made = [inputs.batch(model, c) for c in chosen]
    return made, time.perf_counter() - started


def bare(model, prepared: list, steps: int) -> float:
    """Seconds of nothing but the arithmetic of training: one epoch, `steps` long, or the first part of it."""
    import torch

    from fico_utils.models.training import _optimisers, schedule_factor

    recipe, (own, beside) = model.recipe, _optimisers(model)
    torch.manual_seed(int(np.random.SeedSequence([0, 0]).generate_state(1)[0]))
    model.train().start_epoch(0)
    parameters = list(model.parameters())
    started = time.perf_counter()
    for number, batch in enumerate(prepared):
        for group in (g for o in (*own, *beside) for g in o.param_groups):
            group["lr"] = group["base_lr"] * schedule_factor(recipe, number, steps)
        outputs = model(batch)
        for other in beside:
            other.zero_grad(set_to_none=True)
            model.adversary_loss(outputs).backward()
            other.step()
        loss = model.loss(outputs)["loss"]
        for optimiser in own:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        for optimiser in own:
            optimiser.step()
    model.end_epoch()
    return time.perf_counter() - started


def fitted(model, inputs, folder: str) -> float:
    """Seconds of one epoch of `fit`, its checkpoint written to `folder`."""
    from fico_utils.artifacts import Recipe, Store
    from fico_utils.models.training import fit

    units = Store(folder).units("models", "benchmark", Recipe("training"))
    started = time.perf_counter()
    fit(model, inputs, seed=0, epochs=1, validate=lambda _: 0.0, units=units)
    return time.perf_counter() - started


def child(system: str, profile: str, steps: int, turns: int, threads: int) -> None:
    """Measure one system and print the result as JSON."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        new, inputs = prepare(system, profile, steps, folder, threads)
        prepared, _ = batches(new(), inputs)
        bare(new(), prepared[:3], steps)  # first calls compile kernels and grow the heap
        seconds: dict[str, list[float]] = {"fit": [], "bare": [], "batches": []}
        for turn in range(turns):
            ours, plain = new(), new()
            order = [("fit", lambda m=ours, t=turn: fitted(m, inputs, f"{folder}/{t}"))]
            order += [("bare", lambda m=plain: bare(m, prepared, steps))]
            for name, work in order if turn % 2 else order[::-1]:
                seconds[name].append(work())
            seconds["batches"].append(batches(ours, inputs)[1])
            both = zip(ours.state_dict().values(), plain.state_dict().values(), strict=True)
            if not all(torch.equal(a, b) for a, b in both):
                raise SystemExit(f"{system}: fit and the bare loop ended with different weights")
    result = {
        "steps": steps,
        "batch_size": ours.recipe.batch_size,
        "pairs": sum(len(b["image"]) for b in prepared),
        "seconds": seconds,
        "ratios": [b / f for f, b in zip(seconds["fit"], seconds["bare"], strict=True)],
    }
    print(json.dumps(result))


# ---------------------------------------------------------------------------------------------- reports


def measure(system: str, profile: str, steps: int, turns: int, threads: int) -> dict:
    """The result of one system, from a process of its own."""
    words = [sys.executable, __file__, "--work", system, "--profile", profile]
    words += ["--steps", str(steps), "--turns", str(turns), "--threads", str(threads)]
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    pools = {n: str(threads) for n in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **pools, "PYTHONPATH": path})
    result = {"system": system, "profile": profile, "steps": steps, "threads": threads}
    if done.returncode:
        result["failed"] = (done.stderr.strip().splitlines() or [f"killed, code {done.returncode}"])[-1]
    else:
        result |= json.loads(done.stdout.splitlines()[-1])
        result["ratio"] = median(result["ratios"])
    print(f"{system:10s} {result.get('failed') or format(result['ratio'], '.3f')}", flush=True)
    return result


def report(results: list[dict], about: dict) -> str:
    """The table as markdown."""
    lines = [f"# Training, measured {about['date']}", "", *(f"* {k}: {v}" for k, v in about.items()), ""]
    lines += ["Milliseconds a step, medians; *gathering* is the part of `fit` that makes the batch's tensors.", ""]
    lines += ["| system | steps, profile | batch | bare | fit | gathering | pairs/s, fit | fit : bare (target) | met |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for r in results:
        if "failed" in r:
            lines.append(f"| {r['system']} | {r['steps']}, {r['profile']} | | | | | | {r['failed'][:80]} | no |")
            continue
        fit_s, bare_s, gather = (median(r["seconds"][n]) for n in ("fit", "bare", "batches"))
        step = [f"{1000 * s / r['steps']:.1f}" for s in (bare_s, fit_s, gather)]
        cells = [r["system"], f"{r['steps']}, {r['profile']}", str(r["batch_size"]), *step]
        cells += [f"{r['pairs'] / fit_s:.0f}", f"{r['ratio']:.3f} (>= {TARGET})"]
        lines.append(f"| {' | '.join(cells)} | {'yes' if r['ratio'] >= TARGET else 'no'} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    from fico_utils import registry

    trained = list(dict.fromkeys(s.trained for s in registry.SYSTEMS.values()))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="12 steps an epoch, two turns")
    parser.add_argument("--only", choices=trained, help="only this system; the other results of the folder stay")
    parser.add_argument("--profile", default="standard", help="whose sizes the systems have")
    parser.add_argument("--steps", type=int, help="steps an epoch (default: 60)")
    parser.add_argument("--turns", type=int, help="epochs of each loop (default: 4)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="native threads")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for training.json and training.md")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    steps, turns = args.steps or (12 if args.quick else 60), args.turns or (2 if args.quick else 4)
    if args.work:
        child(args.work, args.profile, steps, turns, args.threads)
        return
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {args.threads} threads",
        "versions": ", ".join(f"{p} {version(p)}" for p in ("numpy", "torch", "transformers")),
        "python": platform.python_version(),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "training.json"
    results = json.loads(kept.read_text())["results"] if args.only and kept.exists() else []
    for system in [args.only] if args.only else trained:
        new = {**measure(system, args.profile, steps, turns, args.threads), "at": time.strftime("%F %H:%M")}
        results = [r for r in results if r["system"] != system] + [new]
        results.sort(key=lambda r: trained.index(r["system"]))
        # written after every measurement: a stopped run loses one
        kept.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
        (args.out / "training.md").write_text(report(results, about))
    print((args.out / "training.md").read_text())


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    main()
