"""A gallery that grows, against the whole score matrix; the truth of drawn scenes, against the scene graphs."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils import registry
from fico_utils.costs.blocks import CAPTIONS, Scenes, Stage, system_stage
from fico_utils.data.pictoscenes import make_corpus, truth_matrix
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate
from fico_utils.extras.galleries.growing import Growing, ItemKeeper, encoder_recipe, gallery_rows
from fico_utils.extras.galleries.ranking import Ranking
from fico_utils.extras.galleries.truth import Ceiling, Truth
from fico_utils.models.encoding import equal_bits
from fico_utils.workspace import Run

N, ASK = 60, 12


@pytest.fixture(scope="module")
def embedded() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    img = rng.standard_normal((N, 16)).astype(np.float32)
    txt = np.repeat(img, CAPTIONS, 0) + 1.5 * rng.standard_normal((CAPTIONS * N, 16)).astype(np.float32)
    labels = (rng.random((N, 6)) < 0.3).astype(np.uint8)
    return {"img": img, "txt": txt, "labels": labels}


def scorer(system: str, model=None):
    """How a system compares what it keeps."""
    return lambda images, texts: registry.system(system).serving.compare(model, images, texts)


def packed(x: np.ndarray) -> np.ndarray:
    return np.packbits(x > 0, axis=1)


def grown(data: dict[str, np.ndarray], n_query: int, score, ends: list[int], convert=lambda x: x) -> Growing:
    growing, start = Growing(n_query, score), 0
    for stop in ends:
        part = convert(data["img"][start:stop]), convert(data["txt"][CAPTIONS * start : CAPTIONS * stop])
        growing.add(*part, data["labels"][start:stop])
        start = stop
    return growing


@pytest.mark.parametrize(("measure", "convert"), [("cosine", lambda x: x), ("hamming", packed)])
def test_every_query_asking_gives_the_scores_of_evaluate(embedded, measure, convert):
    """All scenes ask, and come in one block: then the growing gallery is an ordinary test set."""
    score = scorer("beit3") if measure == "cosine" else equal_bits
    got = grown(embedded, N, score, [N], convert).values()
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
    whole = grown(embedded, ASK, score, [N], convert).values()
    parts = grown(embedded, ASK, score, [20, 21, 45, N], convert).values()
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


@pytest.mark.parametrize("n", range(2, 60))
def test_a_perfect_ranking_has_a_precision_of_one(n):
    ranking = Ranking(np.array([[0]]))
    ranking.add(np.arange(n, 0, -1, dtype=np.float32)[None] / n, np.ones((1, n), bool))
    assert 1 - 1e-12 < ranking.whole_average_precision() <= 1


def test_equal_bits_are_counted():
    rng = np.random.default_rng(1)
    for width in (8, 11):
        a, b = (rng.integers(0, 256, (n, width), dtype=np.uint8) for n in (5, 7))
        expected = (np.unpackbits(a, axis=1)[:, None] == np.unpackbits(b, axis=1)[None]).sum(2)
        np.testing.assert_array_equal(equal_bits(a, b), expected)


def test_galleries_that_make_no_sense_are_refused(embedded):
    with pytest.raises(InputError, match="the first block has 5 scenes for the queries of 12"):
        grown(embedded, ASK, scorer("beit3"), [5])
    for bad in (
        lambda: Growing(0, equal_bits),
        lambda: Growing(2, scorer("beit3")).add(embedded["img"][:5], embedded["txt"][:24], embedded["labels"][:5]),
        lambda: Growing(2, equal_bits).add(np.full((5, 4), np.nan), np.ones((25, 4)), np.ones((5, 2), np.uint8)),
        lambda: Ranking(np.array([[0]])).add(np.zeros((2, 3), np.float32), np.zeros((2, 3), bool)),
        lambda: Ranking(np.array([[3]])).add(np.zeros((1, 3), np.float32), np.zeros((1, 3), bool)),
        lambda: Ranking(np.array([[0]]), depth=5).mean_average_precision([6]),
    ):
        with pytest.raises(AssertionError):
            bad()


# ---------------------------------------------------------------------------------------------------- truth


def test_the_truth_of_pairs_is_that_of_the_scene_graphs(monkeypatch):
    from fico_utils.extras.galleries import truth as module

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
    with pytest.raises(AssertionError):
        truth.true(captions, scenes[1:])
    with pytest.raises(InputError):
        Truth("mscoco")


def test_the_ceiling_is_that_of_the_perfect_retriever():
    from fico_utils.data.pictoscenes import perfect_retriever

    ceiling = Ceiling(40, Truth("picto_people"))
    ceiling.add(0, 25)
    with pytest.raises(AssertionError, match="has 25 scenes and 40 ask"):
        ceiling.values()
    ceiling.add(25, 40)
    late = ceiling.values()
    ceiling.add(40, 300)
    later = ceiling.values()
    expected = perfect_retriever(make_corpus("picto_people", {"test": 40}))["t2i_recall_at_1"]
    assert late["recall_t2i@1"] == pytest.approx(expected)
    assert later["recall_t2i@1"] < late["recall_t2i@1"] < late["recall_t2i@5"]
    with pytest.raises(AssertionError):
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
        Stage("backbone", {"image": ("pixels", seen)}, content="a", makes=("seen",)),
        Stage("tokens", {"text": ("captions", read)}, content="b", makes=("read",)),
        Stage("doc2vec", {"text": ("captions", lambda _: pytest.fail("nobody reads this"))}, makes=("unread",)),
    ]
    return extractors, [Stage("ucch", {"image": ("seen", work), "text": ("read", work)}, content="d")]


class InMemory(dict):
    """Units that are written nowhere."""

    numbers, write = dict.keys, dict.__setitem__

    def read(self, number: int) -> tuple:
        return self[number], None


def test_rows_of_a_walk_over_scenes(stages):
    import pandas as pd

    from fico_utils.results.schema import COSTS_COLUMNS, sort_rows, validate

    truth, keeper = Truth("picto_diverse"), ItemKeeper(stages[1][0], 8, InMemory())
    rows = gallery_rows(
        Scenes("picto_diverse"), [stages], {"ucch": Growing(8, scorer("ucch"), truth)}, truth, [10, 24],
        ceiling=Ceiling(8, truth), block=10, keepers={"ucch": keeper}, corpus="picto_diverse",
    )  # fmt: skip
    assert all(tuple(r) == COSTS_COLUMNS for r in rows)
    assert {(r["scale_img"], r["scale_txt"]) for r in rows} == {(10, 50), (24, 120)}
    assert [len(a) for a in keeper.kept_items()] == [24, 40]
    at = {(r["system"], r["scale_img"], r["quantity"]): r["value"] for r in rows}
    assert at["perfect", 24, "recall_t2i@1"] > at["ucch", 24, "recall_t2i@1"]
    assert 0 <= at["ucch", 24, "true_t2i@1"] <= 1
    validate(pd.DataFrame(rows).assign(profile="mini", run="mini-s0"), "costs")
    assert len(sort_rows(pd.DataFrame(rows), "costs")) == len(rows)


# ------------------------------------------------------------------------------------------------- the store


class Stopped:
    """Scenes that note which blocks were drawn, and stop before the one that begins at `at`."""

    def __init__(self, seed: int, at: int) -> None:
        self.scenes, self.at, self.drawn = Scenes("picto_diverse", seed), at, []

    def __call__(self, start: int, stop: int) -> dict:
        if start == self.at:
            raise KeyboardInterrupt
        self.drawn.append((start, stop))
        return self.scenes(start, stop)


def walk(stages, at: int = -1, root=None, sizes=(10, 24), key="d", names=("ucch",), seed=0, n_query=6):
    """(rows, blocks drawn, items kept) of a walk that stops before scene `at`; rows is None where it stopped."""
    extractors, (one,) = stages
    truth, source = Truth("picto_diverse", seed), Stopped(seed, at)
    encoders = [Stage(name, one.sides, content=key) for name in names]
    growing = {name: Growing(n_query, scorer("ucch"), truth) for name in names}
    run = root and Run("mini", 0, root, {})
    columns = {"corpus": "picto_diverse", "run": run}
    keepers = {}
    for e in encoders:
        recipe = encoder_recipe(e, extractors, {"sizes": sizes, "n": n_query, "seed": seed}, columns)
        keepers[e.name] = ItemKeeper(e, n_query, run.store.units("items", e.name, recipe) if run else InMemory())
    arguments = {"ceiling": Ceiling(n_query, truth), "block": 7, "keepers": keepers, **columns}
    try:
        rows = gallery_rows(source, [(extractors, encoders)], growing, truth, list(sizes), **arguments)
    except KeyboardInterrupt:
        return None, source.drawn, None
    return [{**r, "profile": "", "run": ""} for r in rows], source.drawn, keepers["ucch"].kept_items()[0]


def test_a_stopped_walk_goes_on_and_comes_where_it_would_have_come(stages, tmp_path):
    whole, every, images = walk(stages)
    assert every == [(0, 7), (7, 10), (10, 17), (17, 24)]
    assert walk(stages, 17, tmp_path)[:2] == (None, every[:3])
    for left in (every[3:], []):
        rows, drawn, kept = walk(stages, -1, tmp_path)
        assert drawn == left
        assert rows == whole
        np.testing.assert_array_equal(kept, images)


def test_a_walk_that_stopped_at_every_block_is_the_same_walk(stages, tmp_path):
    whole = walk(stages)[0]
    for at in (7, 10, 17):
        assert walk(stages, at, tmp_path)[0] is None
    rows, drawn, _ = walk(stages, -1, tmp_path)
    assert (rows, drawn) == (whole, [(17, 24)])


def test_half_a_block_is_seen_again(stages, tmp_path, monkeypatch):
    """Stopped between the two directions of a block: what it left in memory must not reach the file."""
    whole = walk(stages)[0]
    add, calls = Ranking.add, []

    def stop(self, *block):
        calls.append(len(block))
        if len(calls) == 4:  # the second block's captions as queries
            raise KeyboardInterrupt
        add(self, *block)

    with monkeypatch.context() as patch:
        patch.setattr(Ranking, "add", stop)
        assert walk(stages, -1, tmp_path)[0] is None
    assert walk(stages, -1, tmp_path)[0] == whole


@pytest.mark.parametrize("other", [{"key": "other weights"}, {"sizes": (12, 24)}, {"n_query": 5}, {"seed": 1}])
def test_another_walk_begins_anew(stages, tmp_path, other):
    walk(stages, 17, tmp_path)
    assert walk(stages, -1, tmp_path, **other)[1][0] == (0, 7)


def test_a_system_that_joins_does_not_make_the_others_walk_again(stages, tmp_path, monkeypatch):
    walk(stages, -1, tmp_path)
    seen, add = [], Growing.add
    monkeypatch.setattr(Growing, "add", lambda self, *block: (seen.append(len(block[0])), add(self, *block))[1])
    rows = walk(stages, -1, tmp_path, names=("ucch", "dadh"))[0]
    assert seen == [7, 3, 7, 7]  # the blocks of one system
    assert rows == walk(stages, names=("ucch", "dadh"))[0]


def test_what_was_kept_and_is_gone_or_broken_is_made_again(stages, tmp_path, capsys):
    whole = walk(stages, -1, tmp_path)
    next(tmp_path.glob("items/ucch__*/unit_000002.safetensors")).unlink()
    rows, drawn, kept = walk(stages, -1, tmp_path)
    assert rows == whole[0]
    assert drawn == whole[1][2:]
    np.testing.assert_array_equal(kept, whole[2])
    next(tmp_path.glob("costs/gallery/ucch__*/unit_*.safetensors")).write_bytes(b"half a file")
    rows, drawn, _ = walk(stages, -1, tmp_path)
    assert rows == whole[0]
    assert len(drawn) == 4
    assert "made again" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- systems that read again


@pytest.fixture(scope="module")
def fusion() -> dict:
    """Two small fusion models, and scenes of random features for them: (model, features of 40 scenes)."""
    import torch

    from fico_utils.models.blip2 import Blip2, Blip2Config
    from fico_utils.models.xvlm import Xvlm, XvlmConfig

    torch.manual_seed(0)
    sizes = {"n_patches": 4, "max_words": 8, "width": 16, "heads": 2, "d_embed": 8, "dropout": 0.0}
    rng = np.random.default_rng(0)
    tokens = rng.integers(4, 20, (40 * CAPTIONS, 8))
    for line, length in zip(tokens, rng.integers(2, 9, len(tokens)), strict=True):
        line[length:] = 0
    return {
        "xvlm": Xvlm(XvlmConfig(6, 20, n_text_layers=1, n_fusion_layers=1, **sizes)).eval(),
        "blip2": Blip2(Blip2Config(6, 20, n_queries=3, **sizes)).eval(),
        "patches": rng.standard_normal((40, 4, 6)).astype(np.float32),
        "tokens": tokens,
        "labels": (rng.random((40, 5)) < 0.3).astype(np.uint8),
    }


class Known:
    """Labels of the fusion fixture, and a truth of which nothing else is asked."""

    key = "known"

    def __init__(self, labels: np.ndarray) -> None:
        self._labels = labels

    def labels(self, start: int, stop: int) -> np.ndarray:
        return self._labels[start:stop]


def reread(data: dict, system: str, n_query: int, depth: int, sizes: list[int], block: int, at: int = -1, root=None):
    """(rows, blocks drawn) of a walk of a system that reads again; stops before scene `at`."""
    asked = []

    def source(start: int, stop: int) -> dict:
        if start == at:
            raise KeyboardInterrupt
        asked.append((start, stop))
        return {"pixels": np.arange(start, stop), "captions": np.arange(CAPTIONS * start, CAPTIONS * stop)}

    stages = [
        Stage("backbone", {"image": ("pixels", lambda rows: {"patches": data["patches"][rows]})}, makes=("patches",)),
        Stage("tokens", {"text": ("captions", lambda rows: {"tokens": data["tokens"][rows]})}, makes=("tokens",)),
    ]
    model, run = data[system], root and Run("mini", 0, root, {})
    growing = {system: Growing(n_query, scorer(system, model), reranker=model, depth=depth)}
    arguments = {"block": block, "corpus": "toy", "run": run}
    try:
        rows = gallery_rows(
            source, [(stages, [system_stage(system, model)])], growing, Known(data["labels"]), sizes, **arguments
        )
    except KeyboardInterrupt:
        return None, asked
    return [{**r, "profile": "", "run": ""} for r in rows], asked


@pytest.mark.parametrize("system", ["xvlm", "blip2"])
def test_a_row_that_reads_again_scores_as_the_test_set_does(fusion, system):
    """Everyone asks, and the first size is the whole first block: the tables' own rerank of the same 30 scenes."""
    from fico_utils.models import encoding
    from fico_utils.models.training import Inputs

    rows, _ = reread(fusion, system, 30, 12, [30, 40], block=30)
    got = {r["quantity"]: r["value"] for r in rows if r["scale_img"] == 30}
    texts, owner = fusion["tokens"][: 30 * CAPTIONS], np.repeat(np.arange(30), CAPTIONS)
    data = Inputs({"patches": fusion["patches"][:30]}, {"tokens": texts}, owner, "")
    ranked = encoding.late_scores(fusion[system], **encoding.encode(fusion[system], data))
    sims = encoding.rerank(fusion[system], data, ranked, 12, progress=False)
    table = evaluate(
        similarity=sims["sim_i2t"], similarity_t2i=sims["sim_t2i"], caption_image=owner, labels=fusion["labels"][:30],
        recall_at=(1, 5, 10), map_at=(10,),
    )  # fmt: skip
    for r in table[table.metric.isin(["recall", "map"]) & table.k.isin([1, 5, 10])].itertuples():
        assert got[f"{r.metric}_{r.direction}@{r.k}"] == pytest.approx(r.value, abs=1e-6)
    by_embedding = evaluate(
        similarity=ranked, caption_image=owner, recall_at=(1, 5, 10),
    )  # fmt: skip
    plain = by_embedding[(by_embedding.metric == "recall") & (by_embedding.k == 5)].value
    assert set(plain) != {got["recall_i2t@5"], got["recall_t2i@5"]}  # the second reading changed something
    assert {r["status"] for r in rows if r["quantity"] in ("map_i2t", "map_t2i")} == {"undefined"}
    assert "map_t2i@100" not in got  # nothing is ranked that deep


