"""Load it or make it: from a system's id and a corpus to features, trained weights, embeddings and scores.

What a notebook asks for is loaded where this run has made it, and made where it is missing, which is said. Where nobody
has trained a system in this run, the weights that ship serve, if their settings are those of the profile; so every
notebook stands alone. Those that teach training call `train`, or pass ``live=True``.
"""

# ruff: noqa: F401, I001
from fico_utils.data.corpus import SPLITS
from fico_utils.experiment.corpora import corpus, part
from fico_utils.experiment.features import (
    PRETRAINING, backbone, backbone_weights, doc2vec, doc2vec_weights, visual, vocabulary,
)  # fmt: skip
from fico_utils.experiment.label_sources import label_generator, labels, written_labels
from fico_utils.experiment.model_inputs import inputs
from fico_utils.experiment.systems import (
    comparable, embed, measured_by, new_model, score, serve, train, weights_origin,
)  # fmt: skip
