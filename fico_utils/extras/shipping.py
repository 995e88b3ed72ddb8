"""What ships: the weights of a run, and beside each a card that says what it is, how it was made, and how good it is.

Everything on a card is read: from the header of the artefact, the head of its model's file, and the measured rows of
the run's ``metrics.csv``. `SHARED` names the pieces that serve many systems; any other file is ``{system}__{corpus}``.
"""

from __future__ import annotations

import csv
import inspect
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fico_utils import artifacts, registry
from fico_utils.display.table import markdown_line
from fico_utils.errors import InputError
from fico_utils.evaluation import Metric
from fico_utils.experiment import corpora, features, label_sources
from fico_utils.experiment import weights as shelf
from fico_utils.experiment.systems import weights_recipe
from fico_utils.experiment.weights import Weights, backbone_name, find_weights
from fico_utils.files import atomic_path, read_arrays, sha256_file, write_text
from fico_utils.models import model_class
from fico_utils.models.contract import restores
from fico_utils.models.originals import system_differences
from fico_utils.profiles import profile_settings
from fico_utils.workspace import Run

#: Shared piece -> what it is, and the call that makes it again; those of one corpus are ``{piece}__{corpus}``.
SHARED = {
    "backbone": ("the convolutional backbone of the region features", "experiment.backbone_weights(run, live=True)"),
    "patch_backbone": (
        "the convolutional backbone of the patch features",
        'experiment.backbone_weights(run, live=True, kind="patches")',
    ),
    "doc2vec": ("Doc2Vec, the sentence vectors of the hashing systems", "experiment.doc2vec_weights(run, live=True)"),
    "query2label": (
        "Query2Label, which writes the labels of corpora that withhold theirs",
        "experiment.label_generator(run, live=True)",
    ),
}
#: Metric and k of the test table; both directions of each.
SHOWN = (("recall", "1"), ("recall", "10"), ("map", "10"), ("map", "N"))


def ship(run: Run) -> list[Path]:
    """Copy the weights trained in a run to the package, a card beside each, to serve notebooks that stand alone; paths.

    What a run trains is what its profile gives epochs, and its live backbones. What it learned from a corpus that has
    to be fetched stays in the run: whoever has that corpus trains in minutes. The vocabularies go along.

    InputError where weights of the run are missing, or were shipped themselves; nothing is written then.
    """
    ready = trained_weights(run)
    folder = shelf.SHIPPED / run.profile
    texts = {folder / f"{name}.md": weights_card(run, name, weights) for name, weights in ready.items()}
    texts[folder / "README.md"] = weights_contents(run, ready)
    files = {folder / f"{name}.safetensors": weights.path for name, weights in ready.items()}
    for name in (c for c in run["corpora"] if registry.corpus(c).drawn):
        features.vocabulary(run, name)
        recipe = features.vocabulary_recipe(run, name)
        files[folder / f"vocabulary__{name}.json"] = run.store.path("features", f"vocabulary__{name}", recipe, ".json")
    for path, source in files.items():
        with atomic_path(path) as temporary:
            shutil.copyfile(source, temporary)
    sums = artifacts.shipped_sums(shelf.SHIPPED)
    sums |= {path.relative_to(shelf.SHIPPED).as_posix(): sha256_file(path) for path in files}
    texts[shelf.SHIPPED / artifacts.SUMS] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    for path, text in texts.items():
        write_text(path, text)
    return [*files, *texts]


def trained_weights(run: Run) -> dict[str, Weights]:
    """Name -> weights of everything that a run trains; InputError where it has not trained one of them."""
    found: dict[str, Weights | None] = {}
    for kind in run["live_backbones"]:
        found[backbone_name(run, kind)] = features.backbone_weights(run, kind)
    found["doc2vec"] = features.doc2vec_weights(run)
    if "query2label" in run["epochs"]:
        found["query2label"] = label_sources.label_generator(run)[2]
    drawn = [c for c in run["corpora"] if registry.corpus(c).drawn]
    for system in dict.fromkeys(registry.system(s).trained for s in run["systems"]):
        for corpus in drawn if system in run["epochs"] else ():
            file, recipe, _ = weights_recipe(run, system, corpus)
            found[file] = find_weights(run, file, recipe)
    for name, weights in found.items():
        if weights is None or weights.origin != "trained":
            raise InputError(f"{name} was not trained in this run ({run.root}); run notebooks 01, 02 and 03 first")
    return found


