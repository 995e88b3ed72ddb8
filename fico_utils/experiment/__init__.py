"""Load it or make it: from a system's id and a corpus to features, trained weights, embeddings and scores.

The one place that joins `data`, `models` and `evaluation`. A notebook asks for what it needs: what this run has made is
loaded; what is missing is made, and said. Where nobody has trained a system in this run, the weights that ship with the
companion serve, if their settings are those of the profile; so every notebook stands alone. The notebooks that teach
training pass ``train=True``.
"""

from __future__ import annotations

from fico_utils.data.corpus import SPLITS
from fico_utils.experiment.corpora import corpus
from fico_utils.experiment.features import (
    PRETRAINING,
    backbone,
    doc2vec,
    doc2vec_weights,
    inputs,
    label_generator,
    labels,
    visual,
    vocabulary,
)
from fico_utils.experiment.systems import (
    comparable,
    embeddings,
    measured_by,
    new_model,
    provider,
    train,
    training_log,
    validation,
    weights_origin,
)
from fico_utils.experiment.weights import backbone_name, origin, ship

__all__ = [
    "PRETRAINING",
    "SPLITS",
    "backbone",
    "backbone_name",
    "comparable",
    "corpus",
    "doc2vec",
    "doc2vec_weights",
    "embeddings",
    "inputs",
    "label_generator",
    "labels",
    "measured_by",
    "new_model",
    "origin",
    "provider",
    "ship",
    "train",
    "training_log",
    "validation",
    "visual",
    "vocabulary",
    "weights_origin",
]
