"""What systems read: corpora in the sizes of a profile, image and text features, labels; made once, kept by content."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fico_utils import registry
from fico_utils.data.corpus import Corpus
from fico_utils.data.text import Vocabulary
from fico_utils.errors import InputError
from fico_utils.experiment.weights import content, weights
from fico_utils.workspace import Run, key_of

if TYPE_CHECKING:
    from fico_utils.data.features import Backbone
    from fico_utils.models.query2label import Query2Label
    from fico_utils.models.training import Inputs

#: The corpus that teaches the feature extractors of every corpus, as theirs learned elsewhere than on the paper's two.
PRETRAINING = "picto_diverse"
SPLITS = ("train", "val", "test")
#: Rewritings of each training caption that ADV reads: with the same meaning, and with one thing wrong.
REWRITINGS = {"rephrased": 2, "adversarial": 4}


# ------------------------------------------------------------------------------------------------- corpora


def corpus(run: Run, name: str) -> Corpus:
    """A corpus in the sizes of the run's profile, all splits.

    Raises
    ------
    InputError
        Unknown corpus, or one the profile gives no sizes for.
    """
    registry.corpus(name)
    sizes = tuple((split, run[f"n_{split}"].get(name)) for split in SPLITS)
    if any(n is None for _, n in sizes):
        raise InputError(
            f"profile {run.profile} gives no size for corpus {name!r}; add it to n_train, n_val and n_test"
        )
    return _corpus(name, sizes)


@lru_cache(maxsize=8)
def _corpus(name: str, sizes: tuple[tuple[str, int], ...]) -> Corpus:
    from fico_utils.data.pictoscenes import make_corpus

    return make_corpus(name, dict(sizes))


# ------------------------------------------------------------------------------------------------ features


def backbone(run: Run, live: bool = False) -> Backbone:
    """The convolutional backbone of this run; its weights are ``models/backbone.safetensors``.

    Parameters
    ----------
    live : bool, train it where this run has not; otherwise shipped weights serve where they match.
    """
    import torch

    from fico_utils.data.features import CLASSES, Backbone, scene_targets, train_backbone

    source = corpus(run, PRETRAINING).subset("train")
    epochs = run["backbone_epochs"]

    def build() -> dict[str, np.ndarray]:
        model, log = train_backbone(source.images, scene_targets(source.scenes), CLASSES, seed=run.seed, epochs=epochs)
        print(f"backbone: loss {log[0]['loss']:.2f} after the first epoch, {log[-1]['loss']:.2f} after the last")
        return {n: t.numpy() for n, t in model.state_dict().items()}

    settings = {"classes": CLASSES, "epochs": epochs, "corpus": source.key, "seed": run.seed}
    arrays = weights(run, "backbone", settings, ("data/features.py",), build, live)
    model = Backbone(CLASSES)
    model.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()})
    return model.eval()


def visual(run: Run, name: str, split: str) -> dict[str, np.ndarray]:
    """Image features of a split: ``regions`` (n_img, 36, D) and ``global`` (n_img, 2 D), float16."""
    from fico_utils.data.features import visual_features

    part, model = corpus(run, name).subset(split), backbone(run)
    return run.cached(
        run.path("features", f"{name}__{split}__visual.safetensors"),
        key_of(part.key, content(run, "backbone")),
        lambda: visual_features(model, part.images),
    )


@lru_cache(maxsize=4)
def _vocabulary(captions: tuple[str, ...]) -> Vocabulary:
    return Vocabulary(captions)


def vocabulary(run: Run, name: str) -> Vocabulary:
    """The vocabulary of a corpus, from its training captions."""
    return _vocabulary(tuple(corpus(run, name).subset("train").captions))


def doc2vec_weights(run: Run, live: bool = False) -> dict[str, np.ndarray]:
    """Weights of this run's Doc2Vec, ``models/doc2vec.safetensors``; `live` as in `backbone`."""
    from fico_utils.data.text import train_doc2vec

    source, epochs = corpus(run, PRETRAINING).subset("train"), run["doc2vec_epochs"]
    settings = {"corpus": source.key, "epochs": epochs, "seed": run.seed}
    return weights(
        run,
        "doc2vec",
        settings,
        ("data/text.py",),
        lambda: train_doc2vec(source.captions, seed=run.seed, epochs=epochs),
        live,
    )


def doc2vec(run: Run, name: str, split: str) -> np.ndarray:
    """Doc2Vec vectors (n_txt, 300) float32 of a split's captions."""
    from fico_utils.data.text import doc2vec as infer

    part = corpus(run, name).subset(split)
    trained, epochs = doc2vec_weights(run), run["doc2vec_epochs"]
    return run.cached(
        run.path("features", f"{name}__{split}__doc2vec.safetensors"),
        key_of(part.key, content(run, "doc2vec"), epochs),
        lambda: {"doc2vec": infer(trained, part.captions, seed=run.seed, epochs=epochs, workers=run["threads"])},
    )["doc2vec"]


