"""Labels: by which queries are judged at category level and supervised systems are trained, and who writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fico_utils import registry
from fico_utils.artifacts import Recipe
from fico_utils.errors import InputError
from fico_utils.experiment.corpora import corpus, part
from fico_utils.experiment.features import PRETRAINING, backbone_weights, visual
from fico_utils.experiment.weights import Weights, train_model, whole_shipped
from fico_utils.files import key_of, read_arrays
from fico_utils.models.originals import require_known
from fico_utils.provenance import SHIPPED
from fico_utils.workspace import Run

if TYPE_CHECKING:
    from fico_utils.models.query2label import Query2Label


def given_labels(name: str) -> Path | None:
    """File of the labels by which a corpus is judged that withholds its own, where they ship; InputError if damaged."""
    return whole_shipped(SHIPPED / f"labels__{name}.safetensors")


def labels(run: Run, name: str, split: str, required: bool = True) -> np.ndarray | None:
    """Multi-hot labels (n_img, n_labels) uint8 by which a split is trained on and judged at category level.

    Given with the corpus. A corpus that withholds its own (picto_people, as Flickr30K does in the paper) is judged by
    labels that a label generator wrote once: they ship as data, so that no machine judges by other ones. The true
    labels stay with the corpus, to measure what that costs, and `written_labels` writes them anew.

    InputError where the corpus has no labels and they are `required` (otherwise None stands for them: no category
    level), or where more scenes are asked for than labels ship for.
    """
    own = part(run, name, split)
    if own.labels is None and not required:
        return None
    if own.labels is None:
        raise InputError(
            f"corpus {name!r} has no labels; a supervised system needs them, and so does the category level: add "
            "labels.csv to its folder (of flickr30k: set flickr30k_labels), or leave it out"
        )
    if not registry.corpus(name).generated:
        return own.labels
    path = given_labels(name)
    if path is None:
        return written_labels(run, name, split)
    kept = read_arrays(path)
    if split not in kept or len(kept[split]) < own.n_img:
        raise InputError(
            f"labels of {name} ship for {', '.join(f'{len(a)} {s}' for s, a in kept.items())} scenes, and "
            f"{own.n_img} of {split} were asked for; ask for fewer, or judge by the true labels of the corpus"
        )
    return np.unpackbits(kept[split][: own.n_img], axis=1, count=own.labels.shape[1])


def written_labels(run: Run, name: str, split: str) -> np.ndarray:
    """Multi-hot labels (n_img, n_labels) uint8 that this run's label generator writes: a second judge."""
    from fico_utils.models.query2label import labels_above

    model, threshold, weights = label_generator(run)
    patches = backbone_weights(run, "patches").digest
    recipe = Recipe("labels", {"threshold": threshold}, 0, (part(run, name, split).key, patches, weights.digest))
    write = lambda: {"labels": labels_above(_label_scores(run, model, name, split), threshold)}  # noqa: E731
    return run.store.arrays("features", f"{name}__{split}__labels", recipe, write)["labels"]


def label_generator(run: Run, live: bool = False) -> tuple[Query2Label, float, Weights]:
    """Query2Label, trained on the corpus whose labels are given; the threshold that validation chose; its weights.

    `live` is as in `backbone_weights`.
    """
    import torch

    from fico_utils.data.features import WIDTH
    from fico_utils.models.query2label import Query2Label, Query2LabelConfig, best_threshold, micro_f1
    from fico_utils.models.training import Inputs

    train, val = (part(run, PRETRAINING, split) for split in ("train", "val"))
    patches, n_labels = backbone_weights(run, "patches").digest, len(corpus(run, PRETRAINING).label_names)
    torch.manual_seed(run.seed)
    sizes = run["sizes"].get("query2label", {})
    require_known("query2label", sizes.get("original", False))
    model = Query2Label(Query2LabelConfig(WIDTH, n_labels, **sizes))

    def validate(trained: Query2Label) -> float:
        scores = _label_scores(run, trained, PRETRAINING, "val")
        return micro_f1(scores >= best_threshold(scores, val.labels), val.labels)

    def prepare() -> tuple[Inputs, Callable[[Query2Label], float]]:
        image = {**visual(run, PRETRAINING, "train", "patches"), "labels": train.labels}
        return Inputs(image, {}, train.caption_image, key_of(train.key, patches)), validate

    def choose() -> list[dict[str, float]]:
        return [{"threshold": best_threshold(_label_scores(run, model, PRETRAINING, "val"), val.labels)}]

    settings = {"model": model.settings, "epochs": run["epochs"]["query2label"]}
    recipe = Recipe("query2label", settings, run.seed, (train.key, patches))
    weights = train_model(run, "query2label", recipe, model, prepare, "Query2Label", live)
    weights.load_into(model)
    chosen = Recipe("labels", {"chosen": "threshold"}, 0, (val.key, patches, weights.digest))
    return model, run.store.records("features", "query2label__threshold", chosen, choose)[0]["threshold"], weights


def _label_scores(run: Run, model: Query2Label, name: str, split: str) -> np.ndarray:
    """Scores (n_img, n_labels) in [0, 1] of a split."""
    from fico_utils.models.encoding import encode_side

    logits = encode_side(model.encode_image, visual(run, name, split, "patches")["patches"])
    return 1 / (1 + np.exp(-logits.astype(np.float64)))
