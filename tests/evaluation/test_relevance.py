"""Who is relevant to whom, as people hold it: many-to-many, graded, by name, of query sets, with distractors."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from fico_utils.cli import main
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate
from fico_utils.evaluation.tasks import TIES
from tests.evaluation import oracle
from tests.evaluation.test_peers import corpus

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
KS = (1, 2, 3, "N", "R")
METRICS = " ".join(f"{name}@1,2,3,N,R" for name in oracle.RANKED) + " mean_rank median_rank"


def values(table, direction, level):
    part = table[(table.direction == direction) & (table.task == level) & (table.status == "ok")]
    return {(row.metric, row.k): row.value for row in part.itertuples()}


def same(mine, theirs):
    assert mine.keys() == theirs.keys()
    for key, value in theirs.items():
        assert mine[key] == pytest.approx(float(value), abs=1e-12), key


@st.composite
def judged(draw):
    """Scores that tie, and grades of pairs, whole or not; some rows and columns have none."""
    n, m = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    scores = np.array(draw(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=n * m, max_size=n * m))).reshape(n, m)
    grade = st.sampled_from([0, 0, 1, 2, 1.5])
    grades = np.array(draw(st.lists(grade, min_size=n * m, max_size=n * m)), float).reshape(n, m)
    grades[0, 0] = grades[0, 0] or 1
    return scores, grades


@pytest.mark.parametrize("ties", TIES)
@QUICK
@given(case=judged(), empty=st.sampled_from(["zero", "skip"]))
def test_graded_pairs(case, ties, empty):
    scores, grades = case
    at = np.argwhere(grades)
    pairs = np.column_stack([at, grades[tuple(at.T)]])[np.random.default_rng(0).permutation(len(at))]
    how = {"metrics": METRICS, "ties": ties, "no_relevant": empty}
    table = evaluate(similarity=scores, relevance=pairs, **how)
    for direction, s, g in (("i2t", scores, grades), ("t2i", scores.T, grades.T)):
        expected = oracle.level(s.tolist(), g.tolist(), KS, ties, no_relevant=empty)
        same(values(table, direction, "instance"), expected)
    sparse = evaluate(similarity=scores, relevance=scipy.sparse.csr_array(grades), **how)
    pd.testing.assert_frame_equal(sparse, table)


@pytest.mark.parametrize("ties", TIES)
@QUICK
@given(data=st.data())
def test_a_set_that_asks_itself(data, ties):
    n = data.draw(st.integers(2, 5))
    codes = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n * 3, max_size=n * 3))).reshape(n, 3)
    labels = [data.draw(st.sets(st.integers(0, 2))) for _ in range(n)]
    hot = np.array([[t in s for t in range(3)] for s in labels], int)
    hot = np.column_stack([hot, np.zeros(n, int)])
    how = {"queries": codes, "query_labels": hot, "leave_out_self": True, "metrics": METRICS, "ties": ties}
    forms = [
        evaluate(**how, measure="hamming"),
        evaluate(**{**how, "queries": 2.0 * codes - 1}, measure="inner_product"),
    ]
    others = [[j for j in range(n) if j != i] for i in range(n)]
    scores = [[int((codes[i] == codes[j]).sum()) for j in others[i]] for i in range(n)]
    grades = [[len(labels[i] & labels[j]) for j in others[i]] for i in range(n)]
    expected = oracle.level(scores, grades, KS, ties)
    for table in forms:
        same(values(table, "q2g", "category"), expected)
        assert set(table.direction) == {"q2g"}


def test_a_query_set_with_relevance_is_its_matrix():
    rng = np.random.default_rng(0)
    queries, gallery = rng.standard_normal((9, 6)), rng.standard_normal((14, 6))
    pairs = np.unique(rng.integers(0, [9, 14, 4], (40, 3))[:, :2], axis=0)
    labels = {"query_labels": rng.integers(0, 3, 9), "gallery_labels": rng.integers(0, 3, (14, 1))}
    how = {**labels, "relevance": pairs, "metrics": METRICS}
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, gallery)]
    table = evaluate(queries=queries, gallery=gallery, **how)
    matrix = evaluate(similarity=np.round(unit[0] @ unit[1].T, 12), **how)
    pd.testing.assert_frame_equal(table, matrix, rtol=1e-9)
    assert set(table.task) == {"instance", "category"}


def test_distractors_stand_in_the_gallery_and_ask_nothing():
    images, texts, index, labels = corpus(n_img=20)
    rng = np.random.default_rng(1)
    index = index.copy()
    index[index == 3] = -1  # image 3 has no caption, and five captions have no image
    how = {"metrics": METRICS, "text_labels": (rng.random((len(texts), 6)) < 0.3).astype(int), "labels": labels}
    table = evaluate(images, texts, caption_image=index, distractors=True, **how)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images.astype(float), texts.astype(float))]
    scores = unit[0] @ unit[1].T
    own = (np.arange(20)[:, None] == index).astype(int)
    shared = labels @ how["text_labels"].T
    for direction, level, s, g in (
        ("i2t", "instance", scores, own), ("t2i", "instance", scores.T, own.T),
        ("i2t", "category", scores, shared), ("t2i", "category", scores.T, shared.T),
    ):  # fmt: skip
        asks = (own if direction == "i2t" else own.T).sum(1) > 0
        expected = oracle.level(s[asks].tolist(), g[asks].tolist(), KS, "index")
        expected.pop(("median_rank", ""), None)
        mine = values(table, direction, level)
        for key, value in expected.items():
            assert mine[key] == pytest.approx(float(value), abs=1e-9), (direction, level, key)
    with pytest.raises(InputError, match="distractors"):
        evaluate(images, texts, caption_image=index, **how)


def test_names_stand_for_positions():
    images, texts, index, labels = corpus(n_img=12)
    rng = np.random.default_rng(2)
    names, captions = np.array([f"{i:03}.jpg" for i in range(12)]), [f"c{j}" for j in range(len(texts))]
    order = rng.permutation(12)
    plain = evaluate(images, texts, caption_image=index, labels=labels)
    by_name = evaluate(
        images[order], texts, image_ids=names[order], caption_image_ids=names[index], labels=labels[order]
    )
    pd.testing.assert_frame_equal(plain, by_name)
    pairs = np.array([(names[i], captions[j]) for j, i in enumerate(index)], object)
    related = evaluate(images, texts, image_ids=names, caption_ids=captions, relevance=pairs, metrics="recall@1,5")
    shown = evaluate(images, texts, caption_image=index, metrics="recall@1,5")
    assert related.value.tolist() == shown.value.tolist()


def test_labels_in_every_form_are_one():
    images, texts, index, _ = corpus(n_img=30)
    classes = np.random.default_rng(0).integers(0, 4, 30)
    hot = np.eye(4, dtype=int)[classes]
    forms = [classes, classes[:, None], classes + 1.0, hot, scipy.sparse.csr_matrix(hot), hot.astype(bool)]
    first, *others = [evaluate(images, texts, caption_image=index, labels=form) for form in forms]
    for other in others:
        pd.testing.assert_frame_equal(first, other)


def test_an_ensemble_is_the_mean_of_matrices():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 6, 12))
    pd.testing.assert_frame_equal(evaluate(similarity=[a, b]), evaluate(similarity=(a + b) / 2))
    with pytest.raises(InputError, match="expected one shape"):
        evaluate(similarity=[a, b[:5]])


def test_unranked_value_is_minus_infinity():
    rng = np.random.default_rng(0)
    scores = rng.random((6, 12))
    scores[:, 7:] = -100
    marked = np.where(scores == -100, -np.inf, scores)
    pd.testing.assert_frame_equal(evaluate(similarity=scores, unranked=-100), evaluate(similarity=marked))


def test_a_radius_is_a_ball():
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 2, (2, 30, 6))
    classes = rng.integers(0, 3, 30)
    inside, shared = (a[:, None] != b).sum(2) <= 1, classes[:, None] == classes
    size, found = inside.sum(1), (inside & shared).sum(1)
    assert 0 < (size == 0).sum() < 30
    asked = "precision@radius1 recall_share@radius1 f1@radius1 map@radius1 recall@radius1"
    how = {"labels": classes, "measure": "hamming", "metrics": asked}
    mine = values(evaluate(a, b, **how), "i2t", "category")
    assert mine["precision", "radius1"] == pytest.approx(np.mean(found / np.maximum(size, 1)))
    assert mine["recall_share", "radius1"] == pytest.approx(np.mean(found / shared.sum(1)))
    assert mine["f1", "radius1"] == pytest.approx(np.mean(2 * found / (size + shared.sum(1))))
    assert mine["recall", "radius1"] == pytest.approx(np.mean(found > 0))
    kept = evaluate(a, b, **how, empty_ball="skip")
    rows = kept[(kept.direction == "i2t") & (kept.task == "category")].set_index("metric")
    assert rows.value["precision"] == pytest.approx(np.mean((found / np.maximum(size, 1))[size > 0]))
    assert rows.n_query["precision"] == (size > 0).sum()
    assert rows.n_query["recall_share"] == 30
    assert rows.chance["precision"] == pytest.approx(shared[size > 0].mean())


def test_chance_is_what_a_constant_model_scores():
    rng = np.random.default_rng(0)
    hot = (rng.random((20, 5)) < 0.4).astype(int)
    table = evaluate(similarity=np.zeros((20, 40)), labels=hot, metrics=METRICS)
    np.testing.assert_allclose(table.value, table.chance, atol=1e-12)


def test_trec_files_score_the_same_in_another_tool(tmp_path):
    measures = pytest.importorskip("ir_measures")
    images, texts, index, _ = corpus(n_img=25)
    run, truth = tmp_path / "run.txt", tmp_path / "qrels.txt"
    asked = "recall_share@5,10 precision@5 map@10 ndcg@10 mrr@10"
    how = {"caption_image": index, "map_divisor": "relevant", "metrics": asked}
    table = evaluate(images, texts, **how, trec_run=run, trec_qrels=truth)
    names = {
        "recall_share": measures.R, "precision": measures.P, "map": measures.AP, "ndcg": measures.nDCG,
        "mrr": measures.RR,
    }  # fmt: skip
    for direction in ("i2t", "t2i"):
        part = table[table.direction == direction]
        wanted = {names[row.metric] @ int(row.k): row.value for row in part.itertuples()}
        files = [[x for x in read(str(path)) if x.query_id.startswith(direction)]
                 for read, path in ((measures.read_trec_qrels, truth), (measures.read_trec_run, run))]  # fmt: skip
        theirs = measures.calc_aggregate(list(wanted), *files)
        for measure, value in wanted.items():
            assert theirs[measure] == pytest.approx(value, abs=1e-9), str(measure)


def test_formats_hold_the_same_numbers(tmp_path, capsys):
    images, texts, _, labels = corpus(n_img=10)
    np.save(tmp_path / "i.npy", images), np.save(tmp_path / "t.npy", texts), np.save(tmp_path / "l.npy", labels)
    call = ["evaluate", "--images", str(tmp_path / "i.npy"), "--texts", str(tmp_path / "t.npy")]
    call += ["--labels", str(tmp_path / "l.npy"), "--metrics", "recall@1 map@N"]
    printed = {}
    for form in ("table", "csv", "json", "markdown", "latex"):
        assert main([*call, "--format", form]) == 0
        printed[form] = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "x.csv") if (tmp_path / "x.csv").exists() else None
    assert main([*call, "--out", str(tmp_path / "x.csv")]) == 0
    table = pd.read_csv(tmp_path / "x.csv")
    assert [row["value"] for row in json.loads(printed["json"])] == pytest.approx(table.value.tolist())
    for value in table.value:
        assert f"{value:.4f}" in printed["table"]
        assert f"{value:.4f}" in printed["markdown"]
        assert f"{value:.4f}" in printed["latex"]
    assert printed["markdown"].splitlines()[1].startswith("| --- |")


GOOD = {"similarity": np.arange(32.0).reshape(4, 8)}
REFUSED = {
    "an item that does not exist": ({"relevance": [[0, 8]]}, "relevance names caption 8 in pair 0, expected 0 to 7"),
    "a pair twice": ({"relevance": [[0, 1], [0, 1]]}, "twice"),
    "a grade below zero": ({"relevance": [[0, 1, -1.0]]}, "grade -1 in pair 0"),
    "folds that do not divide": ({"folds": 3}, "folds is 3, which does not divide 4 images"),
    "a name twice": ({"image_ids": list("abca"), "caption_image_ids": list("aabbccaa")}, "'a' at 0 and at 3"),
    "a name that is missing": (
        {"image_ids": list("abcd"), "caption_image_ids": list("aabbccxx")}, "image 'x' (entry 6)",
    ),
    "names of one side": ({"image_ids": list("abcd")}, "caption_image_ids is not given"),
    "gallery without labels": ({"query_labels": [0, 1, 2, 3]}, "gallery_labels is not given"),
    "labels of two kinds": (
        {"query_labels": [0, 1, 2, 3], "gallery_labels": np.eye(8, dtype=int)},
        "class numbers and gallery_labels 8 labels",
    ),
    "a metric that is nearly one": ({"metrics": "recal@1"}, "did you mean recall?"),
    "a k that is none": ({"metrics": "recall@R2"}, "metrics has 'recall@R2', expected recall@k"),
    "a sum of one direction": (
        {"query_labels": [0, 1, 2, 3], "gallery_labels": range(8), "metrics": "rsum"}, "both directions",
    ),
    "a radius of a matrix": ({"metrics": "recall@radius2"}, "hash codes"),
    "an unknown divisor": ({"map_divisor": "all"}, "map_divisor is 'all', expected one of found, min, relevant, first"),
    "an unknown relevance": ({"relevance": "flickr"}, "expected pairs, or one of coco, cxc, eccv"),
    "copies that differ": ({"images_repeated": 2}, "rows 0 to 1 differ"),
    "files of folds": ({"folds": 2, "per_query": "x.csv"}, "leave out folds"),
    "one set and two sizes": ({"query_labels": [0, 1, 2, 3], "leave_out_self": True}, "4 queries and 8 items"),
}  # fmt: skip


def test_known_relevance_names_items_by_numbers():
    pytest.importorskip("eccv_caption")
    with pytest.raises(InputError, match="which are numbers"):
        evaluate(**GOOD, relevance="eccv", image_ids=list("abcd"), caption_ids=list("abcdefgh"))


@pytest.mark.parametrize("rule", REFUSED)
def test_one_sentence_names_the_culprit(rule, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given, sentence = REFUSED[rule]
    with pytest.raises(InputError) as caught:
        evaluate(**GOOD, **given)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
