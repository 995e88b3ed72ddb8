"""What each query of a system saw: scored once, and kept in the store."""

from __future__ import annotations

import numpy as np

from fico_utils.artifacts import Recipe
from fico_utils.evaluation import Observations, Plan, observe, score_source
from fico_utils.evaluation.tasks import LEVELS
from fico_utils.experiment.corpora import part
from fico_utils.experiment.label_sources import labels
from fico_utils.experiment.systems import comparable, embed
from fico_utils.files import content_digest
from fico_utils.workspace import Run


def score(
    run: Run, system: str, name: str, *, ties: str = "expected", judge: np.ndarray | None = None, split: str = "test"
) -> Observations:
    """What each query of a system saw on a corpus, from which `evaluation.summarise` computes the profile's metrics.

    Parameters
    ----------
    ties : str
        Order of items with equal score, as in `evaluate`; the 11-point curve is kept with the expected one alone.
    judge : ndarray (n_img, n_labels), optional
        Other labels than those by which the corpus is judged.
    split : str
    """
    plan = Plan(run["metrics"], ties, curve=ties == "expected")
    stored, caption_image = embed(run, system, name, split), part(run, name, split).caption_image
    judge = labels(run, name, split, required=False) if judge is None else judge
    read = {**stored, "caption_image": caption_image} | ({} if judge is None else {"labels": judge})
    settings = {level: plan.ks(level) for level in LEVELS} | {"ties": ties, "curve": plan.curve}
    arrays = run.store.arrays(
        "perquery",
        f"{system}__{name}__{split}",
        Recipe("scoring", settings, 0, (content_digest(read),)),
        lambda: observe(score_source(**comparable(system, stored)), caption_image, judge, plan).arrays(),
        system=system,
        corpus=name,
    )
    return Observations.from_arrays(arrays)
