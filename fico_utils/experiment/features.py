"""What systems read: image and text features, and labels; made once, kept by content."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fico_utils import registry
from fico_utils.data.pictures import file_images
from fico_utils.data.text import Vocabulary
from fico_utils.errors import InputError
from fico_utils.experiment.corpora import corpus, first_scenes, info_of, part, regions_of, training_split
from fico_utils.experiment.weights import backbone_name, content, load, weights
from fico_utils.workspace import Run, key_of, source_key

if TYPE_CHECKING:
    from fico_utils.data.features import Backbone
    from fico_utils.models.query2label import Query2Label
    from fico_utils.models.training import Inputs

#: The corpus that teaches the feature extractors of every corpus, as theirs learned elsewhere than on the paper's two.
PRETRAINING = "picto_diverse"
#: Rewritings of each training caption that ADV reads: with the same meaning, and with one thing wrong.
REWRITINGS = {"rephrased": 2, "adversarial": 4}


# ------------------------------------------------------------------------------------------------ features


def backbone(run: Run, live: bool = False, kind: str = "regions") -> Backbone:
    """A convolutional backbone of this run; its weights lie below ``models/``, see `backbone_name`.

    Parameters
    ----------
    live : bool, train it where this run has not; otherwise shipped weights serve where they match.
    kind : str, ``regions`` or ``patches``, see `backbone_name`.
    """
    import torch

    from fico_utils.data.features import CLASSES, Backbone, scene_targets, train_backbone

    epochs, n_scenes = run["backbones"][kind]["epochs"], run["backbones"][kind]["scenes"]
    name = backbone_name(run, kind)

    def build() -> dict[str, np.ndarray]:
        source = first_scenes(PRETRAINING, n_scenes)
        model, log = train_backbone(source.images, scene_targets(source.scenes), CLASSES, seed=run.seed, epochs=epochs)
        print(f"{name}: loss {log[0]['loss']:.2f} after the first epoch, {log[-1]['loss']:.2f} after the last")
        return {n: t.numpy() for n, t in model.state_dict().items()}

    # Named, not hashed: drawing all scenes to say which they are would take seconds in every notebook.
    scenes = f"{PRETRAINING}, the first {n_scenes} training scenes"
    settings = {"classes": CLASSES, "epochs": epochs, "corpus": scenes, "seed": run.seed}
    arrays = weights(run, name, settings, ("data/features.py",), build, live)
    model = Backbone(CLASSES)
    model.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()})
    return model.eval()


def visual(run: Run, name: str, split: str, kind: str = "regions") -> dict[str, np.ndarray]:
    """Image features of a split, from the backbone of a kind.

    Of a corpus that is not drawn they come from the same backbones, which have seen drawn scenes alone and serve
    photographs as they are; or, with ``visual_features: scan_arrays``, from the arrays, whose regions stay mapped.

    Parameters
    ----------
    kind : str, ``regions`` or ``patches``.

    Returns
    -------
    dict of ndarray: ``regions`` (n_img, R, D) and their ``global`` (n_img, 2 D), or ``patches`` (n_img, R, D).
    """
    from fico_utils.data.features import SIDE, visual_features
    from fico_utils.data.library import global_of

    whole, arrays, made = corpus(run, name), regions_of(run, name), backbone_name(run, kind)
    if kind == "patches" and (arrays is not None or made == backbone_name(run, "regions")):
        return {"patches": visual(run, name, split)["regions"]}
    path = run.path("features", f"{name}__{split}__{'visual' if kind == 'regions' else kind}.safetensors")
    own, key = part(run, name, split), visual_keys(run, name, kind)
    if arrays is not None:
        found = run.cached(path, key_of(own.key, *key), lambda: {"global": global_of(arrays[split])})
        return {"regions": arrays[split], **found}
    if whole.images.shape[1:3] != (SIDE, SIDE):
        raise InputError(
            f"pictures of {name} are brought to {whole.images.shape[1]} x {whole.images.shape[2]} pixels and the "
            f"backbone reads {SIDE} x {SIDE}; set image_size={SIDE}"
        )
    model = backbone(run, kind=kind)

    def extract() -> dict[str, np.ndarray]:
        found = visual_features(model, own.images)
        return found if kind == "regions" else {"patches": found["regions"]}

    return run.cached(path, key_of(own.key, *key), extract)


def _kind(image_input: str) -> str:
    """Which backbone an image input comes from."""
    return "patches" if image_input == "patches" else "regions"


def widths(run: Run, name: str) -> tuple[int, int]:
    """Width of a region vector and of the global vector of a corpus's image features."""
    from fico_utils.data.features import WIDTH

    regions = regions_of(run, name)
    width = WIDTH if regions is None else next(iter(regions.values())).shape[-1]
    return width, 2 * width


