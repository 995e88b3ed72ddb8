"""Two-step search against brute force, its file, and the measurement of setups."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils import registry
from fico_utils.costs import indexes
from fico_utils.costs.attention import Pairs
from fico_utils.costs.clock import Timing
from fico_utils.costs.indexes import Settings
from fico_utils.errors import InputError
from fico_utils.extras.galleries.screens import Screen
from fico_utils.extras.galleries.setups import PairScorer, Searchable, setup_rows
from fico_utils.extras.setups import setup_name
from fico_utils.models.blip2 import Blip2, Blip2Config
from fico_utils.models.scan import Scan, ScanConfig
from fico_utils.models.serving import Items
from fico_utils.models.xvlm import Xvlm, XvlmConfig
from fico_utils.workspace import Run

pytest.importorskip("faiss")
N, ASK, BITS = 300, 20, 64


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    items = rng.standard_normal((N, 24)).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    queries = items[:ASK] + 0.1 * rng.standard_normal((ASK, 24)).astype(np.float32)
    plane = rng.standard_normal((24, BITS)).astype(np.float32)
    codes, asked = (np.packbits(x @ plane > 0, axis=1) for x in (items, queries))
    return {"items": items, "queries": queries, "codes": codes, "asked": asked}


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.bitwise_count(a[:, None] ^ b[None]).sum(axis=2, dtype=np.int64)


@pytest.mark.parametrize("k", [1, 17, N])
def test_a_screen_is_codes_first_then_embeddings(data, k):
    ids, scores = Screen(data["codes"], data["items"]).search(data["asked"], data["queries"], k)
    distance, exact = hamming(data["asked"], data["codes"]), data["queries"] @ data["items"].T
    for q in range(ASK):
        assert len(set(ids[q].tolist())) == k
        cut = np.sort(distance[q])[k - 1]
        assert set(np.flatnonzero(distance[q] < cut)) <= set(ids[q].tolist())  # who ties at the cut may be left out
        assert distance[q, ids[q]].max() == cut
    np.testing.assert_allclose(scores, np.take_along_axis(exact, ids, 1), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    if k == N:
        np.testing.assert_array_equal(ids, np.argsort(-exact, axis=1, kind="stable"))


def test_a_function_reranks_as_the_embeddings_do(data, monkeypatch):
    from fico_utils.extras.galleries import screens as module

    calls = []

    def score(asked, ids):
        calls.append(len(asked))
        return (asked[:, None] * data["items"][ids]).sum(-1)

    monkeypatch.setattr(module, "PAIRS", 60)
    queries = data["asked"], data["queries"]
    by_function = Screen(data["codes"], score=score).search(*queries, 15)
    by_vectors = Screen(data["codes"], data["items"]).search(*queries, 15)
    np.testing.assert_array_equal(by_function[0], by_vectors[0])
    np.testing.assert_allclose(by_function[1], by_vectors[1], atol=1e-6)
    assert calls == [4] * 5  # 15 candidates each: four queries make 60 pairs


def test_bytes_an_item(data):
    assert Screen(data["codes"], data["items"]).item_bytes == BITS / 8 + 4 * 24
    assert Screen(data["codes"], score=lambda asked, ids: ids).item_bytes == BITS / 8


def test_what_cannot_be_screened_is_refused(data, monkeypatch):
    codes, items = data["codes"], data["items"]
    screen, queries = Screen(codes, items), (data["asked"], data["queries"])
    for bad in (
        lambda: Screen(codes, items[:-1]),
        lambda: Screen(codes.astype(np.int8), items),
        lambda: Screen(codes),
        lambda: Screen(codes, items, lambda asked, ids: ids),
        lambda: Screen(codes, np.full_like(items, np.inf)),
        lambda: screen.search(*queries, 0),
        lambda: screen.search(*queries, N + 1),
        lambda: screen.search(queries[0], queries[1][:-1], 5),
        lambda: screen.search(queries[0][:, :4], queries[1], 5),
        lambda: screen.search(queries[0], queries[1][:, :7], 5),
    ):
        with pytest.raises(AssertionError):
            bad()
    monkeypatch.setattr(indexes, "available_memory", lambda: 2**10)
    with pytest.raises(InputError, match=r"a screen of 300 codes .* needs about .* screen a part of the collection"):
        Screen(codes, items)


# --------------------------------------------------------------------------------------------------- setups

QUICK = {"timing": Timing(repeats=1, threads=1), "corpus": "picto_diverse"}


@pytest.fixture(scope="module")
def rows(data) -> list[dict]:
    def score(asked, ids):
        return (asked[:, None] * data["items"][ids]).sum(-1)

    return setup_rows(
        [100, N], np.arange(ASK), dense={"beit3": Searchable.of_arrays(data["items"], data["queries"])},
        codes={"ucch": Searchable.of_arrays(data["codes"], data["asked"])},
        pairs={"scan": PairScorer(score, data["queries"][:6], 100, lambda: 1000.0)},
        depths=(10, 100), settings=Settings(bits=16, n_probe=4), **QUICK,
    )  # fmt: skip


def test_every_setup_is_measured_at_every_size(rows):
    import pandas as pd

    from fico_utils.results.schema import validate

    validate(pd.DataFrame(rows).assign(profile="mini", run="mini-s0"), "costs")
    setups = {
        "beit3+flat_ip", "beit3+hnsw_flat", "beit3+binary_flat_counting", "beit3+binary_ivf",
        "ucch+binary_flat_counting", "ucch+beit3@10", "ucch+beit3@100",
    }  # fmt: skip
    by_size = {n: {r["system"] for r in rows if r["scale_img"] == n} for n in (100, N)}
    assert by_size == {100: setups | {"scan", "ucch+scan@10", "ucch+scan@100"}, N: setups}
    at = {(r["system"], r["scale_img"], r["quantity"]): r["value"] for r in rows}
    assert at["beit3+flat_ip", N, "nearest_t2i@1"] == 1
    assert at["beit3+flat_ip", N, "recall_t2i@1"] == 1
    assert at["ucch+beit3@100", N, "item_bytes"] == BITS / 8 + 4 * 24
    assert at["ucch+beit3@100", N, "recall_t2i@1"] >= at["ucch+binary_flat_counting", N, "recall_t2i@1"]
    # everything is read again: the order is that of the second system alone
    assert at["ucch+scan@100", 100, "recall_t2i@1"] == at["scan", 100, "recall_t2i@1"] == 1
    assert at["scan", 100, "item_bytes"] == 1000
    assert all(r["value"] > 0 for r in rows if r["quantity"] == "seconds_per_query")


def test_setups_that_were_measured_are_kept(data, tmp_path, monkeypatch):
    from fico_utils.extras.galleries import setups

    calls, kept, stop = [], setups.kept_rows, 6

    def count(columns, folder, name, recipe, build):
        def counted():
            if len(calls) == stop:
                raise KeyboardInterrupt
            setup, _, items = name.split("__")
            calls.append((setup, int(items)))
            return build()

        return kept(columns, folder, name, recipe, counted)

    def run(key="weights", items=data["items"], **changes):
        def score(asked, ids):
            return (asked[:, None] * items[ids]).sum(-1)

        options = {"depths": (10,), "settings": Settings(bits=16, n_probe=4), **QUICK, **changes}
        return setup_rows(
            [N], np.arange(ASK), dense={"beit3": Searchable.of_arrays(items, data["queries"])},
            codes={"ucch": Searchable.of_arrays(data["codes"], data["asked"])},
            pairs={"scan": PairScorer(score, data["queries"][:6], N, lambda: 1000.0, key)},
            run=Run("mini", 0, tmp_path, {}), **options,
        )  # fmt: skip

    monkeypatch.setattr(setups, "kept_rows", count)
    with pytest.raises(KeyboardInterrupt):
        run()
    before, stop = calls.copy(), -1
    first = run()
    assert len(before) == 6
    assert calls[6:] == [("scan", N), ("ucch+scan@10", N)]
    assert run() == first
    assert len(calls) == 8
    run(key="other weights")
    assert [setup for setup, _ in calls[8:]] == ["scan", "ucch+scan@10"]
    run(items=data["items"] * np.float32(2))
    expected = ["flat_ip", "hnsw_flat", "binary_flat_counting", "binary_ivf"]
    assert [setup for setup, _ in calls[10:]] == [*(f"beit3+{name}" for name in expected), "ucch+beit3@10"]
    run(settings=Settings(bits=8, n_probe=4))  # another index
    assert len(calls) == 15 + 8


def test_ties_do_not_favour_the_scenes_that_ask(data):
    """All codes equal: an index that lists ids ascending would find every early scene."""
    same = np.zeros((N, 8), np.uint8)
    rows = setup_rows(
        [N], np.arange(ASK), dense={"beit3": Searchable.of_arrays(data["items"], data["queries"])},
        codes={"ucch": Searchable.of_arrays(same, same[:ASK])},
        depths=(N,), settings=Settings(bits=16), **QUICK,
    )  # fmt: skip
    at = {(r["system"], r["quantity"]): r["value"] for r in rows}
    assert at["ucch+binary_flat_counting", "recall_t2i@10"] <= 0.3
    assert at[f"ucch+beit3@{N}", "recall_t2i@1"] == at["beit3+flat_ip", "recall_t2i@1"]


def test_setups_that_make_no_sense_are_refused(data):
    dense = {"beit3": Searchable.of_arrays(data["items"], data["queries"])}
    for match, sizes, depths in (
        ("hold every item asked about", [10], (10,)),
        ("expected 1 to 300", [N], (0,)),
        ("expected 1 to 300", [N], (N + 1,)),
    ):
        with pytest.raises(InputError, match=match):
            setup_rows(sizes, np.arange(ASK), dense=dense, depths=depths, **QUICK)


def test_names_of_setups():
    assert setup_name("ucch+beit3@100") == "UCCH, then BEiT-3 for 100"
    assert setup_name("beit3+flat_ip") == "BEiT-3 in FG Flat"


# ------------------------------------------------------------------------------------------------- pairs


@pytest.fixture(scope="module")
def read() -> tuple[np.ndarray, np.ndarray]:
    """Features of six images and of five captions each."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(4, 20, (30, 8))
    for row, length in zip(tokens, rng.integers(2, 9, len(tokens)), strict=True):
        row[length:] = 0
    return rng.standard_normal((6, 4, 6)).astype(np.float32), tokens