@pytest.mark.parametrize("system", ["xvlm", "blip2"])
def test_reading_again_block_by_block_is_reading_the_whole_again(fusion, system, tmp_path):
    whole, _ = reread(fusion, system, 6, 10, [40], block=40)
    parts, drawn = reread(fusion, system, 6, 10, [40], block=9)
    assert len(drawn) == 5
    assert {r["quantity"]: r["value"] for r in parts} == pytest.approx(
        {r["quantity"]: r["value"] for r in whole}, nan_ok=True
    )
    assert reread(fusion, system, 6, 10, [40], 9, at=27, root=tmp_path)[0] is None
    assert reread(fusion, system, 6, 10, [40], 9, root=tmp_path) == (parts, [(27, 36), (36, 40)])
    assert reread(fusion, system, 6, 11, [40], 9, root=tmp_path)[1][0] == (0, 9)  # another depth


def test_only_what_comes_among_the_first_is_read_again(fusion, monkeypatch):
    from fico_utils.models.serving import Reranks

    pairs, match = [], Reranks.match_features
    monkeypatch.setattr(Reranks, "match_features", lambda self, *how: (pairs.append(len(how[3])), match(self, *how))[1])
    reread(fusion, "xvlm", 2, 3, [10, 40], block=10)
    assert pairs[:2] == [2 * 3, 10 * 3]  # the first block: the depth of each image and of each caption
    assert sum(pairs) < 4 * (2 + 10) * 3


def test_reading_again_orders_the_first_alone(fusion):
    growing = Growing(2, scorer("xvlm", fusion["xvlm"]), reranker=fusion["xvlm"], depth=4)
    with pytest.raises(AssertionError, match="a reranker reads features"):
        growing.add(np.zeros((3, 8)), np.zeros((15, 8)), np.zeros((3, 2)))
    reader = Ranking(np.array([[0]]), depth=2)
    reader.add(np.float32([[3, 2, 1]]), np.ones((1, 3), bool), lambda queries, items: np.float32(items))
    assert reader.first()[0].tolist() == [[1, 0]]
    assert reader.recall([1, 2]) == {1: 0.0, 2: 1.0}
    reader.add(np.float32([[4]]), np.ones((1, 1), bool), lambda queries, items: np.float32(items) + 9)
    assert reader.first()[0].tolist() == [[3, 0]]
    with pytest.raises(AssertionError):
        reader.recall([3])