def visual_keys(run: Run, name: str, kind: str = "regions") -> list[str]:
    """What the image features of a corpus were made with: the backbone and the picture files, or the arrays."""
    if regions_of(run, name) is not None:
        return [_arrays_key(run, name)]
    backbone(run, kind=kind)
    made = [content(run, backbone_name(run, kind))]
    return made if info_of(run, name).kind == "drawn" else [*made, file_images(corpus(run, name))[0].key]


def _arrays_key(run: Run, name: str) -> str:
    """Key of mapped arrays: shapes, and 256 rows of each, evenly spread, as reading all would take minutes."""
    parts = []
    for split, array in regions_of(run, name).items():
        rows = array[np.unique(np.linspace(0, len(array) - 1, 256).astype(int))]
        parts.append((split, array.shape, str(array.dtype), hashlib.sha256(rows.tobytes()).hexdigest()))
    return key_of(parts)


@lru_cache(maxsize=4)
def _vocabulary(captions: tuple[str, ...]) -> Vocabulary:
    return Vocabulary(captions)


def vocabulary(run: Run, name: str) -> Vocabulary:
    """The vocabulary of a corpus, from its training captions."""
    return _vocabulary(tuple(corpus(run, name).subset("train").captions))


def doc2vec_weights(run: Run, live: bool = False, name: str = PRETRAINING) -> dict[str, np.ndarray]:
    """Weights of this run's Doc2Vec, ``models/doc2vec.safetensors``; `live` as in `backbone`.

    Parameters
    ----------
    name : str, the corpus whose captions it shall read. All drawn ones share one; people's own words need their own,
        ``models/doc2vec__{name}.safetensors``, which learns from the corpus's training captions.
    """
    from fico_utils.data.text import train_doc2vec

    file = doc2vec_file(run, name)
    source = corpus(run, PRETRAINING if file == "doc2vec" else name).subset("train")
    epochs = run["doc2vec_epochs"]
    settings = {"corpus": source.content_key, "epochs": epochs, "seed": run.seed}
    return weights(
        run,
        file,
        settings,
        ("data/text.py",),
        lambda: train_doc2vec(source.captions, seed=run.seed, epochs=epochs),
        live,
    )


def doc2vec_file(run: Run, name: str) -> str:
    """Name of the weights of the Doc2Vec that reads a corpus's captions."""
    return "doc2vec" if info_of(run, name).kind == "drawn" else f"doc2vec__{name}"


def doc2vec(run: Run, name: str, split: str) -> np.ndarray:
    """Doc2Vec vectors (n_txt, 300) float32 of a split's captions."""
    from fico_utils.data.text import doc2vec as infer

    own = part(run, name, split)
    trained, epochs = doc2vec_weights(run, name=name), run["doc2vec_epochs"]
    return run.cached(
        run.path("features", f"{name}__{split}__doc2vec.safetensors"),
        key_of(own.key, content(run, doc2vec_file(run, name)), epochs),
        lambda: {"doc2vec": infer(trained, own.captions, seed=run.seed, epochs=epochs, workers=run["threads"])},
    )["doc2vec"]


