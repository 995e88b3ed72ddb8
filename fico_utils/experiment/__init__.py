"""Load it or make it: from a system's id and a corpus to features, trained weights, embeddings and scores.

The one place that joins `data`, `models` and `evaluation`. A notebook asks for what it needs: what this run has made is
loaded; what is missing is made, and said. Where nobody has trained a system in this run, the weights that ship with the
companion serve, if their settings are those of the profile; so every notebook stands alone. The notebooks that teach
training pass ``train=True``.
"""

from __future__ import annotations

from fico_utils.data.corpus import SPLITS
from fico_utils.experiment.corpora import corpus, part
from fico_utils.experiment.features import (
    PRETRAINING,
    backbone,
    backbone_weights,
    doc2vec,
    doc2vec_weights,
    visual,
    vocabulary,
)
from fico_utils.experiment.label_sources import label_generator, labels, written_labels
from fico_utils.experiment.model_inputs import inputs
from fico_utils.experiment.scores import score
from fico_utils.experiment.systems import (
    comparable,
    embed,
    measured_by,
    new_model,
    serve,
    train,
    training_log,
    weights_origin,
)

__all__ = [
    "PRETRAINING",
    "SPLITS",
    "backbone",
    "backbone_weights",
    "comparable",
    "corpus",
    "doc2vec",
    "doc2vec_weights",
    "embed",
    "inputs",
    "label_generator",
    "labels",
    "measured_by",
    "new_model",
    "part",
    "score",
    "serve",
    "train",
    "training_log",
    "visual",
    "vocabulary",
    "weights_origin",
    "written_labels",
]
