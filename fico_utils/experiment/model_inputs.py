"""What a system reads of a split: its features by name, and the key of all that they were made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.artifacts import header_of
from fico_utils.data import rewriting
from fico_utils.errors import InputError
from fico_utils.experiment.corpora import EQUAL, OWN, corpus, part, regions_of, training_split
from fico_utils.experiment.features import (
    doc2vec,
    doc2vec_weights,
    towers_of,
    visual,
    visual_keys,
    vocabulary,
    vocabulary_recipe,
)
from fico_utils.experiment.label_sources import given_labels, labels
from fico_utils.files import key_of
from fico_utils.workspace import Run

if TYPE_CHECKING:
    from fico_utils.models.training import Inputs

#: Rewritings of each training caption that ADV reads: with the same meaning, and with one thing wrong.
REWRITINGS = {"rephrased": 2, "adversarial": 4}
#: What systems read of a picture, as they ship: vision-language rows patches, all others regions.
KINDS = ("regions", "patches")


def inputs(run: Run, system: str, name: str, split: str) -> Inputs:
    """What a system reads of a split: its image and text features and, of the training split, what only training reads.

    Its training split is that of `training_split`. InputError where a supervised system meets a corpus without labels.
    """
    provider = registry.system(system).provider
    if provider:
        return registry.load_entry(provider)(run, system).inputs(corpus(run, name).subset(split))
    from fico_utils.models import model_class
    from fico_utils.models.training import Inputs

    used = training_split(run, system, name) if split == "train" else split
    model, own = model_class(system), part(run, name, used)
    if model.text_input == "doc2vec":
        text = {"doc2vec": doc2vec(run, name, used)}
    elif tower := text_tower(run, system, name):
        text = {"tokens": tower.words(name, used)}
    else:
        text = {"tokens": vocabulary(run, name).encode(own.captions)}
    image = {model.image_input: _pictures(run, name, used, read_kind(run, system, name), model.image_input)}
    if split == "train":
        for extra in model.text_extra:
            n = REWRITINGS[extra]
            flat = [c for row in getattr(rewriting, extra)(own.captions, n, run.seed) for c in row]
            text[extra] = vocabulary(run, name).encode(flat).reshape(len(own.captions), n, -1)
        if model.image_extra:
            image["labels"] = labels(run, name, used)
    return Inputs(image, text, own.caption_image, inputs_key(run, system, name, split))


def inputs_key(run: Run, system: str, name: str, split: str) -> str:
    """Key of what a system reads of a split, without reading it."""
    used = training_split(run, system, name) if split == "train" else split
    return key_of(part(run, name, used).key, feature_keys(run, system, name))


def feature_keys(run: Run, system: str, name: str) -> list[str]:
    """What a system's features were made with: the backbone, the vocabulary or Doc2Vec, and given labels."""
    from fico_utils.models import model_class

    model = model_class(system)
    kind = read_kind(run, system, name)
    keys = visual_keys(run, name, kind) + ([] if kind == own_kind(system) else [kind])
    if model.text_input == "doc2vec":
        keys += [doc2vec_weights(run, name=name).digest, str(run["doc2vec_epochs"])]
    elif tower := text_tower(run, system, name):
        keys.append(tower.key("text"))
    else:
        keys.append(vocabulary_recipe(run, name).key)
    if model.image_extra and registry.corpus(name).generated and (given := given_labels(name)):
        keys.append(header_of(given)["digest"])
    return keys


def text_tower(run: Run, system: str, name: str) -> Any:
    """The `Towers` that read the captions of a corpus for a row, where the run has it so, else None.

    Vision-language rows alone have one, and the others learn words from the corpus, as in their own papers; or, with
    ``text_features: swapped``, SCAN and IMRAM have one and they do not. With the parameter ``features``, whoever reads
    patches has one.
    """
    from fico_utils.models import model_class

    pretrained = (read_kind(run, system, name) == "patches") != (run["text_features"] == "swapped")
    reads_states = "d_states" in model_class(system).Config.__dataclass_fields__
    return towers_of(run, name, "text") if pretrained and reads_states else None


def own_kind(system: str) -> str:
    """What a system reads of a picture as it ships, one of `KINDS`."""
    from fico_utils.models import model_class

    return "patches" if model_class(system).image_input == "patches" else "regions"


def read_kind(run: Run, system: str, name: str) -> str:
    """What a system reads of the pictures of a corpus in this run: its own kind, or what ``features`` gives to all.

    InputError where that is no kind, or nothing that the system can read.
    """
    asked = run["features"]
    if asked == OWN:
        return own_kind(system)
    if asked not in KINDS:
        raise InputError(f"features is {asked!r}; expected one of {OWN}, {', '.join(KINDS)}")
    if registry.system(system).provider or regions_of(run, name) is not None:
        why = "sees pictures by its own network" if registry.system(system).provider else f"finds one kind in {name}"
        raise InputError(f"features asks {system} to read {asked}, but it {why}; set features={OWN}, or leave it out")
    return asked


def pairs_a_pass(run: Run, system: str, name: str) -> int:
    """Image-caption pairs that a system sees in one pass: of each picture as many captions as its recipe shows."""
    from fico_utils.models import model_class

    captions = np.bincount(part(run, name, "train").caption_image)
    return int(np.minimum(captions, model_class(system).recipe.captions).sum())


def training_passes(run: Run, system: str, name: str) -> int:
    """Passes over the training pictures: those of ``epochs``.

    With ``training: equal``, as many as show it the pairs that the system of the run sees that sees most.
    """
    epochs, trained = run["epochs"], registry.system(system).trained
    if run["training"] != EQUAL:
        return epochs[trained]
    rows = {registry.system(s).trained for s in run["systems"]} & {*epochs}
    most = max(epochs[s] * pairs_a_pass(run, s, name) for s in {*rows, trained})
    return round(most / pairs_a_pass(run, trained, name))


def _pictures(run: Run, name: str, split: str, kind: str, wanted: str) -> np.ndarray:
    """Image features of a kind, as a model asks for them: a table of vectors of each picture, or one vector."""
    from fico_utils.data.features import global_features

    seen = visual(run, name, split, kind)
    if wanted != "global":
        return seen[kind]
    return seen["global"] if "global" in seen else global_features(seen[kind])
