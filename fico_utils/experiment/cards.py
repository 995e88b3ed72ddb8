"""The card beside each file of weights that ships: what it is, how it was made, how good it is, how to make it again.

Everything on a card is read: from the header of the file, the log of its training, the head of its model's file, the
measured rows of the run's ``metrics.csv`` and git. `SHARED` names the pieces that serve many systems; any other file is
``{system}__{corpus}``.
"""

from __future__ import annotations

import csv
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.experiment import corpora
from fico_utils.experiment.weights import read_log
from fico_utils.workspace import (
    Run,
    key_of,
    profile_settings,
    read_arrays,
    read_metadata,
    sha256_file,
    source_key,
    write_text,
)

#: Shared piece -> what it is, and the call that makes it again; those of one corpus are ``{piece}__{corpus}``.
SHARED = {
    "backbone": ("the convolutional backbone of the region features", "experiment.backbone(run, live=True)"),
    "patch_backbone": (
        "the convolutional backbone of the patch features",
        'experiment.backbone(run, live=True, kind="patches")',
    ),
    "doc2vec": ("Doc2Vec, the sentence vectors of the hashing systems", "experiment.doc2vec_weights(run, live=True)"),
    "query2label": (
        "Query2Label, which writes the labels of corpora that withhold theirs",
        "experiment.label_generator(run, live=True)",
    ),
}
#: Metric and k of the test table; both directions of each.
SHOWN = (("recall", "1"), ("recall", "10"), ("map", "10"), ("map", "N"))


def write(run: Run, names: Sequence[str], folder: Path) -> list[Path]:
    """Paths of the cards of weights trained in a run, ``<folder>/<name>.md``, and of their list, ``README.md``.

    Raises
    ------
    InputError
        As `card`. No card is written then.
    """
    cards = {folder / f"{name}.md": card(run, name) for name in names}
    cards[folder / "README.md"] = contents(run, names)
    for path, text in cards.items():
        write_text(path, text)
    return list(cards)


def card(run: Run, name: str) -> str:
    """The card of ``models/{name}.safetensors`` as markdown.

    Raises
    ------
    InputError
        The file is missing, foreign or shipped itself; it was trained with other settings or other code than those of
        the run; or its log is missing or not of this training.
    """
    path = run.path("models", f"{name}.safetensors")
    header = read_metadata(path)
    if header.get("origin") != "trained" or "settings" not in header:
        raise InputError(f"{path} was not trained in this run; train it (notebooks 01, 02 and 03) before it ships")
    settings = header["settings"]
    _check(run, name, header)
    log = _log(run, name, settings.get("epochs")) if "model" in settings else []
    title, made = _title(name, settings)
    lines = [f"# {title[0].upper()}{title[1:]}", "", "| | |", "| --- | --- |"]
    lines += [f"| {key} | {value} |" for key, value in _facts(run, name, path, header, log).items()]
    if "system" in settings:
        lines += ["", "## What it is, and what differs from the original", "", _told(settings["system"])]
        lines += ["", "## Test split", "", *_measured(run, settings["system"], name.partition("__")[2])]
    lines += ["", "## Make it again", "", "```python", "import fico_utils", "from fico_utils import experiment", ""]
    lines += [_setup(run), made, "```", "", "## Configuration", "", "```json", json.dumps(settings, indent=1), "```"]
    return "\n".join(lines) + "\n"