def inputs(run: Run, system: str, name: str, split: str) -> Inputs:
    """What a system reads of a split: its image and text features and, of the training split, what only training reads.

    Raises
    ------
    InputError
        A supervised system on a corpus without labels.
    """
    from fico_utils.models import model_class
    from fico_utils.models.training import Inputs

    model, part = model_class(system), corpus(run, name).subset(split)
    words = vocabulary(run, name)
    text = {"tokens": words.encode(part.captions)} if model.text_input == "tokens" else {}
    if model.text_input == "doc2vec":
        text["doc2vec"] = doc2vec(run, name, split)
    image = {model.image_input: visual(run, name, split)[model.image_input]}
    if split == "train":
        for extra in model.text_extra:
            text[extra] = _rewritten(extra, part.captions, words, run.seed)
        for _ in model.image_extra:
            image["labels"] = labels(run, name, split)
    key = key_of(part.key, feature_keys(run, system, name))
    return Inputs(image, text, part.caption_image, key)


def _rewritten(kind: str, captions: list[str], words: Vocabulary, seed: int) -> np.ndarray:
    """Token ids (n_txt, n, L) of captions rewritten n times, ``rephrased`` or ``adversarial``."""
    from fico_utils.data import rewriting

    n = REWRITINGS[kind]
    flat = [c for row in getattr(rewriting, kind)(captions, n, seed) for c in row]
    return words.encode(flat).reshape(len(captions), n, -1)


def labels(run: Run, name: str, split: str) -> np.ndarray:
    """Multi-hot labels (n_img, n_labels) uint8 by which a split is trained on and judged at category level.

    Given with the corpus, or written by the label generator where the corpus withholds its own (picto_people, as the
    paper does with Flickr30K); the true ones stay with the corpus, to measure what that costs.

    Raises
    ------
    InputError
        The corpus has no labels.
    """
    from fico_utils.models.query2label import written

    part = corpus(run, name).subset(split)
    if part.labels is None:
        raise InputError(f"corpus {name!r} has no labels; a supervised system needs them: add labels, or leave it out")
    if not registry.corpus(name).generated:
        return part.labels
    model, threshold = label_generator(run)
    return run.cached(
        run.path("features", f"{name}__{split}__labels.safetensors"),
        key_of(part.key, content(run, "backbone"), content(run, "query2label"), threshold),
        lambda: {"labels": written(_label_scores(run, model, name, split), threshold)},
    )["labels"]


def label_generator(run: Run, live: bool = False) -> tuple[Query2Label, float]:
    """Query2Label, trained on the corpus whose labels are given, and the threshold that its validation split chose.

    Parameters
    ----------
    live : bool, as in `backbone`.
    """
    import torch

    from fico_utils.data.features import WIDTH
    from fico_utils.models.query2label import Query2Label, Query2LabelConfig, best_threshold, micro_f1
    from fico_utils.models.training import Inputs, fit

    backbone(run)
    known, epochs = corpus(run, PRETRAINING), run["epochs"]["query2label"]
    split = known.subset("train")
    torch.manual_seed(run.seed)
    model = Query2Label(Query2LabelConfig(WIDTH, len(known.label_names), **run["sizes"].get("query2label", {})))
    true = known.subset("val").labels

    def build() -> dict[str, np.ndarray]:
        image = {"regions": visual(run, PRETRAINING, "train")["regions"], "labels": split.labels}
        train = Inputs(image, {}, split.caption_image, key_of(split.key, content(run, "backbone")))

        def validate(trained: Query2Label) -> float:
            scores = _label_scores(run, trained, PRETRAINING, "val")
            return micro_f1(scores >= best_threshold(scores, true), true)

        folder = run.path("models", "query2label")
        fit(model, train, seed=run.seed, epochs=epochs, validate=validate, folder=folder, label="Query2Label")
        return {n: t.numpy() for n, t in model.weights().items()}

    settings = {
        "model": model.settings,
        "epochs": epochs,
        "seed": run.seed,
        "train": [split.key, content(run, "backbone")],
    }
    sources = ("models/blocks.py", "models/training.py", "models/query2label.py")
    arrays = weights(run, "query2label", settings, sources, build, live)
    model.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()})
    return model.eval(), best_threshold(_label_scores(run, model, PRETRAINING, "val"), true)


def _label_scores(run: Run, model: Query2Label, name: str, split: str) -> np.ndarray:
    """Scores (n_img, n_labels) in [0, 1] of a split."""
    from fico_utils.models.encoding import encode_side

    logits = encode_side(model.encode_image, visual(run, name, split)["regions"])
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def feature_keys(run: Run, system: str, name: str) -> list[str]:
    """What a system's features were made with: the backbone, the vocabulary or Doc2Vec, and generated labels."""
    from fico_utils.models import model_class

    cls = model_class(system)
    backbone(run)
    keys = [content(run, "backbone")]
    if cls.text_input == "tokens":
        keys.append(key_of(vocabulary(run, name).words))
    else:
        doc2vec_weights(run)
        keys += [content(run, "doc2vec"), str(run["doc2vec_epochs"])]
    if cls.image_extra and registry.corpus(name).generated:
        label_generator(run)
        keys.append(content(run, "query2label"))
    return keys