def weights_card(run: Run, name: str, weights: Weights) -> str:
    """The card of some weights as markdown."""
    title, call = _title(name)
    lines = [f"# {title[0].upper()}{title[1:]}", "", "| | |", "| --- | --- |"]
    lines += [markdown_line([key, value]) for key, value in _facts(run, name, weights).items()]
    system, _, corpus = name.partition("__")
    if system not in SHARED:
        # the head of a model's file says how it works, what was scaled down, and what was changed on purpose
        head = inspect.getdoc(sys.modules[model_class(system).__module__]) or ""
        lines += ["", "## What it is, and what differs from the original", "", head]
        lines += ["", "## Test split", "", *_measured(run, system, corpus)]
    lines += _differing(system)
    lines += ["", "## Make it again", "", "```python", "import fico_utils", "from fico_utils import experiment", ""]
    lines += [_setup(run), call, "```"]
    lines += ["", "## Recipe", "", "```json", json.dumps(weights.header["recipe"], indent=1), "```"]
    return "\n".join(lines) + "\n"


def _differing(system: str) -> list[str]:
    """The table of a system's differences from its original; nothing where none is stated."""
    stated = system_differences(system)
    if not stated:
        return []
    head = {"difference": "difference", "original": "the original", "ours": "ours", "why": "why", "effect": "effect"}
    lines = [markdown_line([d[column] for column in head]) for d in stated]
    by = ", ".join(f"`{d['difference']}`" for d in stated if d["undone"] == "yes")
    undone = f"`original: true` undoes {by}; a list of names, such as `original: [{by.split('`')[1]}]`, those alone."
    return ["", "## Differences", "", markdown_line(head.values()), f"|{' --- |' * len(head)}", *lines, "", undone]


def weights_contents(run: Run, ready: Mapping[str, Weights]) -> str:
    """The list of all weights trained in a run, as markdown: how large, how long trained, how good on validation."""
    lines = [markdown_line(["weights", "MiB", "epochs", "minutes", "validation"]), "| --- |" + " ---: |" * 4]
    spent, threads = 0.0, set()
    for name, weights in ready.items():
        cells, log = ["–"] * 3, weights.log
        if log and "score" in log[0]:
            minutes = _minutes(log)
            cells = [f"{len(log)}", f"{minutes:.1f}", f"{max(row['score'] for row in log):.3f}"]
            spent += minutes
            threads.add(weights.header["about"]["threads"])
        size = f"{weights.path.stat().st_size / 2**20:.2f}"
        lines.append(markdown_line([f"[{_title(name)[0]}]({name}.md)", size, *cells]))
    about = (
        f"Minutes are of one training with its validation, on {_threads(*sorted(threads))}; together {spent:.0f}. "
        "Validation is the mean of R@1, R@5 and R@10 of both directions, of Query2Label the micro F1 of its labels. "
        "A card says the rest."
    )
    return "\n".join([f"# Weights trained by profile {run.profile}, seed {run.seed}", "", about, "", *lines, ""])


def _minutes(log: Sequence[Mapping[str, float]]) -> float:
    return sum(row["seconds"] for row in log) / 60


def _threads(*counts: int) -> str:
    return "1 CPU thread" if counts == (1,) else f"{' or '.join(map(str, counts))} CPU threads"


def _title(name: str) -> tuple[str, str]:
    """What the file holds, and the call that makes it again."""
    piece, _, corpus = name.partition("__")
    if piece not in SHARED:
        return f"{registry.system(piece).name} on {corpus}", f'experiment.train(run, "{piece}", "{corpus}")'
    title, call = SHARED[piece]
    return (f"{title}, on {corpus}", f'{call[:-1]}, name="{corpus}")') if corpus else (title, call)


