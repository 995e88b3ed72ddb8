"""A shipped checkpoint trained again, from nothing, scores within what another seed changes."""

from __future__ import annotations

import numpy as np
from scipy import stats

import fico_utils
from fico_utils import experiment
from fico_utils.evaluation import evaluate
from fico_utils.extras.seeds import FILE, read_seeds
from fico_utils.provenance import PROJECT

SYSTEM, CORPUS = "ucch", "picto_people"  # the fastest to train of those that find single items


def test_a_checkpoint_trained_again_scores_within_the_spread_over_seeds(tmp_path):
    run = fico_utils.setup("standard", 0, str(tmp_path), threads=1)
    experiment.train(run, SYSTEM, CORPUS)
    stored = experiment.embed(run, SYSTEM, CORPUS)
    assert experiment.weights_origin(run, SYSTEM, CORPUS) == "trained"
    part = experiment.corpus(run, CORPUS).subset("test")
    found = evaluate(**experiment.comparable(SYSTEM, stored), caption_image=part.caption_image, recall_at=(1, 5, 10))
    found = found[found["metric"] == "recall"].set_index(["direction", "k"])["value"]
    spread = read_seeds(PROJECT / "figures" / "standard" / FILE)
    spread = spread[(spread["system"] == SYSTEM) & (spread["corpus"] == CORPUS) & (spread["metric"] == "recall")]
    assert len(spread) == len(found) == 6
    for row in spread.itertuples():
        n = len(row.seeds.split())
        # where the next run lies, in 95 of 100 cases, if runs are normal about their mean
        half = stats.t.ppf(0.975, n - 1) * row.sd * np.sqrt(1 + 1 / n)
        assert abs(found[row.direction, row.k] - row.mean) <= half, (row.direction, row.k)