def pairs_of(system: str, read: tuple[np.ndarray, np.ndarray]) -> Pairs:
    import torch

    torch.manual_seed(0)
    sizes = {"n_patches": 4, "max_words": 8, "width": 16, "heads": 2, "d_embed": 8, "dropout": 0.0}
    model = {
        "xvlm": lambda: Xvlm(XvlmConfig(6, 20, n_text_layers=1, n_fusion_layers=1, **sizes)),
        "blip2": lambda: Blip2(Blip2Config(6, 20, n_queries=3, **sizes)),
        "scan": lambda: Scan(ScanConfig(d_region=6, n_words=20, d=8)),
    }[system]().eval()
    return Pairs(system, model, lambda: registry.system(system).serving.encode(model, *read))


@pytest.mark.parametrize("system", ["xvlm", "blip2"])
def test_codes_screen_for_a_fusion_model(read, system):
    """The hybrid end to end: codes of 64 and 2 048 bits choose, the fusion head puts in order what they chose."""
    pairs, rng, own = pairs_of(system, read), np.random.default_rng(3), np.repeat(np.arange(6), 5)
    item_bytes = float(pairs.items[0].bytes_per_item)
    codes = {}
    for name, width in (("adv_64", 8), ("adv_2048", 256)):
        items, asked = rng.integers(0, 256, (6, width), dtype=np.uint8), []
        while len(asked) < 30:
            one = items[own[len(asked)]] ^ np.packbits(rng.random(8 * width) < 0.3)
            if len(np.unique(hamming(one[None], items))) == 6:  # no ties: what the codes choose is one set
                asked.append(one)
        codes[name] = items, np.stack(asked)
    vectors = rng.standard_normal((6, 8)).astype(np.float32)
    rows = setup_rows(
        [6], own, dense={"beit3": Searchable.of_arrays(vectors, vectors[own])},
        codes={name: Searchable.of_arrays(*held) for name, held in codes.items()},
        pairs={system: PairScorer(pairs.score, np.arange(30), 6, lambda: item_bytes)}, depths=(1, 3, 6),
        settings=Settings(bits=16), **QUICK,
    )  # fmt: skip
    at = {(r["system"], r["quantity"]): r["value"] for r in rows}
    scores = pairs.score(np.arange(30), np.tile(np.arange(6), (30, 1)))
    alone = (scores.argmax(1) == own).mean()
    assert at[system, "recall_t2i@1"] == pytest.approx(alone)
    for name, (items, asked) in codes.items():
        distance = hamming(asked, items)
        for depth in (1, 3, 6):
            setup, among = f"{name}+{system}@{depth}", distance <= np.sort(distance, axis=1)[:, depth - 1 : depth]
            expected = (np.where(among, scores, -np.inf).argmax(1) == own).mean()
            assert at[setup, "recall_t2i@1"] == pytest.approx(expected)
            assert at[setup, "seconds_per_query"] > 0
            assert at[setup, "item_bytes"] == items.shape[1] + item_bytes
        assert at[f"{name}+{system}@6", "recall_t2i@1"] == pytest.approx(alone)
        assert at[f"{name}+beit3@3", "item_bytes"] == items.shape[1] + 4 * 8


def test_stored_fragments_score_as_those_of_a_split(read):
    """What a walk keeps in half precision is searched as the split itself is."""
    whole = pairs_of("scan", read)
    images, texts = whole.items
    half = Pairs("scan", whole.model, lambda: (Items(images.vectors.astype(np.float16)), texts))
    asked, ids = np.arange(5), np.arange(6)
    np.testing.assert_allclose(half.score(asked, ids), whole.score(asked, ids), atol=5e-3)
    assert half.items[0].bytes_per_item == images.bytes_per_item / 2
