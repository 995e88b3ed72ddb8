"""Features of images and captions: made once, and kept in the run's store by their recipes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.artifacts import Recipe, read_artefact
from fico_utils.data.pictoscenes import drawn_corpus
from fico_utils.data.text import Vocabulary
from fico_utils.errors import InputError
from fico_utils.experiment.corpora import corpus, info_of, part, regions_of
from fico_utils.experiment.weights import Weights, backbone_name, shipped_file, train_weights
from fico_utils.files import key_of
from fico_utils.workspace import Run

if TYPE_CHECKING:
    from fico_utils.data.features import Backbone

#: The corpus that teaches the feature extractors of every corpus, as theirs learned elsewhere than on the paper's two.
PRETRAINING = "picto_diverse"
#: Where words come from: the corpus's own vocabulary; or, of vision-language rows, a pretrained tower; or, swapped, of
#: SCAN and IMRAM alone, so that it shows what a row owes to the words that it was given.
TEXTUAL = ("vocabulary", "towers", "swapped")


def backbone_weights(run: Run, kind: str = "regions", live: bool = False) -> Weights:
    """Weights of the convolutional backbone of a kind, ``regions`` or ``patches``, see `backbone_name`.

    With `live` it is trained where this run has not; otherwise shipped weights serve where their recipe matches.
    """
    from fico_utils.data.features import CLASSES, scene_targets, train_backbone

    epochs = run["backbones"][kind]["epochs"]
    source = drawn_corpus(PRETRAINING, train=run["backbones"][kind]["scenes"])

    def build() -> tuple[dict[str, np.ndarray], list[dict]]:
        model, log = train_backbone(source.images, scene_targets(source.scenes), seed=run.seed, epochs=epochs)
        return {n: t.numpy() for n, t in model.state_dict().items()}, log

    recipe = Recipe("backbone", {"classes": CLASSES, "epochs": epochs}, run.seed, (source.key,))
    return train_weights(run, backbone_name(run, kind), recipe, build, live)


def backbone(run: Run, live: bool = False, kind: str = "regions") -> Backbone:
    """A convolutional backbone of this run, ready to encode; parameters as of `backbone_weights`."""
    import torch

    from fico_utils.data.features import Backbone

    model = Backbone()
    arrays = backbone_weights(run, kind, live).arrays()
    model.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()})
    return model.eval()


def visual(run: Run, name: str, split: str, kind: str = "regions") -> dict[str, np.ndarray]:
    """Image features of a split, from the backbone of a kind, ``regions`` or ``patches``.

    Of a corpus that is not drawn they come from the same backbones, which have seen drawn scenes alone and serve
    photographs as they are; or, with ``visual_features: scan_arrays``, from the arrays, whose regions stay mapped; or,
    with ``towers``, from a pretrained tower, whose regions are its patches in fewer numbers.

    Returns
    -------
    dict of ndarray: ``regions`` (n_img, R, D) and their ``global`` (n_img, 2 D), or ``patches`` (n_img, R, D).
    """
    from fico_utils.data.features import SIDE, global_features, visual_features

    arrays = regions_of(run, name)
    if tower := towers_of(run, name, "visual"):
        return tower.pictures(name, split) if kind == "patches" else tower.regions(name, split)
    if kind == "patches" and (arrays is not None or backbone_name(run, "patches") == backbone_name(run, "regions")):
        return {"patches": visual(run, name, split)["regions"]}

    def extract() -> dict[str, np.ndarray]:
        if arrays is not None:
            return {"global": global_features(arrays[split])}
        images = part(run, name, split).images
        if images.shape[1:3] != (SIDE, SIDE):
            raise InputError(
                f"pictures of {name} are brought to {images.shape[1]} x {images.shape[2]} pixels and the backbone "
                f"reads {SIDE} x {SIDE}; set image_size={SIDE}"
            )
        features = visual_features(backbone(run, kind=kind), images)
        return features if kind == "regions" else {"patches": features["regions"]}

    recipe = Recipe("visual_features", {"kind": kind}, 0, (part(run, name, split).key, *visual_keys(run, name, kind)))
    file = f"{name}__{split}__{'visual' if kind == 'regions' else kind}"
    kept = run.store.arrays("features", file, recipe, extract)
    return kept if arrays is None else {"regions": arrays[split], **kept}


def visual_sizes(run: Run, name: str, kind: str = "regions") -> dict[str, int]:
    """How wide the image features of a kind are, for what reads regions, patches or one vector of a picture."""
    from fico_utils.data.features import WIDTH

    if tower := towers_of(run, name, "visual"):
        return tower.visual_sizes(kind)
    arrays = regions_of(run, name)
    width = WIDTH if arrays is None else next(iter(arrays.values())).shape[-1]
    return {"d_region": width, "d_patch": width, "d_global": 2 * width}


def visual_keys(run: Run, name: str, kind: str = "regions") -> list[str]:
    """What the image features of a corpus were made with: the backbone or tower and the picture files, or the arrays.

    Of mapped arrays count the shapes, and 256 rows of each, evenly spread, as reading all would take minutes.
    """
    arrays = regions_of(run, name)
    if arrays is None:
        files, tower = getattr(corpus(run, name).images, "key", ""), towers_of(run, name, "visual")
        network = tower.key("vision") if tower else backbone_weights(run, kind).digest
        return [network, *([files] if files else [])]
    parts = []
    for split, array in arrays.items():
        rows = array[np.unique(np.linspace(0, len(array) - 1, 256).astype(int))]
        parts.append((split, array.shape, str(array.dtype), hashlib.sha256(rows.tobytes()).hexdigest()))
    return [key_of(parts)]


def towers_of(run: Run, name: str, side: str) -> Any:
    """The `Towers` of a run, networks pretrained elsewhere; or None, where it does not ask for them on a `side`.

    ``visual_features`` asks for the side ``visual``, ``text_features`` for the side ``text``. Drawn corpora
    have a backbone that learned from scenes, and words of their own: they read no tower.
    """
    if info_of(run, name).drawn:
        return None
    source = run[f"{side}_features"]
    if side == "text" and source not in TEXTUAL:
        raise InputError(f"text_features is {source!r}; expected one of {', '.join(TEXTUAL)}")
    return registry.load_entry(registry.TOWERS)(run) if source in ("towers", "swapped") else None


def vocabulary_recipe(run: Run, name: str) -> Recipe:
    """What the vocabulary of a corpus is made from: its training captions."""
    return Recipe("vocabulary", {}, 0, (part(run, name, "train").key,))


def vocabulary(run: Run, name: str) -> Vocabulary:
    """The vocabulary of a corpus, from its training captions; that of a shipped system ships with it."""
    recipe, file = vocabulary_recipe(run, name), f"vocabulary__{name}"
    shipped = shipped_file(run.shipped, f"{file}.json", recipe) if run.shipped else None
    if shipped:
        return Vocabulary.of_words(read_artefact(shipped))
    count = lambda: list(Vocabulary(part(run, name, "train").captions).words)  # noqa: E731
    return Vocabulary.of_words(run.store.records("features", file, recipe, count))


def doc2vec_weights(run: Run, live: bool = False, name: str = PRETRAINING) -> Weights:
    """Weights of this run's Doc2Vec that reads the captions of a corpus; `live` as in `backbone_weights`.

    All drawn corpora share one; people's own words need their own, ``doc2vec__{name}``, which learns from the corpus's
    training captions.
    """
    from fico_utils.data.text import train_doc2vec

    drawn, epochs = info_of(run, name).drawn, run["doc2vec_epochs"]
    file, source = ("doc2vec", PRETRAINING) if drawn else (f"doc2vec__{name}", name)
    learned = part(run, source, "train")
    recipe = Recipe("doc2vec", {"epochs": epochs}, run.seed, (learned.key,))
    return train_weights(
        run, file, recipe, lambda: (train_doc2vec(learned.captions, seed=run.seed, epochs=epochs), []), live
    )


def doc2vec(run: Run, name: str, split: str) -> np.ndarray:
    """Doc2Vec vectors (n_txt, 300) float32 of a split's captions."""
    from fico_utils.data.text import doc2vec as infer

    trained, epochs, read = doc2vec_weights(run, name=name), run["doc2vec_epochs"], part(run, name, split)

    def build() -> dict[str, np.ndarray]:
        weights, workers = trained.arrays(), run["threads"]
        return {"doc2vec": infer(weights, read.captions, seed=run.seed, epochs=epochs, workers=workers)}

    recipe = Recipe("doc2vec_vectors", {"epochs": epochs}, 0, (read.key, trained.digest))
    return run.store.arrays("features", f"{name}__{split}__doc2vec", recipe, build)["doc2vec"]