def inputs(run: Run, system: str, name: str, split: str) -> Inputs:
    """What a system reads of a split: its image and text features and, of the training split, what only training reads.

    Its training split is that of `training_split`.

    Raises
    ------
    InputError
        A supervised system on a corpus without labels.
    """
    if system in registry.CONFIGURED:
        from fico_utils.models.pretrained_corpus import model_of

        return model_of(run["pretrained"], system).inputs(corpus(run, name).subset(split))

    from fico_utils.models import model_class
    from fico_utils.models.training import Inputs

    used = training_split(run, system, name) if split == "train" else split
    model, own = model_class(system), part(run, name, used)
    words = vocabulary(run, name)
    text = {"tokens": words.encode(own.captions)} if model.text_input == "tokens" else {}
    if model.text_input == "doc2vec":
        text["doc2vec"] = doc2vec(run, name, split)
    image = {model.image_input: visual(run, name, used, _kind(model.image_input))[model.image_input]}
    if split == "train":
        for extra in model.text_extra:
            text[extra] = _rewritten(extra, own.captions, words, run.seed)
        for _ in model.image_extra:
            image["labels"] = labels(run, name, split)
    key = key_of(own.key, feature_keys(run, system, name))
    return Inputs(image, text, own.caption_image, key)


def _rewritten(kind: str, captions: list[str], words: Vocabulary, seed: int) -> np.ndarray:
    """Token ids (n_txt, n, L) of captions rewritten n times, ``rephrased`` or ``adversarial``."""
    from fico_utils.data import rewriting

    n = REWRITINGS[kind]
    flat = [c for row in getattr(rewriting, kind)(captions, n, seed) for c in row]
    return words.encode(flat).reshape(len(captions), n, -1)


def labels(run: Run, name: str, split: str, required: bool = True) -> np.ndarray | None:
    """Multi-hot labels (n_img, n_labels) uint8 by which a split is trained on and judged at category level.

    Given with the corpus, or written by the label generator where the corpus withholds its own (picto_people, as the
    paper does with Flickr30K); the true ones stay with the corpus, to measure what that costs.

    Parameters
    ----------
    required : bool, refuse a corpus without labels; otherwise None stands for them: no category level.

    Raises
    ------
    InputError
        The corpus has no labels, and they are required.
    """
    from fico_utils.models.query2label import written

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
    model, threshold = label_generator(run)
    return run.cached(
        run.path("features", f"{name}__{split}__labels.safetensors"),
        key_of(own.key, content(run, backbone_name(run, "patches")), content(run, "query2label"), threshold),
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

    backbone(run, kind="patches")
    read = content(run, backbone_name(run, "patches"))
    known, epochs = corpus(run, PRETRAINING), run["epochs"]["query2label"]
    split = known.subset("train")
    torch.manual_seed(run.seed)
    model = Query2Label(Query2LabelConfig(WIDTH, len(known.label_names), **run["sizes"].get("query2label", {})))
    true = known.subset("val").labels

    sources = ("models/blocks.py", "models/training.py", "models/query2label.py")

    def build() -> dict[str, np.ndarray]:
        image = {**visual(run, PRETRAINING, "train", "patches"), "labels": split.labels}
        train = Inputs(image, {}, split.caption_image, key_of(split.key, read, source_key(*sources)))

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
        "train": [split.content_key, read],
    }
    arrays = weights(run, "query2label", settings, sources, build, live)
    load(model, arrays, "query2label")
    return model.eval(), best_threshold(_label_scores(run, model, PRETRAINING, "val"), true)


def _label_scores(run: Run, model: Query2Label, name: str, split: str) -> np.ndarray:
    """Scores (n_img, n_labels) in [0, 1] of a split."""
    from fico_utils.models.encoding import encode_side

    logits = encode_side(model.encode_image, visual(run, name, split, "patches")["patches"])
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def feature_keys(run: Run, system: str, name: str) -> list[str]:
    """What a system's features were made with: the backbone, the vocabulary or Doc2Vec, and generated labels."""
    from fico_utils.models import model_class

    cls = model_class(system)
    keys = visual_keys(run, name, _kind(cls.image_input))
    if cls.text_input == "tokens":
        keys.append(key_of(vocabulary(run, name).words))
    else:
        doc2vec_weights(run, name=name)
        keys += [content(run, doc2vec_file(run, name)), str(run["doc2vec_epochs"])]
    if cls.image_extra and registry.corpus(name).generated:
        label_generator(run)
        keys.append(content(run, "query2label"))
    return keys
