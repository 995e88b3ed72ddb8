"""What must not change a score, what observations keep, and what the engine may cost."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fico_utils.errors import InputError
from fico_utils.evaluation import (
    MEASURES,
    Metric,
    Observations,
    Plan,
    evaluate,
    observe,
    parse_metrics,
    score_source,
    summarise,
)
from fico_utils.evaluation.kernels_measures import AP, FOUND, measure_cuts
from fico_utils.evaluation.ties import discount_sums, expected_order, harmonic_numbers
from tests.evaluation.test_peers import corpus

METRICS = "recall@1,5,10 median_rank mean_rank map@1,10,100,N precision@1,10,N"
EVERYTHING = {"metrics": METRICS, "curve": True}


def same(a, b):
    pd.testing.assert_frame_equal(a, b, check_exact=False, rtol=1e-12, atol=1e-13)


def inputs(measure, seed=0):
    images, texts, index, labels = corpus(n_img=70, uneven=True, seed=seed)
    if measure == "hamming":
        images, texts = images > 0, texts > 0
    # duplicates tie under every measure
    texts[::7] = texts[0]
    return images, texts, index, labels


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic"])
def test_permuting_the_gallery_changes_nothing(measure, ties):
    images, texts, index, labels = inputs(measure)
    rng = np.random.default_rng(0)
    a, b = rng.permutation(len(images)), rng.permutation(len(texts))
    flags = {"measure": measure, "ties": ties, **EVERYTHING}
    same(
        evaluate(images, texts, caption_image=index, labels=labels, **flags),
        evaluate(images[a], texts[b], caption_image=np.argsort(a)[index[b]], labels=labels[a], **flags),
    )


def test_scaling_cosine_inputs_changes_nothing():
    images, texts, index, labels = inputs("cosine")
    flags = {"caption_image": index, "labels": labels, **EVERYTHING}
    expected = evaluate(images, texts, **flags)
    rows = np.float32(2.0) ** np.arange(-35, 35)[:, None]
    for x, y in ((images * 2.0**60, texts / 2.0**60), (images * 3, texts * 7), (images * rows, texts)):
        same(evaluate(x.astype(np.float32), y.astype(np.float32), **flags), expected)


@pytest.mark.parametrize("measure", MEASURES)
def test_threads_and_blocks_change_nothing(measure, monkeypatch):
    images, texts, index, labels = inputs(measure)
    plan = Plan(**EVERYTHING)
    first = observe(score_source(images, texts, measure=measure), index, labels, plan, threads=1).arrays()
    for threads, useful in ((2, 2**24), (3, 1), (1, 1), (2, 2**14)):
        monkeypatch.setattr(sys.modules["fico_utils.evaluation.observe"], "USEFUL_BLOCK", {"f": useful, "u": useful})
        source = score_source(images, texts, measure=measure)
        again = observe(source, index, labels, plan, block_mib=1, threads=threads).arrays()
        for name, array in first.items():
            np.testing.assert_array_equal(array, again[name], err_msg=name)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_matrix_of_the_same_scores_gives_the_same(measure):
    images, texts, index, labels = inputs(measure)
    x, y = images.astype(np.float64), texts.astype(np.float64)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y)]
    sim = {
        "cosine": lambda: unit[0] @ unit[1].T,
        "inner_product": lambda: x @ y.T,
        "euclidean": lambda: -((x[:, None] - y) ** 2).sum(axis=2),
        "hamming": lambda: (images[:, None] == texts).sum(axis=2),
    }[measure]()
    flags = {"caption_image": index, "labels": labels, **EVERYTHING}
    theirs = evaluate(similarity=np.round(sim.astype(np.float64), 10), **flags)
    kept = evaluate(*((x, y) if measure != "hamming" else (images, texts)), measure=measure, **flags)
    same(kept, theirs)
    same(evaluate(similarity=np.round(sim, 10), similarity_t2i=np.round(sim.T, 10), **flags), theirs)


def test_euclidean_far_from_the_origin():
    images, texts, index, _ = corpus()
    near = evaluate(images, texts, caption_image=index, measure="euclidean")
    for dtype, offset in ((np.float64, 1e6), (np.float64, 2.0**20)):
        far = evaluate(images.astype(dtype) + offset, texts.astype(dtype) + offset, measure="euclidean")
        pd.testing.assert_frame_equal(near, far, rtol=1e-9)


def test_inner_products_out_of_range_of_single_precision():
    images, texts, index, _ = corpus()
    expected = evaluate(images, texts, caption_image=index, measure="inner_product")
    for scale in (1e30, 1e-30):
        x, y = (images * np.float32(scale), texts * np.float32(scale))
        same(evaluate(x, y, caption_image=index, measure="inner_product"), expected)


def test_memory_maps_and_float16(tmp_path):
    images, texts, index, labels = corpus()
    arrays = {"images": images.astype(np.float16), "texts": texts.astype(np.float16)}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in arrays]
    flags = {"caption_image": index, "labels": labels, **EVERYTHING}
    same(evaluate(*mapped, **flags), evaluate(*(x.astype(np.float32) for x in arrays.values()), **flags))


def test_class_numbers_are_labels():
    images, texts, index, _ = corpus()
    classes = np.random.default_rng(0).integers(-1, 7, 60)
    hot = (classes[:, None] == np.arange(7)).astype(bool)
    flags = {"caption_image": index, "curve": True}
    same(evaluate(images, texts, labels=classes, **flags), evaluate(images, texts, labels=hot, **flags))
    scores = evaluate(images, texts, labels=classes, **flags)
    assert (scores.n_query[scores.direction == "i2t"] == 60).all()


def test_k_beyond_the_gallery_is_all_of_it():
    images, texts, index, labels = corpus()
    scores = evaluate(images, texts, caption_image=index, labels=labels, recall_at=(60, 10**9), map_at=(10**9, "N"))
    value = scores.set_index(["direction", "metric", "k"])["value"]
    assert value["t2i", "recall", "60"] == value["i2t", "recall", "1000000000"] == 1
    assert value["i2t", "map", "1000000000"] == value["i2t", "map", "N"]


def measured(groups, cuts, policy, n):
    """What is known of one query without grades at some cuts, (kinds, cuts)."""
    at, none, sums = np.zeros((7, len(cuts))), np.zeros(0), (harmonic_numbers(n), discount_sums(n))
    measure_cuts(tuple(groups), len(groups[0]), (none, none), np.array(cuts), policy, sums, False, at)
    return at


def test_no_average_precision_is_above_one_by_rounding():
    # all items relevant, the cut between two that tie: 1.0000000000000009 below 116 others before it was held at 1
    for above in range(1, 200):
        groups = np.array([[0, above], [above, 2], [above, 2]])
        assert 1 - 1e-12 < measured(groups, [above + 1], 0, above + 2)[AP, 0] <= 1


def test_observations_give_new_numbers_without_scoring():
    images, texts, index, labels = inputs("hamming")
    plan = Plan("map@N,10 precision@20", curve=True)
    seen = observe(score_source(images, texts, measure="hamming"), index, labels, plan)
    kept = Observations.from_arrays(seen.arrays())
    asked = "recall@3,7 median_rank mean_rank map@N precision@20"
    rows = pd.DataFrame(summarise(kept, asked))
    flags = {"measure": "hamming", "caption_image": index, "labels": labels}
    everywhere = evaluate(images, texts, **flags, metrics=asked, curve=True)
    same(rows, rows[[*rows]].iloc[:, :4].merge(everywhere)[[*rows]])
    assert kept.first_hit_rank("i2t").shape == (70,)
    with pytest.raises(InputError, match="not observed"):
        summarise(kept, "map@30")


def test_a_sample_of_queries_sees_the_whole_gallery():
    images, texts, index, labels = inputs("cosine")
    plan, source = Plan(**EVERYTHING), score_source(images, texts)
    whole, part = (observe(source, index, labels, p) for p in (plan, replace(plan, sample=30, seed=3)))
    assert [part.seen[d]["image"].size for d in ("i2t", "t2i")] == [30, 30]
    image = part.seen["i2t"]["image"]
    for name in part.seen["i2t"]:
        np.testing.assert_array_equal(part.seen["i2t"][name], whole.seen["i2t"][name][image])
    assert len(summarise(part, METRICS, intervals=True)) == len(summarise(whole, METRICS))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=5), st.data())
def test_expected_order_statistic(kinds, data):
    above, tied, correct = (np.array(x) for x in zip(*kinds, strict=True))
    correct = np.minimum(tied, correct)
    m = data.draw(st.integers(1, len(kinds)))
    exact = expected_order(np.stack([above, tied, correct]), np.ones(len(kinds), np.int64), m, 1, 13)
    # the ranks one by one: P(first hit at place x) among `tied` places, `correct` of them hits
    distribution = {(): 1.0}
    for a, e, r in zip(above, tied, correct, strict=True):
        places = {}
        left = 1.0
        for x in range(1, e - r + 2):
            places[a + x] = left * r / (e - x + 1)
            left -= places[a + x]
        distribution = {(*d, x): p * q for d, p in distribution.items() for x, q in places.items()}
    assert exact == pytest.approx(sum(p * sorted(d)[m - 1] for d, p in distribution.items()))


@pytest.mark.parametrize("policy", range(3))
def test_one_large_group_against_sampling(policy):
    n, relevant, k = 400, 90, 37
    groups, k = [np.array([x], np.int32) for x in (5, n, relevant)], [k, n + 5]
    at = measured(groups, k, policy, n + 5)
    ap, found = at[AP], at[FOUND]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(4000):
        flags = np.zeros(n, bool)
        flags[:relevant] = True
        flags = np.concatenate([np.zeros(5, bool), rng.permutation(flags)])
        precision = np.cumsum(flags) / np.arange(1, n + 6)
        drawn.append([precision[:x][flags[:x]].mean() if flags[:x].any() else 0 for x in k])
    drawn = np.array(drawn)
    if policy == 0:
        np.testing.assert_allclose(ap, drawn.mean(axis=0), atol=4 * drawn.std(axis=0).max() / np.sqrt(4000))
        np.testing.assert_allclose(found, [32 * 90 / 400, 90])
    elif policy == 1:
        assert (ap >= drawn.max(axis=0)).all()
    else:
        assert (ap <= drawn.min(axis=0)).all()


def test_memory_is_bounded():
    rng = np.random.default_rng(0)
    images, texts = rng.standard_normal((1000, 16), np.float32), rng.standard_normal((20000, 16), np.float32)
    labels = rng.random((1000, 5)) < 0.3
    plan, how = Plan("recall@1 map@10,100,N precision@10", curve=True), {"block_mib": 4, "threads": 2}
    observe(score_source(images[:10], texts[:200]), None, labels[:10], plan, **how)
    peaks = []
    for x, y in ((images, texts), (images > 0, texts > 0)):
        tracemalloc.start()
        source = score_source(x, y, measure="cosine" if x.dtype == np.float32 else "hamming")
        observe(source, None, labels, plan, **how)
        peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
    # the matrix alone has 76 MiB
    assert max(peaks) < 14


def test_the_text_of_metrics_is_read_and_written():
    text = "recall@1,10 median_rank map@10,N precision@20"
    assert " ".join(map(str, parse_metrics(text))) == "recall@1 recall@10 median_rank map@10 map@N precision@20"
    assert parse_metrics(f" {text}\n recall@1 ") == parse_metrics(text) == parse_metrics(parse_metrics(text))
    labels = "R@1, R@10, median rank, mAP@10, mAP@N, precision@20"
    assert ", ".join(metric.label for metric in parse_metrics(text)) == labels
    for metric in parse_metrics(text):
        assert Metric(metric.name, metric.k_text) == metric == Metric(metric.name, metric.k)
    for name, k in (("mAP", 10), ("map", 0), ("map", True), ("map", None), ("recall", "all"), ("precision", "R=0.35")):
        with pytest.raises(InputError, match="there is no metric"):
            Metric(name, k)


def test_metrics_are_those_of_recall_at_and_map_at():
    images, texts, index, labels = corpus()
    flags = {"caption_image": index, "labels": labels}
    old = evaluate(images, texts, **flags, recall_at=(1, 5), map_at=(10, "N"))
    everywhere = evaluate(images, texts, **flags, metrics="recall@1,5 median_rank mean_rank map@10,N")
    same(old, old.iloc[:, :4].merge(everywhere))
    assert len(everywhere) == 2 * len(old)  # each metric at both levels
    alone = evaluate(images, texts, **flags, metrics="map@N median_rank")
    assert [*alone.metric] == ["map", "median_rank"] * 4  # nothing that was not asked for


def test_import_is_quick_and_compiles_nothing():
    code = "import sys, fico_utils.evaluation, fico_utils.extras.verbs.evaluate; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numba", "pandas", "torch", "scipy", "matplotlib"} & set(loaded)
