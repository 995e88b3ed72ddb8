"""Bootstrap intervals and paired comparisons."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fico_utils.errors import InputError
from fico_utils.evaluation import Metric, Plan, observe, score_source, summarise
from fico_utils.evaluation.summary import Score, list_scores, middle_95, rank_atoms, weighted_medians
from fico_utils.evaluation.ties import hit_probability
from fico_utils.extras.paired import adjust_by_holm, compare_systems
from tests.evaluation.test_peers import corpus


def see(noise=1.5, seed=0):
    images, texts, index, labels = corpus(n_img=80, uneven=True, seed=seed, noise=noise)
    return observe(score_source(images, texts), index, labels, Plan(curve=True))


def test_intervals_hold_their_value_and_resample_images():
    seen = see()
    rows = pd.DataFrame(summarise(seen, intervals=True))
    assert ((rows.ci_low <= rows.value + 1e-12) & (rows.value <= rows.ci_high + 1e-12)).all()
    again = pd.DataFrame(summarise(seen, intervals=True))
    pd.testing.assert_frame_equal(rows, again)
    # a plain bootstrap, written out: captions follow their image
    rng = np.random.default_rng(5)
    image, hit = seen.seen["t2i"]["image"], hit_probability(seen.side("instance", "t2i").counts, 5, "expected")
    means = []
    for _ in range(2000):
        drawn = rng.integers(0, 80, 80)
        means.append(np.concatenate([hit[image == i] for i in drawn]).mean())
    row = rows[(rows.direction == "t2i") & (rows.metric == "recall") & (rows.k == "5")].iloc[0]
    assert [row.ci_low, row.ci_high] == pytest.approx(np.percentile(means, (2.5, 97.5)), abs=0.015)
    by_caption = 1.96 * hit.std() / np.sqrt(hit.size)
    assert (row.ci_high - row.ci_low) / 2 > by_caption


def test_interval_of_the_median():
    seen = see()
    ranks, image = seen.first_hit_rank("t2i"), seen.seen["t2i"]["image"]
    rng = np.random.default_rng(5)
    medians = [np.median(np.concatenate([ranks[image == i] for i in rng.integers(0, 80, 80)])) for _ in range(1500)]
    median = [*list_scores(seen, "median_rank")][1]
    assert middle_95(median.bootstrap()) == pytest.approx(np.percentile(medians, (2.5, 97.5)), abs=1)


def test_weighted_medians():
    values = np.array([5.0, 1.0, 2.0, 9.0])
    weights = np.array([[1, 1, 1, 1], [0, 1, 0, 0], [1, 1, 1, 0], [2, 1, 1, 0], [0, 2, 3, 1]], dtype=float)
    expected = [np.median(np.repeat(values, w.astype(int))) for w in weights]
    assert weighted_medians(values, weights).tolist() == expected


def test_rank_atoms_have_the_expected_rank():
    images, texts, index, _ = corpus(n_img=80, uneven=True, width=10)
    seen = observe(score_source(images > 0, texts > 0, measure="hamming"), index)
    for direction in ("i2t", "t2i"):
        values, weights, query = rank_atoms(seen.side("instance", direction))
        mean = np.bincount(query, values * weights)
        assert np.bincount(query, weights) == pytest.approx(np.ones(seen.first_hit_rank(direction).size))
        assert np.abs(mean - seen.first_hit_rank(direction)).mean() < 0.2


def test_intervals_cover():
    rng, inside = np.random.default_rng(0), 0
    # the gallery grows with the queries, so that a sample is drawn from one large corpus
    images, texts, index, _ = corpus(n_img=300, seed=1000)
    source = score_source(images, texts)
    whole = observe(source, index)
    truth = hit_probability(whole.side("instance", "i2t").counts, 10, "expected").mean()
    for seed in rng.integers(0, 10**6, 60):
        part = observe(source, index, plan=Plan(sample=60, seed=int(seed)))
        hits = hit_probability(part.side("instance", "i2t").counts, 10, "expected")
        low, high = middle_95(Score(Metric("recall", 10), part.side("instance", "i2t"), hits).bootstrap(300))
        inside += low <= truth <= high
    assert inside >= 52


def test_compare_finds_a_difference_and_no_other():
    a, b = see(noise=1.0), see(noise=2.0)
    rows = pd.DataFrame(compare_systems(a, b, repeats=2000))
    ok = rows[rows.metric.isin(["recall", "map", "mean_rank", "median_rank"])]
    assert (ok.status == "ok").all()
    np.testing.assert_allclose(ok.difference, ok.value_a - ok.value_b)
    recall = ok[(ok.metric == "recall") & (ok.direction == "t2i")]
    assert (recall.p < 0.01).all()
    assert (recall.ci_low > 0).all()
    assert (ok.p_holm >= ok.p).all()
    same = pd.DataFrame(compare_systems(a, a, repeats=500))
    assert (same.p == 1).all()
    assert (same.difference == 0).all()
    with pytest.raises(InputError, match="different queries"):
        compare_systems(a, see(seed=1))


def test_p_values_are_uniform_under_the_null():
    images, texts, index, _ = corpus(n_img=60)
    rng, p = np.random.default_rng(0), []
    for _ in range(60):
        a, b = (observe(score_source(images, texts + rng.standard_normal(texts.shape)), index) for _ in range(2))
        p.append(compare_systems(a, b, "recall@5", repeats=400)[1]["p"])
    p = np.array(p)
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(p < 0.1) < 0.25


def test_adjustment_by_holm():
    assert adjust_by_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_by_holm([0.9, 0.8]).tolist() == [1, 1]
    assert adjust_by_holm([]).size == 0


def test_interval_of_a_median_among_unranked_items():
    """Reranked rows rank only their top k: a draw's median may lie below it, and says so without a warning."""
    images, texts, index, _ = corpus(n_img=80, uneven=True, noise=1.5)
    scores = images @ texts.T
    ranks = np.argsort(np.argsort(-scores, axis=0), axis=0)
    hits = np.sort(ranks[index, np.arange(index.size)])
    depth = int(hits[index.size // 2] + 1)  # just enough for the median itself
    source = score_source(
        similarity=np.where(np.argsort(np.argsort(-scores, axis=1), axis=1) < depth, scores, -np.inf),
        similarity_t2i=np.where(ranks < depth, scores, -np.inf).T,
    )
    seen = observe(source, index)
    median = [*list_scores(seen, "median_rank")][1]
    low, high = middle_95(median.bootstrap())
    assert 1 <= low <= depth
    assert high == np.inf
    row = next(r for r in compare_systems(seen, seen) if r["metric"] == "median_rank" and r["direction"] == "t2i")
    assert row["status"] == "undefined"
    assert np.isnan(row["p"])
