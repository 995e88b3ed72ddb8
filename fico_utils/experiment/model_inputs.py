"""What a system reads of a split: its features by name, and the key of all that they were made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fico_utils import registry
from fico_utils.artifacts import header_of
from fico_utils.data import rewriting
from fico_utils.experiment.corpora import corpus, part, training_split
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
        text = {"doc2vec": doc2vec(run, name, split)}
    elif tower := text_tower(run, system, name):
        text = {"tokens": tower.words(name, used)}
    else:
        text = {"tokens": vocabulary(run, name).encode(own.captions)}
    image = {model.image_input: visual(run, name, used, _backbone_kind(model.image_input))[model.image_input]}
    if split == "train":
        for extra in model.text_extra:
            n = REWRITINGS[extra]
            flat = [c for row in getattr(rewriting, extra)(own.captions, n, run.seed) for c in row]
            text[extra] = vocabulary(run, name).encode(flat).reshape(len(own.captions), n, -1)
        if model.image_extra:
            image["labels"] = labels(run, name, split)
    return Inputs(image, text, own.caption_image, inputs_key(run, system, name, split))


def inputs_key(run: Run, system: str, name: str, split: str) -> str:
    """Key of what a system reads of a split, without reading it."""
    used = training_split(run, system, name) if split == "train" else split
    return key_of(part(run, name, used).key, feature_keys(run, system, name))


def feature_keys(run: Run, system: str, name: str) -> list[str]:
    """What a system's features were made with: the backbone, the vocabulary or Doc2Vec, and given labels."""
    from fico_utils.models import model_class

    model = model_class(system)
    keys = visual_keys(run, name, _backbone_kind(model.image_input))
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
    ``text_features: swapped``, SCAN and IMRAM have one and they do not.
    """
    from fico_utils.models import model_class

    pretrained = (registry.system(system).family == "vlp") != (run["text_features"] == "swapped")
    reads_states = "d_states" in model_class(system).Config.__dataclass_fields__
    return towers_of(run, name, "text") if pretrained and reads_states else None


def _backbone_kind(image_input: str) -> str:
    return "patches" if image_input == "patches" else "regions"