def contents(run: Run, names: Sequence[str]) -> str:
    """The list of all weights trained in a run, as markdown: how large, how long trained, how good on validation."""
    head = ["weights", "MiB", "epochs", "minutes", "validation"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    spent, threads = 0.0, set()
    for name in names:
        path = run.path("models", f"{name}.safetensors")
        header, size = read_metadata(path), path.stat().st_size / 2**20
        settings = header["settings"]
        cells = ["–"] * 3
        if "model" in settings:
            log = _log(run, name, settings["epochs"])
            seconds = sum(row["seconds"] for row in log)
            cells = [f"{len(log)}", f"{seconds / 60:.1f}", f"{max(row['score'] for row in log):.3f}"]
            spent += seconds
            threads.add(header["threads"])
        lines.append(f"| [{_title(name, settings)[0]}]({name}.md) | {size:.2f} | {' | '.join(cells)} |")
    return "\n".join(
        [
            f"# Weights trained by profile {run.profile}, seed {run.seed}",
            "",
            f"Minutes are of one training with its validation, on {_threads(*sorted(threads))}; together "
            f"{spent / 60:.0f}. Validation is the mean of R@1, R@5 and R@10 of both directions, of "
            f"Query2Label the micro F1 of its labels. A card says the rest.",
            "",
            *lines,
            "",
        ]
    )


def _threads(*counts: int) -> str:
    return "1 CPU thread" if counts == (1,) else f"{' or '.join(map(str, counts))} CPU threads"


# ------------------------------------------------------------------------------------------- parts of a card


def _check(run: Run, name: str, header: dict[str, Any]) -> None:
    """Refuse a system's weights that the run, as it is configured and written now, would train anew."""
    if "system" not in header["settings"]:
        return
    from fico_utils.experiment.systems import spec

    own = spec(run, *name.split("__", 1))
    if header.get("key") != key_of(own[0], own[1], source_key(*own[2])):
        raise InputError(
            f"models/{name} was trained with other settings, data or code than profile {run.profile} has now; "
            f"train it again before it ships"
        )


def _log(run: Run, name: str, epochs: int) -> list[dict[str, float]]:
    """Rows of the training log; InputError where it is missing or has another number of epochs."""
    path = run.path("models", name, "log.csv")
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected the log of {name}'s training: train it again in this run")
    log = read_log(path)
    if len(log) != epochs:
        raise InputError(f"{path} holds {len(log)} epochs, but {name} was trained for {epochs}; train it again")
    return log


def _title(name: str, settings: dict[str, Any]) -> tuple[str, str]:
    """What the file holds, and the call that makes it again."""
    piece, _, corpus = name.partition("__")
    if "system" in settings:
        return f"{registry.system(piece).name} on {corpus}", f'experiment.train(run, "{piece}", "{corpus}")'
    title, made = SHARED[piece]
    return (f"{title}, on {corpus}", f'{made[:-1]}, name="{corpus}")') if corpus else (title, made)


def _told(system: str) -> str:
    """What the head of a model's file says: how it works, what was scaled down, what was changed on purpose."""
    from fico_utils.models import model_class

    return inspect.getdoc(sys.modules[model_class(system).__module__]) or ""


def _facts(run: Run, name: str, path: Path, header: dict[str, Any], log: list[dict]) -> dict[str, str]:
    settings, arrays = header["settings"], read_arrays(path)
    corpus, size = name.partition("__")[2], sum(a.nbytes for a in arrays.values())
    numbers = sum(a.size for a in arrays.values())
    kinds = ", ".join(sorted({str(a.dtype) for a in arrays.values()}))
    facts = {"file": f"`{name}.safetensors`, {size / 2**20:.2f} MiB, {kinds}; SHA-256 `{sha256_file(path)}`"}
    facts["parameters"] = f"{numbers:,} numbers in {len(arrays)} arrays".replace(",", " ")
    if "system" in settings:
        rows = [s.name for s in registry.SYSTEMS.values() if s.trained == settings["system"]]
        facts["serves"] = ", ".join(rows)
        used = (corpora.training_split(run, settings["system"], corpus), "val", "test")
        counts = [f"{corpora.size(run, corpus, split)} {split}" for split in used]
        facts["corpus"] = f"{corpus}: {', '.join(counts)} images; keys of the training data `{settings['train']}`"
    facts["profile, seed"] = f"{run.profile}, {settings.get('seed', run.seed)}"
    if log:
        best = max(log, key=lambda row: row["score"])  # the first of equals, as training keeps it
        minutes = sum(row["seconds"] for row in log) / 60
        facts["training"] = (
            f"{len(log)} epochs, {minutes:.1f} minutes with validation, {_threads(header['threads'])}; "
            f"loss {log[0]['loss']:.4g} in the first epoch, {log[-1]['loss']:.4g} in the last"
        )
        measure = "mean of R@1, R@5 and R@10, both directions" if "system" in settings else "micro F1 of the labels"
        facts["validation"] = f"{best['score']:.4f} ({measure}) after epoch {best['epoch']:.0f}, which is kept"
    facts["code"] = f"commit {header['commit']}"
    facts["key"] = f"`{header['key']}`"
    return facts


def _measured(run: Run, system: str, corpus: str) -> list[str]:
    """The test table of every row of the paper that the weights serve, or a sentence that nothing was measured."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    path = run.path("metrics.csv")
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if (row["source"], row["corpus"], row["split"], row["run"]) == ("ours", corpus, "test", run.run_id):
                    found[row["system"], row["direction"], row["metric"], row["k"]] = row
    rows = [s for s in registry.SYSTEMS.values() if s.trained == system]
    if not any((s.id, "t2i", "recall", "1") in found for s in rows):
        return ["Not measured in this run; notebook 04 measures it."]
    columns = [(d, metric, k) for metric, k in SHOWN for d in ("i2t", "t2i")]
    printed = {"recall": "R", "map": "mAP"}
    head = ["system", *(f"{printed[metric]}@{k} {d}" for d, metric, k in columns)]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for s in rows:
        cells = [_cell(found.get((s.id, *column))) for column in columns]
        lines.append(f"| {s.name} | {' | '.join(cells)} |")
    return [*lines, "", "Fractions, 0 to 1; in brackets 95 % bootstrap intervals over the test images."]


def _cell(row: dict[str, str] | None) -> str:
    if row is None:
        return "not measured"
    if row["status"] != "ok":
        return row["status"]
    limits = [float(row[n]) for n in ("ci_low", "ci_high") if row[n]]
    interval = f" [{limits[0]:.3f}, {limits[1]:.3f}]" if len(limits) == 2 else ""
    return f"{float(row['value']):.3f}{interval}"


def _setup(run: Run) -> str:
    """The line that sets up a run of the same settings in a folder of its own."""
    default = profile_settings(run.profile)
    changed = {k: v for k, v in run.settings.items() if k not in ("profile", "seed", "out_dir") and v != default[k]}
    own = "".join(f", {name}={value!r}" for name, value in changed.items())
    return f'run = fico_utils.setup("{run.profile}", seed={run.seed}, out_dir="again"{own})'