def _facts(run: Run, name: str, weights: Weights) -> dict[str, str]:
    """Rows of the table at the head of a card."""
    arrays, header, log = read_arrays(weights.path), weights.header, weights.log
    recipe, about = header["recipe"], header["about"]
    system, _, corpus = name.partition("__")
    size, numbers = (sum(getattr(a, of) for a in arrays.values()) for of in ("nbytes", "size"))
    kinds = ", ".join(sorted({str(a.dtype) for a in arrays.values()}))
    facts = {
        "file": f"`{name}.safetensors`, {size / 2**20:.2f} MiB, {kinds}",
        "digest of the content": f"`{header['digest']}`",
        "parameters": f"{numbers:,} numbers in {len(arrays)} arrays".replace(",", " "),
    }
    if corpus and system not in SHARED:
        facts["serves"] = ", ".join(s.name for s in registry.systems().values() if s.trained == system)
        splits = (corpora.training_split(run, system, corpus), "val", "test")
        counts = [f"{corpora.part(run, corpus, split).n_img} {split}" for split in splits]
        facts["corpus"] = f"{corpus}: {', '.join(counts)} images"
    facts["profile, seed"] = f"{run.profile}, {recipe['seed']}"
    if log and "score" in log[0]:
        best = max(log, key=lambda row: row["score"])  # the first of equals, as training keeps it
        facts["training"] = (
            f"{len(log)} epochs, {_minutes(log):.1f} minutes with validation, {_threads(about['threads'])}; "
            f"loss {log[0]['loss']:.4g} in the first epoch, {log[-1]['loss']:.4g} in the last"
        )
        measure = "micro F1 of the labels" if system in SHARED else "mean of R@1, R@5 and R@10, both directions"
        original = recipe["settings"].get("model", {}).get("original", False)
        named = {d["difference"] for d in system_differences(system)}
        if "checkpoint" in named and restores(original, "checkpoint"):
            measure = "mean of mAP@N of both directions"
        facts["validation"] = f"{best['score']:.4f} ({measure}) after epoch {best['epoch']:.0f}, which is kept"
    facts["code"] = f"commit {about['commit']}, version {recipe['version']} of {recipe['producer']}"
    return facts | {"key": f"`{header['key']}`"}


def _measured(run: Run, system: str, corpus: str) -> list[str]:
    """The test table of every row of the paper that the weights serve, or a sentence that nothing was measured."""
    measured: dict[tuple[str, ...], dict[str, str]] = {}
    if run.path("metrics.csv").is_file():
        with open(run.path("metrics.csv"), newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if (row["source"], row["corpus"], row["split"], row["run"]) == ("ours", corpus, "test", run.run_id):
                    measured[row["system"], row["direction"], row["metric"], row["k"]] = row
    rows = [s for s in registry.systems().values() if s.trained == system]
    if not any((s.id, "t2i", "recall", "1") in measured for s in rows):
        return ["Not measured in this run; notebook 04 measures it."]
    columns = [(d, metric, k) for metric, k in SHOWN for d in ("i2t", "t2i")]
    head = ["system", *(f"{Metric(metric, k).label} {d}" for d, metric, k in columns)]
    lines = [[s.name, *(_cell(measured.get((s.id, *column))) for column in columns)] for s in rows]
    table = [markdown_line(head), f"|{' --- |' * len(head)}", *map(markdown_line, lines)]
    return [*table, "", "Fractions, 0 to 1; in brackets 95 % bootstrap intervals over the test images."]


def _cell(row: dict[str, str] | None) -> str:
    if row is None:
        return "not measured"
    if row["status"] != "ok":
        return row["status"]
    interval = f" [{float(row['ci_low']):.3f}, {float(row['ci_high']):.3f}]" if row["ci_low"] else ""
    return f"{float(row['value']):.3f}{interval}"


def _setup(run: Run) -> str:
    """The line that sets up a run of the same settings in a folder of its own."""
    default = profile_settings(run.profile)
    changed = {k: v for k, v in run.settings.items() if k not in ("profile", "seed", "out_dir") and v != default[k]}
    own = "".join(f", {name}={value!r}" for name, value in changed.items())
    return f'run = fico_utils.setup("{run.profile}", seed={run.seed}, out_dir="again"{own})'
