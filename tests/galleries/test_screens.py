"""Two-step search against brute force, its file, and the measurement of setups."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils.costs import memory
from fico_utils.costs.indexes import Settings
from fico_utils.costs.pairwise import Pairwise, attending, pairwise
from fico_utils.errors import InputError
from fico_utils.extras.galleries.screens import Screen
from fico_utils.extras.galleries.setups import deploy_rows, setup_rows
from fico_utils.results.setups import setup_name
from fico_utils.workspace import write_arrays

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


@pytest.mark.parametrize("index", ["binary_flat_counting", "binary_flat"])
@pytest.mark.parametrize("k", [1, 17, N])
def test_a_screen_is_codes_first_then_embeddings(data, index, k):
    ids, scores = Screen(data["codes"], data["items"], index=index).search((data["asked"], data["queries"]), k)
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
    by_function = Screen(data["codes"], score=score).search(queries, 15)
    by_vectors = Screen(data["codes"], data["items"]).search(queries, 15)
    np.testing.assert_array_equal(by_function[0], by_vectors[0])
    np.testing.assert_allclose(by_function[1], by_vectors[1], atol=1e-6)
    assert calls == [4] * 5  # 15 candidates each: four queries make 60 pairs


def test_an_inverted_file_that_finds_fewer_says_so(data):
    settings = Settings(n_list=50, n_probe=1)
    screen = Screen(data["codes"], data["items"], index="binary_ivf", settings=settings)
    ids, scores = screen.search((data["asked"], data["queries"]), 100)
    assert (ids == -1).any()
    assert np.isneginf(scores[ids == -1]).all()
    assert np.isfinite(scores[ids >= 0]).all()
    assert (np.diff((ids == -1).astype(int), axis=1) >= 0).all()  # the missing stand last


def test_bytes_an_item(data):
    assert Screen(data["codes"], data["items"]).item_bytes == BITS / 8 + 4 * 24
    assert Screen(data["codes"], score=lambda asked, ids: ids).item_bytes == BITS / 8


def test_a_screen_comes_back_from_its_file(data, tmp_path):
    queries = data["asked"], data["queries"]
    screen = Screen(data["codes"], data["items"], corpus="abc")
    screen.save(tmp_path / "a.safetensors")
    back = Screen.load(tmp_path / "a.safetensors", "abc")
    for mine, theirs in zip(screen.search(queries, 30), back.search(queries, 30), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(InputError, match="is of corpus 'abc', and 'xyz' is to be searched"):
        Screen.load(tmp_path / "a.safetensors", "xyz")
    write_arrays(tmp_path / "b.safetensors", {"codes": data["codes"]})
    with pytest.raises(InputError, match="holds no screen"):
        Screen.load(tmp_path / "b.safetensors", "abc")
    write_arrays(tmp_path / "c.safetensors", {"x": data["codes"]}, {"what": "screen", "corpus": "abc", "index": "i"})
    with pytest.raises(InputError, match="holds no codes"):
        Screen.load(tmp_path / "c.safetensors", "abc")
    (tmp_path / "d.safetensors").write_bytes(b"not a file of ours")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        Screen.load(tmp_path / "d.safetensors", "abc")


def test_what_cannot_be_screened_is_refused(data, monkeypatch):
    codes, items = data["codes"], data["items"]
    with pytest.raises(InputError, match="300 codes and embeddings of shape \\(299, 24\\)"):
        Screen(codes, items[:-1])
    with pytest.raises(InputError, match="packed uint8"):
        Screen(codes.astype(np.int8), items)
    with pytest.raises(InputError, match="neither vectors nor score"):
        Screen(codes)
    with pytest.raises(InputError, match="both vectors and score"):
        Screen(codes, items, lambda asked, ids: ids)
    with pytest.raises(InputError, match="holds no codes"):
        Screen(codes, items, index="flat_ip")
    with pytest.raises(InputError, match="NaN or infinite"):
        Screen(codes, np.full_like(items, np.inf))
    screen = Screen(codes, items)
    for k in (0, N + 1):
        with pytest.raises(InputError, match=f"expected k from 1 to {N}"):
            screen.search((data["asked"], data["queries"]), k)
    with pytest.raises(InputError, match="one code a query"):
        screen.search((data["asked"], data["queries"][:-1]), 5)
    with pytest.raises(InputError, match="64 bits, packed"):
        screen.search((data["asked"][:, :4], data["queries"]), 5)
    with pytest.raises(InputError, match="expected \\(n, 24\\) embeddings"):
        screen.search((data["asked"], data["queries"][:, :7]), 5)
    with pytest.raises(InputError, match="expected a score for each"):
        Screen(codes, score=lambda asked, ids: ids[:, :1]).search((data["asked"], data["queries"]), 5)
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**10)
    with pytest.raises(InputError, match=r"a screen of 300 codes .* needs about .* screen a part of the collection"):
        Screen(codes, items)


# --------------------------------------------------------------------------------------------------- setups

QUICK = {"repeats": 1, "threads": 1, "corpus": "picto_diverse"}


@pytest.fixture(scope="module")
def rows(data) -> list[dict]:
    def score(asked, ids):
        return (asked[:, None] * data["items"][ids]).sum(-1)

    return setup_rows(
        [100, N], np.arange(ASK), dense={"beit3": (data["items"], data["queries"])},
        codes={"ucch": (data["codes"], data["asked"])},
        pairwise={"scan": Pairwise(score, data["queries"][:6], 100, 1000.0)},
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

    calls, measured, stop = [], setups.deploy_rows, 6

    def count(setup, *given, **more):
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append((setup, more["n_items"]))
        return measured(setup, *given, **more)

    def run(key="weights", items=data["items"], **changes):
        def score(asked, ids):
            return (asked[:, None] * items[ids]).sum(-1)

        options = {"depths": (10,), "settings": Settings(bits=16, n_probe=4), "parts": tmp_path, **QUICK, **changes}
        pairs = {"scan": Pairwise(score, data["queries"][:6], N, 1000.0, key)}
        codes = {"ucch": (data["codes"], data["asked"])}
        return setup_rows([N], np.arange(ASK), dense={"beit3": (items, data["queries"])}, codes=codes, pairwise=pairs,
                          **options)  # fmt: skip

    monkeypatch.setattr(setups, "deploy_rows", count)
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
    assert [setup for setup, _ in calls[10:]] == [
        "beit3+flat_ip", "beit3+hnsw_flat", "beit3+binary_flat_counting", "beit3+binary_ivf", "ucch+beit3@10",
        "scan", "ucch+scan@10",
    ]  # fmt: skip
    assert len(run(ks=(1,))) < len(first)  # another question


def test_ties_do_not_favour_the_scenes_that_ask(data):
    """All codes equal: an index that lists ids ascending would find every early scene."""
    same = np.zeros((N, 8), np.uint8)
    rows = setup_rows(
        [N], np.arange(ASK), dense={"beit3": (data["items"], data["queries"])}, codes={"ucch": (same, same[:ASK])},
        depths=(N,), ks=(1, 10), settings=Settings(bits=16), **QUICK,
    )  # fmt: skip
    at = {(r["system"], r["quantity"]): r["value"] for r in rows}
    assert at["ucch+binary_flat_counting", "recall_t2i@10"] <= 0.3
    assert at[f"ucch+beit3@{N}", "recall_t2i@1"] == at["beit3+flat_ip", "recall_t2i@1"]


def test_own_items_may_be_several():
    found = np.array([[4, 2, -1], [7, 8, 9]])
    rows = deploy_rows(
        "beit3", lambda: found, np.array([[2, 3], [1, 0]]), n_items=10, item_bytes=4.0, direction="i2t", ks=(1, 2, 5),
        **QUICK,
    )  # fmt: skip
    got = {r["quantity"]: r["value"] for r in rows}
    assert (got["recall_i2t@1"], got["recall_i2t@2"]) == (0, 0.5)
    assert "recall_i2t@5" not in got  # only three were found
    assert next(r for r in rows if r["quantity"] == "seconds_per_query")["scale_txt"] == 2


def test_setups_that_make_no_sense_are_refused(data):
    dense, codes = {"beit3": (data["items"], data["queries"])}, {"ucch": (data["codes"], data["asked"])}

    def refused(match, sizes=(N,), own=None, **changes):
        own = np.arange(ASK) if own is None else own
        with pytest.raises(InputError, match=match):
            setup_rows(list(sizes), own, **{"dense": dense, "codes": codes, "depths": (10,), **QUICK, **changes})

    refused("expected the same for all", codes={"ucch": (data["codes"][:-1], data["asked"])})
    refused("expected sizes up to 300", sizes=(N + 1,))
    refused("each holding every item asked about", sizes=(10,))
    refused("were asked 20 queries", own=np.arange(5))
    refused("expected 1 to 300", depths=(0,))
    refused("expected 1 to 300", depths=(N + 1,))
    refused("a budget of 0 s", budget_s=0)
    with pytest.raises(InputError, match="expected one answer each"):
        deploy_rows("beit3", lambda: np.zeros((2, 3)), np.zeros(3, np.int64), n_items=9, item_bytes=1.0)


def test_names_of_setups():
    assert setup_name("ucch+beit3@100") == "UCCH, then BEiT-3 for 100"
    assert setup_name("beit3+flat_ip") == "BEiT-3 in FG Flat"


# ------------------------------------------------------------------------------------------------- pairwise


@pytest.fixture(scope="module")
def inputs():
    from fico_utils.models.training import Inputs

    rng = np.random.default_rng(0)
    caption_image = np.repeat(np.arange(6), [6, 5, 7, 5, 5, 5])
    tokens = rng.integers(4, 20, (len(caption_image), 8))
    for row, length in zip(tokens, rng.integers(2, 9, len(tokens)), strict=True):
        row[length:] = 0
    features = rng.standard_normal((6, 4, 6)).astype(np.float32)
    return Inputs({"patches": features, "regions": features}, {"tokens": tokens}, caption_image, "toy")


def _models() -> dict:
    from fico_utils.models.blip2 import Blip2, Blip2Config
    from fico_utils.models.scan import Scan
    from fico_utils.models.xvlm import Xvlm, XvlmConfig

    sizes = {"n_patches": 4, "max_words": 8, "width": 16, "heads": 2, "d_embed": 8, "dropout": 0.0}
    return {
        "xvlm": lambda: Xvlm(XvlmConfig(6, 20, n_text_layers=1, n_fusion_layers=1, **sizes)),
        "blip2": lambda: Blip2(Blip2Config(6, 20, n_queries=3, **sizes)),
        "scan": lambda: Scan(Scan.Config(d_region=6, n_words=20, d=8)),
    }


@pytest.mark.parametrize("system", ["scan", "xvlm", "blip2"])
def test_pairs_score_as_the_whole_matrix_does(inputs, system):
    import torch

    from fico_utils.models import encoding

    torch.manual_seed(0)
    model = _models()[system]().eval()
    pairs = pairwise(system, model, inputs, 5, 12)
    # five captions of each image, though some have more
    rows = np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12])
    encoded = encoding.encode(model, inputs)
    if system == "scan":
        whole = encoding.score(model, encoded["img"], encoded["txt"], progress=False).T
    else:
        whole = encoding.rerank(model, inputs, encoding.late_scores(model, **encoded), 100, progress=False)["sim_t2i"]
    ids = np.array([[4, 0, 2]] * 12)
    expected = whole[rows[:, None], ids]
    np.testing.assert_allclose(pairs.score(pairs.asked, ids), expected, atol=2e-4)
    np.testing.assert_allclose(pairs.score(pairs.asked, ids[0]), expected, atol=2e-4)
    assert expected.std() > 1e-4
    assert pairs.n_items == 5
    assert pairs.item_bytes > 0


@pytest.mark.parametrize("system", ["xvlm", "blip2"])
def test_codes_screen_for_a_fusion_model(inputs, system):
    """The hybrid end to end: codes of 64 and 2 048 bits choose, the fusion head puts in order what they chose."""
    import torch

    torch.manual_seed(0)
    pairs = pairwise(system, _models()[system]().eval(), inputs, 6, 30)
    rng = np.random.default_rng(3)
    own = np.repeat(np.arange(6), 5)
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
        [6], own, dense={"beit3": (vectors, vectors[own])}, codes=codes, pairwise={system: pairs}, depths=(1, 3, 6),
        ks=(1, 3), settings=Settings(bits=16), **QUICK,
    )  # fmt: skip
    at = {(r["system"], r["quantity"]): r["value"] for r in rows}
    said = pairs.score(pairs.asked, np.tile(np.arange(6), (30, 1)))
    alone = (said.argmax(1) == own).mean()
    assert at[system, "recall_t2i@1"] == pytest.approx(alone)
    for name, (items, asked) in codes.items():
        distance = hamming(asked, items)
        for depth in (1, 3, 6):
            setup, among = f"{name}+{system}@{depth}", distance <= np.sort(distance, axis=1)[:, depth - 1 : depth]
            assert at[setup, "recall_t2i@1"] == pytest.approx((np.where(among, said, -np.inf).argmax(1) == own).mean())
            assert at[setup, "seconds_per_query"] > 0
            assert at[setup, "item_bytes"] == items.shape[1] + pairs.item_bytes
        assert at[f"{name}+{system}@6", "recall_t2i@1"] == pytest.approx(alone)
        assert at[f"{name}+beit3@3", "item_bytes"] == items.shape[1] + 4 * 8


def test_stored_fragments_score_as_those_of_a_split(inputs):
    """What a walk keeps in half precision is searched as the split itself is."""
    from fico_utils.models import encoding

    model = _models()["scan"]().eval()
    whole, stored = pairwise("scan", model, inputs, 6, 5), encoding.encode(model, inputs)
    half = attending("scan", model, stored["img"].astype(np.float16), stored["txt"][:5])
    ids = np.arange(6)
    np.testing.assert_allclose(half.score(half.asked, ids), whole.score(whole.asked, ids), atol=5e-3)
    assert (half.n_items, half.item_bytes) == (6, whole.item_bytes / 2)


def test_pairs_that_cannot_be_scored_are_refused(inputs):
    model = _models()["scan"]()
    with pytest.raises(InputError, match="expected a system with cross attention"):
        attending("xvlm", model, inputs.image["regions"], inputs.image["regions"])
    with pytest.raises(InputError, match="search its embeddings in an index"):
        pairwise("beit3", model, inputs, 5, 5)
    for n_items, n_query in ((7, 5), (2, 15), (5, 0)):
        with pytest.raises(InputError, match="the split has 6; ask for fewer"):
            pairwise("scan", model, inputs, n_items, n_query)
