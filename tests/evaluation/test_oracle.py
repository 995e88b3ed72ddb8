"""Thousands of generated cases against the definitions: ties, ragged captions, empty labels, one item, duplicates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fico_utils.evaluation import MEASURES, evaluate
from fico_utils.evaluation.metrics import metric_forms
from fico_utils.evaluation.observations import CHOICES
from fico_utils.evaluation.summary import COLUMNS
from fico_utils.evaluation.tasks import TIES
from tests.evaluation import oracle

QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
KS = (1, 2, 3, 4, 5, 10, "N", "R")
#: Every metric, so that one that is added is asked for here, and fails until the oracle has its definition.
EVERYTHING = {
    "metrics": " ".join(form.replace("@k", "@" + ",".join(map(str, KS))) for form in metric_forms()),
    "curve": True,
}
DIVISORS = st.sampled_from(CHOICES["map_divisor"])
EMPTY = st.sampled_from(CHOICES["no_relevant"])


@st.composite
def corpora(draw, most_images=3, most_captions=5):
    """(caption_image, labels): every image has a caption, in any order; labels may be empty or missing."""
    n_img = draw(st.integers(1, most_images))
    more = draw(st.lists(st.integers(0, n_img - 1), max_size=most_captions - n_img))
    caption_image = draw(st.permutations([*range(n_img), *more]))
    labels = draw(st.none() | st.lists(st.sets(st.integers(0, 3)), min_size=n_img, max_size=n_img))
    return np.array(caption_image), labels


def multi_hot(labels):
    return None if labels is None else np.array([[t in s for t in range(4)] for s in labels], dtype=np.uint8)


def check(scores, expected, ties):
    assert tuple(scores.columns) == (*COLUMNS, "protocol", "folds")
    seen = {}
    for row in scores.itertuples():
        assert row.ties == ties
        if row.status == "ok":
            seen[row.direction, row.task, row.metric, row.k] = row.value
    assert seen.keys() == expected.keys()
    for key, value in expected.items():
        assert seen[key] == pytest.approx(value, abs=1e-12), key


@st.composite
def matrices(draw):
    caption_image, labels = draw(corpora())
    shape = int(caption_image.max()) + 1, caption_image.size
    # few values, so that nearly everything ties; zeros of both signs; values that differ in the last bit
    values = st.sampled_from([0.0, -0.0, 1.0, -1.0, float(np.nextafter(np.float32(1), np.float32(2))), 3e38, -1e-40])
    one = draw(st.lists(values, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    two = draw(st.none() | st.lists(values, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    sim = np.array(one, dtype).reshape(shape)
    return caption_image, labels, sim, None if two is None else np.array(two, dtype).reshape(shape[::-1])


@pytest.mark.parametrize("ties", TIES)
@QUICK
@given(case=matrices(), divisor=DIVISORS, empty=EMPTY)
def test_similarity_matrices(case, ties, divisor, empty):
    caption_image, labels, sim, back = case
    t2i = sim.T if back is None else back
    rules = {"divisor": divisor, "no_relevant": empty}
    expected = oracle.evaluate(sim.tolist(), t2i.tolist(), caption_image.tolist(), labels, KS, ties, **rules)
    scores = evaluate(
        similarity=sim, similarity_t2i=back, caption_image=caption_image, labels=multi_hot(labels), ties=ties,
        map_divisor=divisor, no_relevant=empty, **EVERYTHING,
    )  # fmt: skip
    check(scores, expected, ties)


@pytest.mark.parametrize("ties", TIES)
@QUICK
@given(data=st.data(), corpus=corpora(), divisor=DIVISORS)
def test_codes_in_every_form(data, corpus, ties, divisor):
    caption_image, labels = corpus
    bits = data.draw(st.sampled_from([1, 3, 8, 9, 70]))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    sides = [np.repeat(rng.integers(0, 2, (n, 3)), bits, axis=1)[:, :bits] for n in
             (int(caption_image.max()) + 1, caption_image.size)]  # fmt: skip
    sim = [[-sum(a != b for a, b in zip(x, y, strict=True)) for y in sides[1].tolist()] for x in sides[0].tolist()]
    back = [list(column) for column in zip(*sim, strict=True)]
    expected = oracle.evaluate(sim, back, caption_image.tolist(), labels, KS, ties, divisor=divisor)
    form = data.draw(st.sampled_from(["bool", "01", "pm1", "float", "packed"]))
    make = {
        "bool": lambda x: x.astype(bool),
        "01": lambda x: x.astype(np.int64),
        "pm1": lambda x: (2 * x - 1).astype(np.int8),
        "float": lambda x: (2 * x - 1).astype(np.float16),
        "packed": lambda x: np.packbits(x.astype(np.uint8), axis=1),
    }[form]
    scores = evaluate(
        make(sides[0]), make(sides[1]), measure="hamming", bits=bits if form == "packed" else None, ties=ties,
        caption_image=caption_image, labels=multi_hot(labels), map_divisor=divisor, **EVERYTHING,
    )  # fmt: skip
    check(scores, expected, ties)


@pytest.mark.parametrize("measure", [name for name, measure in MEASURES.items() if not measure.has_codes])
@QUICK
@given(data=st.data(), corpus=corpora())
def test_embeddings_with_duplicates(data, corpus, measure):
    caption_image, labels = corpus
    # small whole numbers: every score is exact, duplicates abound
    vectors = st.lists(st.integers(-2, 2), min_size=2, max_size=2)
    if measure == "cosine":
        vectors = st.tuples(st.integers(1, 3), st.sampled_from([(1, 0), (-1, 0), (0, 1), (0, -1)])).map(
            lambda v: [v[0] * x for x in v[1]]
        )
    sizes = int(caption_image.max()) + 1, caption_image.size
    sides = [data.draw(st.lists(vectors, min_size=n, max_size=n)) for n in sizes]
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int64]))

    def score(x, y):
        dot = x[0] * y[0] + x[1] * y[1]
        if measure == "inner_product":
            return dot
        if measure == "euclidean":
            return -((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2)
        return (dot > 0) - (dot < 0)

    images, texts = (np.array(side, dtype=dtype) for side in sides)
    scores = evaluate(
        images, texts, measure=measure, caption_image=caption_image, labels=multi_hot(labels), **EVERYTHING
    )
    sim = [[score(x, y) for y in sides[1]] for x in sides[0]]
    back = [list(column) for column in zip(*sim, strict=True)]
    expected = oracle.evaluate(sim, back, caption_image.tolist(), labels, KS, "expected")
    check(scores, expected, "expected")


@QUICK
@given(data=st.data(), corpus=corpora(most_images=4, most_captions=6))
def test_matrices_that_are_not_fully_ranked(data, corpus):
    caption_image, labels = corpus
    shape = int(caption_image.max()) + 1, caption_image.size
    values = st.sampled_from([0.0, 1.0, 2.0, -np.inf])
    sim = np.array(data.draw(st.lists(values, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])))
    sim = sim.reshape(shape)
    scores = evaluate(similarity=sim, caption_image=caption_image, labels=multi_hot(labels), **EVERYTHING)
    full = oracle.evaluate(sim.tolist(), sim.T.tolist(), caption_image.tolist(), labels, KS, "expected")
    for row in scores.itertuples():
        ranking = sim if row.direction == "i2t" else sim.T
        depth, m = int((ranking > -np.inf).sum(axis=1).min()), ranking.shape[1]
        if row.direction == "both" or row.n_query == 0 or row.k == "R":
            continue
        if row.k.isdigit():
            assert (row.status == "ok") == (depth == m or int(row.k) <= depth)
        elif row.k:
            assert (row.status == "ok") == (depth == m)
        elif row.metric == "mean_rank":
            own = ranking[np.arange(ranking.shape[0])[:, None] == caption_image] if row.direction == "i2t" else None
            assert row.status == "undefined" or own is None or np.isfinite(row.value)
        if row.status == "ok":
            key = row.direction, row.task, row.metric, row.k
            if key in full:
                assert row.value == pytest.approx(full[key], abs=1e-12)
        else:
            assert math.isnan(row.value)
