"""Bootstrap intervals and paired comparisons."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import fico_utils
from fico_utils.cli import main
from fico_utils.errors import InputError
from fico_utils.evaluation import Metric, Plan, evaluate, observe, parse_metrics, score_source, summarise
from fico_utils.evaluation.plan import Request
from fico_utils.evaluation.summary import Score, list_scores, middle_95, rank_atoms, weighted_medians
from fico_utils.evaluation.ties import hit_probability
from fico_utils.extras.paired import adjust_by_holm
from fico_utils.extras.scoring.outputs import PER_QUERY
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
    median = [*list_scores(seen, Request(parse_metrics("median_rank"), seen.rules))][1]
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


def write(path, noise=1.5, seed=0, shift=None):
    """The file of values per query of one system."""
    images, texts, index, labels = corpus(n_img=60, uneven=True, seed=seed, noise=noise)
    if shift is not None:
        texts = texts + shift.standard_normal(texts.shape)
    how = {"caption_image": index, "labels": labels, "metrics": "recall@1,5 map@10 mean_rank median_rank rsum"}
    return path, evaluate(images, texts, **how, per_query=path)


def test_values_per_query_have_the_mean_that_is_printed(tmp_path):
    path, table = write(tmp_path / "a.csv")
    frame = pd.read_csv(path, dtype={"k": str}, keep_default_na=False)
    assert tuple(frame.columns) == PER_QUERY
    means = frame.groupby(["task", "direction", "metric", "k"])["value"].mean()
    for row in table[~table.metric.isin(["median_rank", "rsum"])].itertuples():
        assert means[row.task, row.direction, row.metric, row.k] == pytest.approx(row.value, abs=1e-9)


def test_compare_finds_a_difference_and_no_other(tmp_path):
    (a, of_a), (b, _) = write(tmp_path / "a.csv", noise=1.0), write(tmp_path / "b.csv", noise=2.0)
    rows = fico_utils.compare([a, b], metric="recall@1,5 map@10")
    assert [*zip(rows.a, rows.b, strict=True)] == [("a", "b")] * 6
    np.testing.assert_allclose(rows.difference, rows.mean_a - rows.mean_b)
    value = of_a[of_a.task == "instance"].set_index(["direction", "metric", "k"])["value"]
    for row in rows.itertuples():
        assert row.mean_a == pytest.approx(value[row.direction, row.metric, row.k], abs=1e-9)
    recall = rows[(rows.metric == "recall") & (rows.direction == "t2i")]
    assert (recall.p < 0.01).all()
    assert (recall.ci_low > 0).all()
    assert (rows.p_holm >= rows.p).all()
    frame = pd.read_csv(a, keep_default_na=False)
    same = fico_utils.compare([frame, frame.copy()])
    assert (same.p == 1).all()
    assert (same.difference == 0).all()
    other, _ = write(tmp_path / "c.csv", seed=1)
    for files, sentence in (([a, other], "different queries"), ([a], "two or more"), ([a, a], "same name")):
        with pytest.raises(InputError, match=sentence):
            fico_utils.compare(files)
    with pytest.raises(InputError, match="does not hold recall@10"):
        fico_utils.compare([a, b], metric="recall@10")


def test_three_systems_are_compared_pair_by_pair(tmp_path, capsys):
    files = [str(write(tmp_path / f"{name}.csv", noise=noise)[0]) for name, noise in (("a", 1), ("b", 1.5), ("c", 2))]
    assert main(["compare", *files, "--metric", "recall@5"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 + 2 * 3
    assert main(["compare", files[0], str(tmp_path / "none.csv")]) == 2


def test_p_values_are_uniform_under_the_null(tmp_path):
    rng, p = np.random.default_rng(0), []
    for _ in range(40):
        files = [write(tmp_path / f"{name}.csv", shift=rng)[0] for name in "ab"]
        p.append(fico_utils.compare(files, metric="recall@5").p[1])
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
    median = [*list_scores(seen, Request(parse_metrics("median_rank"), seen.rules))][1]
    low, high = middle_95(median.bootstrap())
    assert 1 <= low <= depth
    assert high == np.inf
