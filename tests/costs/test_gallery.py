"""A gallery that grows, against the whole score matrix; the truth of drawn scenes, against the scene graphs."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils.costs.gallery import Ceiling, Growing, blocks, embed, equal_bits, gallery_rows, scorer
from fico_utils.costs.ranking import Ranking
from fico_utils.costs.stages import CAPTIONS, Scenes, Stage
from fico_utils.costs.truth import Truth
from fico_utils.data.pictoscenes import make_corpus, truth_matrix
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate

N, ASK = 60, 12


@pytest.fixture(scope="module")
def embedded() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    img = rng.standard_normal((N, 16)).astype(np.float32)
    txt = np.repeat(img, CAPTIONS, 0) + 1.5 * rng.standard_normal((CAPTIONS * N, 16)).astype(np.float32)
    labels = (rng.random((N, 6)) < 0.3).astype(np.uint8)
    return {"img": img, "txt": txt, "labels": labels}


def packed(x: np.ndarray) -> np.ndarray:
    return np.packbits(x > 0, axis=1)


def grown(data: dict[str, np.ndarray], n_query: int, score, ends: list[int], convert=lambda x: x) -> Growing:
    growing, start = Growing(n_query, score), 0
    for stop in ends:
        part = convert(data["img"][start:stop]), convert(data["txt"][CAPTIONS * start : CAPTIONS * stop])
        growing.add(*part, data["labels"][start:stop])
        start = stop
    return growing


def as_dict(rows: list[dict]) -> dict[str, float]:
    return {r["quantity"]: r["value"] for r in rows}


@pytest.mark.parametrize(("measure", "convert"), [("cosine", lambda x: x), ("hamming", packed)])
def test_every_query_asking_gives_the_scores_of_evaluate(embedded, measure, convert):
    """All scenes ask, and come in one block: then the growing gallery is an ordinary test set."""
    score = scorer("beit3") if measure == "cosine" else equal_bits
    got = as_dict(grown(embedded, N, score, [N], convert).rows())
    bits = {"bits": 16} if measure == "hamming" else {}
    table = evaluate(
        convert(embedded["img"]), convert(embedded["txt"]), labels=embedded["labels"], measure=measure,
        recall_at=(1, 5, 10), **bits,
    )  # fmt: skip
    for r in table[table.metric == "recall"].itertuples():
        assert got[f"recall_{r.direction}@{r.k}"] == pytest.approx(r.value, abs=1e-9)
    for r in table[(table.metric == "map") & (table.k == "N")].itertuples():
        # codes: the distances are the levels, so the expectation under ties is exact
        assert got[f"map_{r.direction}"] == pytest.approx(r.value, abs=1e-9 if measure == "hamming" else 2e-3)
    if measure == "cosine":
        for r in table[(table.metric == "map") & (table.k != "N")].itertuples():
            assert got[f"map_{r.direction}@{r.k}"] == pytest.approx(r.value, abs=1e-9)


@pytest.mark.parametrize(("score", "convert"), [(scorer("beit3"), lambda x: x), (equal_bits, packed)])
def test_parts_give_what_the_whole_gives(embedded, score, convert):
    whole = as_dict(grown(embedded, ASK, score, [N], convert).rows())
    parts = as_dict(grown(embedded, ASK, score, [20, 21, 45, N], convert).rows())
    tolerance = {q: 0.15 if q.startswith("map") and "@" in q and score is equal_bits else 2e-3 for q in whole}
    assert {q: abs(parts[q] - whole[q]) <= tolerance[q] for q in whole} == dict.fromkeys(whole, True)
    recalls = [q for q in whole if q.startswith("recall")]
    assert [parts[q] for q in recalls] == pytest.approx([whole[q] for q in recalls], abs=1e-9)


def test_ranks_are_those_of_brute_force(embedded):
    scores = scorer("beit3")(embedded["img"], embedded["txt"])
    ranking = grown(embedded, ASK, scorer("beit3"), [30, N]).ranking["t2i"]
    own = np.repeat(np.arange(ASK), CAPTIONS)
    order = np.argsort(-scores.T[: CAPTIONS * ASK], axis=1)
    rank = (order == own[:, None]).argmax(1)
    for k in (1, 3, 20):
        assert ranking.recall([k])[k] == pytest.approx((rank < k).mean())
    np.testing.assert_array_equal(ranking.ids, order[:, : ranking.depth])
    wrong, first = ranking.wrong_first()
    np.testing.assert_array_equal(wrong, np.flatnonzero(rank))
    np.testing.assert_array_equal(first, order[wrong, 0])


def test_recall_falls_as_the_gallery_grows(embedded):
    growing, values = Growing(ASK, scorer("beit3")), []
    for start in (0, 20, 40):
        stop = start + 20
        growing.add(embedded["img"][start:stop], embedded["txt"][5 * start : 5 * stop], embedded["labels"][start:stop])
        values.append(growing.ranking["t2i"].recall([1])[1])
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


def test_codes_closer_than_all_before_get_a_level_of_their_own():
    ranking = Ranking(np.array([[0]]))
    ranking.add(np.array([[3, 5, 4]], np.int16), np.array([[True, False, True]]))
    ranking.add(np.array([[8, 1]], np.int16), np.array([[True, False]]))
    # order: 8 (relevant), 5, 4 (relevant), 3 (relevant), 1
    assert ranking.whole_average_precision() == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert ranking.ids.tolist() == [[3, 1, 2, 0, 4]]
    assert ranking.recall([3, 4]) == {3: 0.0, 4: 1.0}


def test_equal_bits_are_counted():
    rng = np.random.default_rng(1)
    for width in (8, 11):
        a, b = (rng.integers(0, 256, (n, width), dtype=np.uint8) for n in (5, 7))
        expected = (np.unpackbits(a, axis=1)[:, None] == np.unpackbits(b, axis=1)[None]).sum(2)
        np.testing.assert_array_equal(equal_bits(a, b), expected)
    with pytest.raises(InputError, match="packed uint8 of one length"):
        equal_bits(a, b[:, :3])


def test_bad_galleries_are_refused(embedded):
    assert list(blocks([100, 250], 100)) == [(0, 100), (100, 200), (200, 250)]
    for sizes, block in (([], 10), ([0], 10), ([10], 0)):
        with pytest.raises(InputError, match="expected sizes from 1"):
            list(blocks(sizes, block))
    with pytest.raises(InputError, match="expected at least 1"):
        Growing(0, equal_bits)
    with pytest.raises(InputError, match="the first block has 5 scenes for the queries of 12"):
        grown(embedded, ASK, scorer("beit3"), [5])
    with pytest.raises(InputError, match="expected 25 and 5"):
        Growing(2, scorer("beit3")).add(embedded["img"][:5], embedded["txt"][:24], embedded["labels"][:5])
    with pytest.raises(InputError, match="NaN or infinite"):
        Growing(2, scorer("beit3")).add(np.full((5, 4), np.nan), np.ones((25, 4)), np.ones((5, 2), np.uint8))
    with pytest.raises(InputError, match="expected \\(n_query, items\\) twice"):
        Ranking(np.array([[0]])).add(np.zeros((2, 3), np.float32), np.zeros((2, 3), bool))
    with pytest.raises(InputError, match="is not among them"):
        Ranking(np.array([[3]])).add(np.zeros((1, 3), np.float32), np.zeros((1, 3), bool))
    with pytest.raises(InputError, match="ask for k up to that"):
        Ranking(np.array([[0]]), depth=5).mean_average_precision([6])
    with pytest.raises(InputError, match="measure its dual encoder"):
        scorer("xvlm")
    with pytest.raises(InputError, match="give the model"):
        scorer("scan")


# ---------------------------------------------------------------------------------------------------- truth


def test_the_truth_of_pairs_is_that_of_the_scene_graphs(monkeypatch):
    from fico_utils.costs import truth as module

    monkeypatch.setattr(module, "PAIRS", 7)
    corpus = make_corpus("picto_people", {"test": 40})  # five captions a scene
    matrix, truth = truth_matrix(corpus), Truth("picto_people")
    rng = np.random.default_rng(0)
    captions = np.concatenate([np.arange(0, 200, 7), np.nonzero(matrix)[1][:60]])
    scenes = np.concatenate([rng.integers(0, 40, len(range(0, 200, 7))), np.nonzero(matrix)[0][:60]])
    got = truth.true(captions, scenes)
    np.testing.assert_array_equal(got, matrix[scenes, captions] == 1)
    assert got.any()
    assert not got.all()
    np.testing.assert_array_equal(truth.fitting(np.arange(30), 0, 40), matrix[:, :30].sum(0))
    np.testing.assert_array_equal(truth.labels(3, 9), corpus.labels[3:9])
    with pytest.raises(InputError, match="expected pairs"):
        truth.true(captions, scenes[1:])
    with pytest.raises(InputError):
        Truth("mscoco")


def test_the_ceiling_is_that_of_the_perfect_retriever():
    from fico_utils.data.pictoscenes import perfect_retriever

    ceiling = Ceiling(40, Truth("picto_people"))
    ceiling.add(0, 25)
    with pytest.raises(InputError, match="has 25 scenes and 40 ask"):
        ceiling.rows()
    ceiling.add(25, 40)
    late = as_dict(ceiling.rows())
    ceiling.add(40, 300)
    later = as_dict(ceiling.rows())
    expected = perfect_retriever(make_corpus("picto_people", {"test": 40}))["t2i_recall_at_1"]
    assert late["recall_t2i@1"] == pytest.approx(expected)
    assert later["recall_t2i@1"] < late["recall_t2i@1"] < late["recall_t2i@5"]
    with pytest.raises(InputError, match="at least 1"):
        Ceiling(0, Truth("picto_people"))


# ----------------------------------------------------------------------------------------------------- rows


@pytest.fixture
def stages() -> tuple[list[Stage], list[Stage]]:
    """Codes of what a picture and a caption look like, without any training: the walk is tested, not the quality."""

    def seen(pixels):
        return {"seen": pixels.reshape(len(pixels), -1)[:, :: 96 * 3].astype(np.float32)}

    def read(captions):
        return {"read": np.array([[ord(c[i % len(c)]) for i in range(96)] for c in captions], np.float32)}

    def work(x):
        yield np.packbits(x[:, :64] > np.median(x[:, :64], axis=1, keepdims=True), axis=1)

    extractors = [
        Stage("backbone", {"image": ("pixels", seen)}, "a", ("seen",)),
        Stage("tokens", {"text": ("captions", read)}, "b", ("read",)),
        Stage("doc2vec", {"text": ("captions", lambda _: pytest.fail("nobody reads this"))}, "c", ("unread",)),
    ]
    return extractors, [Stage("ucch", {"image": ("seen", work), "text": ("read", work)}, "d")]


def test_rows_of_a_walk_over_scenes(stages):
    from fico_utils.results import store
    from fico_utils.results.schema import COSTS_COLUMNS

    truth, kept = Truth("picto_diverse"), []
    rows = gallery_rows(
        Scenes("picto_diverse"), [stages], {"ucch": Growing(8, scorer("ucch"), truth)}, truth, [10, 24],
        ceiling=Ceiling(8, truth), block=10, keep=lambda system, e: kept.append((system, len(e["img"]))),
        corpus="picto_diverse",
    )  # fmt: skip
    assert all(tuple(r) == COSTS_COLUMNS for r in rows)
    assert {(r["scale_img"], r["scale_txt"]) for r in rows} == {(10, 50), (24, 120)}
    assert kept == [("ucch", 10), ("ucch", 10), ("ucch", 4)]
    at = {(r["system"], r["scale_img"], r["quantity"]): r["value"] for r in rows}
    assert at["perfect", 24, "recall_t2i@1"] > at["ucch", 24, "recall_t2i@1"]
    assert 0 <= at["ucch", 24, "true_t2i@1"] <= 1
    import pandas as pd

    from fico_utils.results.schema import validate

    validate(pd.DataFrame(rows).assign(profile="mini", run="mini-s0"), "costs")
    assert len(store.sort(pd.DataFrame(rows), "costs")) == len(rows)


def test_a_feature_that_nobody_makes_is_refused(stages):
    extractors, encoders = stages
    with pytest.raises(InputError, match="read 'read', which no extractor makes"):
        embed(Scenes("picto_diverse")(0, 2), extractors[:1], encoders)
