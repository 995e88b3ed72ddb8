"""FAISS indexes against brute force, and the synthetic vectors against FAISS's own class."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils.costs import indexes, search
from fico_utils.costs.clock import Timing
from fico_utils.costs.indexes import (
    INDEXES,
    Settings,
    faiss_threads,
    filled_index,
    index_bytes,
    make_binariser,
    new_index,
    recall_of_hits,
    recall_of_nearest,
    ties_with_best,
)
from fico_utils.costs.search import Synthetic, doubling_sizes, needed_bytes, search_rows, search_sweep
from fico_utils.errors import InputError
from fico_utils.workspace import Run

faiss = pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def small() -> Synthetic:
    return Synthetic(32, 900, 40, 300)


@pytest.fixture(scope="module")
def codes(small) -> tuple[np.ndarray, np.ndarray]:
    encode = make_binariser("itq", small.train(), 16)
    return np.concatenate([encode(c) for c in small.base_chunks()]), encode(small.queries)


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.bitwise_count(a[:, None] ^ b[None]).sum(axis=2, dtype=np.int64)


# ------------------------------------------------------------------------------------------------- synthetic


@pytest.mark.parametrize("elements", [700, 2**21])
def test_chunks_are_the_draws_of_faiss(monkeypatch, elements):
    from faiss.contrib.datasets import SyntheticDataset

    monkeypatch.setattr(search, "CHUNK_ELEMENTS", elements)
    ours, theirs = Synthetic(32, 500, 33, 70), SyntheticDataset(32, 70, 500, 33)
    np.testing.assert_allclose(ours.train(), theirs.get_train(), rtol=1e-6)
    np.testing.assert_allclose(np.concatenate(list(ours.base_chunks())), theirs.get_database(), rtol=1e-6)
    np.testing.assert_allclose(ours.queries, theirs.get_queries(), rtol=1e-6)


def test_candidates_too_many_to_keep_are_drawn_again(monkeypatch):
    monkeypatch.setattr(search, "KEEP_BYTES", 0)
    monkeypatch.setattr(search, "CHUNK_ELEMENTS", 640)
    data = Synthetic(32, 100, 5, 10)
    first, second = list(data.base_chunks()), list(data.base_chunks())
    assert [len(c) for c in first] == [20] * 5
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(second))


def test_a_part_of_the_candidates_is_the_part_of_all(monkeypatch):
    monkeypatch.setattr(search, "CHUNK_ELEMENTS", 640)
    data = Synthetic(32, 100, 5, 10)
    every = np.concatenate(list(data.base_chunks()))
    for start, stop in ((0, 30), (30, 100), (37, 38)):
        np.testing.assert_array_equal(np.concatenate(list(data.base_chunks(start, stop))), every[start:stop])


def test_nearest_neighbours_are_exact_and_an_empty_set_is_refused(small):
    base = np.concatenate(list(small.base_chunks()))
    np.testing.assert_array_equal(small.nearest, (small.queries @ base.T).argmax(axis=1))
    with pytest.raises(InputError, match="at least one of each"):
        Synthetic(32, 0, 5)


# ---------------------------------------------------------------------------------------------------- recall


def test_recall_equals_a_loop():
    rng = np.random.default_rng(0)
    found = np.argsort(rng.random((200, 30)), axis=1)
    found[:, 20:] = -1
    nearest = rng.integers(0, 30, 200)
    expected = {k: np.mean([nearest[q] in found[q, :k] for q in range(200)]) for k in (1, 5, 20, 30)}
    assert recall_of_nearest(found, nearest, (1, 5, 20, 30)) == pytest.approx(expected)


def test_missing_ids_never_count():
    assert recall_of_nearest(np.full((3, 4), -1), np.zeros(3, np.int64), (1, 4)) == {1: 0.0, 4: 0.0}


def test_copies_of_the_nearest_count_alike():
    rng = np.random.default_rng(0)
    base = np.repeat(rng.normal(size=(10, 8)), 2, axis=0)
    scores = base @ base[1::2].T  # query q is item 2 q, and its copy
    order = np.argsort(-scores.T, axis=1, kind="stable")
    hits = ties_with_best(np.take_along_axis(scores.T, order, 1), scores.max(axis=0))
    assert recall_of_hits(hits[:, :1], (1,)) == {1: 1.0}
    assert recall_of_hits(hits[:, 1:], (1, 2)) == {1: 1.0, 2: 1.0}
    assert not hits[:, 2:].any()
    assert not ties_with_best(np.full((10, 3), -np.inf), scores.max(axis=0)).any()


@pytest.mark.parametrize(
    ("nearest", "ks"), [(np.full(3, -1), (1,)), (np.zeros(3, np.int64), (5,)), (np.zeros(2, np.int64), (1,))]
)
def test_recall_of_what_cannot_be_is_not_computed(nearest, ks):
    with pytest.raises(AssertionError):
        recall_of_nearest(np.zeros((3, 4), np.int64), nearest, ks)


# --------------------------------------------------------------------------------------------------- indexes


def test_counting_finds_the_distances_of_the_heap_and_of_brute_force(codes):
    base, query = codes
    names = ("binary_flat", "binary_flat_counting")
    heap, counting = (filled_index(name, base, Settings(bits=16)).search(query, 100) for name in names)
    np.testing.assert_array_equal(heap[0], counting[0])
    np.testing.assert_array_equal(heap[0], np.sort(hamming(query, base), axis=1)[:, :100])


def test_ivf_that_visits_every_list_is_flat(codes):
    base, query = codes
    flat = filled_index("binary_flat", base, Settings(bits=16)).search(query, 50)[0]
    every = filled_index("binary_ivf", base, Settings(bits=16, n_list=20, n_probe=20)).search(query, 50)[0]
    np.testing.assert_array_equal(flat, every)
    few = filled_index("binary_ivf", base, Settings(bits=16, n_list=20, n_probe=1)).search(query, 50)[0]
    assert few.sum() > flat.sum()


def test_index_bytes_are_those_of_the_serialised_index(small, codes):
    base = np.concatenate(list(small.base_chunks()))
    settings = Settings(bits=16, n_list=20, n_probe=20)
    for name in INDEXES:
        binary = name.startswith("binary")
        index = filled_index(name, codes[0] if binary else base, settings)
        serialise = faiss.serialize_index_binary if binary else faiss.serialize_index
        header = serialise(index).nbytes - index_bytes(index)
        assert 0 <= header < 700, name


@pytest.mark.parametrize("method", ["itq", "sign", "rotation"])
def test_codes_keep_near_vectors_near(small, method):
    encode = make_binariser(method, small.train(), 32)
    base = next(small.base_chunks())
    code = encode(base)
    assert (code.shape, code.dtype) == ((len(base), 4), np.uint8)
    np.testing.assert_array_equal(code, encode(base))
    near = hamming(code[:200], encode(base[:200] + 0.01)).diagonal().mean()
    assert near < 0.2 * hamming(code[:200], code[200:400]).mean()


def test_binarisers_refuse_what_they_cannot_do(small):
    train = small.train()
    for bits in (0, 12, 40):
        with pytest.raises(InputError, match="expected a multiple of 8 up to 32"):
            make_binariser("itq", train, bits)
    with pytest.raises(AssertionError, match="10 training vectors for 16 bits"):
        make_binariser("itq", train[:10], 16)


# ----------------------------------------------------------------------------------------------- measurement

QUICK = {"timing": Timing(repeats=2), "ks": (1, 10, 100), "settings": Settings(bits=16, n_probe=8)}


def test_rows_of_every_index(small):
    from fico_utils.results.schema import COSTS_COLUMNS

    rows = search_rows(small, **QUICK | {"timing": Timing(repeats=2, threads=1)})
    assert all(tuple(r) == COSTS_COLUMNS for r in rows)
    assert {(r["corpus"], r["scale_img"], r["scale_txt"], r["threads"]) for r in rows} == {("synthetic", 40, 900, 1)}
    got = {(r["system"], r["phase"], r["quantity"]): r for r in rows}
    assert len(got) == len(rows) == len(INDEXES) * 8
    for name in INDEXES:
        assert got[name, "search", "seconds"]["repeats"] == 2
        assert got[name, "index", "seconds"]["value"] > 0
        curve = [got[name, "search", f"recall@{k}"]["value"] for k in QUICK["ks"]]
        assert 0 <= curve[0] <= curve[1] <= curve[2] <= 1
        assert curve[2] > 0.3
    assert [got["flat_ip", "search", f"recall@{k}"]["value"] for k in QUICK["ks"]] == [1, 1, 1]
    assert got["flat_ip", "index", "index_bytes"]["value"] == 900 * 32 * 4
    assert got["binary_flat", "index", "index_bytes"]["value"] == 900 * 2


def test_binary_recall_equals_brute_force(small, codes):
    rows = search_rows(small, indexes=["binary_flat"], **QUICK)  # on the same codes: 16 bits of ITQ
    distance = hamming(codes[1], codes[0])
    nearest = small.nearest
    own = distance[np.arange(40), nearest]
    for k in QUICK["ks"]:
        value = next(r["value"] for r in rows if r["quantity"] == f"recall@{k}")
        # ties may stand either side of the cut: the best and the worst order bound the recall
        best = ((distance < own[:, None]).sum(axis=1) < k).mean()
        worst = ((distance <= own[:, None]).sum(axis=1) <= k).mean()
        assert worst <= value <= best


def test_other_binarisers_stand_beside(small):
    rows = search_rows(small, indexes=["flat_ip"], beside=("sign", "rotation"), **QUICK)
    beside = {r["quantity"]: r["value"] for r in rows if r["system"] == "binary_flat"}
    assert set(beside) == {f"recall_{m}@{k}" for m in ("sign", "rotation") for k in QUICK["ks"]}
    base = np.concatenate(list(small.base_chunks()))
    encode = make_binariser("sign", small.train(), 16)
    distance, nearest = hamming(encode(small.queries), encode(base)), small.nearest
    own = distance[np.arange(40), nearest]
    best = ((distance < own[:, None]).sum(axis=1) < 10).mean()
    worst = ((distance <= own[:, None]).sum(axis=1) <= 10).mean()
    assert worst <= beside["recall_sign@10"] <= best
    sweep = search_sweep([(5, 100), (10, 200)], dim=32, n_train=200, indexes=["flat_ip"], beside=("sign",), **QUICK)
    assert {r["scale_txt"] for r in sweep if r["quantity"].startswith("recall_sign")} == {200}
    with pytest.raises(AssertionError, match="unknown binariser 'pca'"):
        search_rows(small, beside=("pca",), **QUICK)


def test_threads_are_pinned_inside_and_restored_after():
    before = faiss.omp_get_max_threads()
    with faiss_threads(1) as inside:
        assert inside == faiss.omp_get_max_threads() == 1
    assert faiss.omp_get_max_threads() == before


def test_a_sweep_gives_each_size_and_an_exponent_an_index():
    sizes = doubling_sizes(20, 400, 3)
    assert sizes == [(5, 100), (10, 200), (20, 400)]
    options = {**QUICK, "ks": (1, 150)}
    rows = search_sweep(sizes, dim=32, n_train=200, indexes=["flat_ip", "binary_flat"], **options)
    assert {(r["scale_img"], r["scale_txt"]) for r in rows[:-2]} == set(sizes)
    assert [(r["system"], r["quantity"], r["repeats"]) for r in rows[-2:]] == [
        ("flat_ip", "exponent", 3),
        ("binary_flat", "exponent", 3),
    ]
    deep = [r["scale_txt"] for r in rows if r["quantity"] == "recall@150" and r["system"] == "flat_ip"]
    assert deep == [200, 400]


def test_a_stopped_sweep_goes_on_and_what_was_measured_is_kept(tmp_path, monkeypatch):
    built, build, names = [], search._Search.index_rows, ["flat_ip", "binary_flat"]
    run, stop_at = Run("mini", 0, tmp_path, {}), 4

    def stopping(self, name):
        if len(built) == stop_at - 1:
            raise KeyboardInterrupt
        built.append((name, self.data.n_base))
        return build(self, name)

    def sweep(**changes):
        options = {"dim": 32, "n_train": 200, "indexes": names, "beside": ("sign",), "run": run, **QUICK}
        return search_sweep([(5, 100), (10, 200)], **{**options, **changes})

    monkeypatch.setattr(search._Search, "index_rows", stopping)
    with pytest.raises(KeyboardInterrupt):
        sweep()
    assert built == [("flat_ip", 100), ("binary_flat", 100), ("flat_ip", 200)]
    stop_at = -1
    first = sweep()
    assert built[3:] == [("binary_flat", 200)]
    assert sweep() == first
    assert len(built) == 4
    fresh = sweep(run=None)
    assert len(built) == 8
    same = [i for i, r in enumerate(fresh) if r["quantity"].startswith("recall")]
    assert [first[i]["value"] for i in same] == [fresh[i]["value"] for i in same]
    assert [(r["system"], r["quantity"]) for r in first] == [(r["system"], r["quantity"]) for r in fresh]
    sweep(seed=7)  # other vectors
    sweep(ks=(1, 10))  # other depths
    assert len(built) == 16
    kept = sorted((tmp_path / "costs/search").glob("flat_ip__10x200__*"))
    assert len(kept) == 3
    for path in kept:
        path.write_text("{")
    sweep(ks=(1, 10))
    assert built[16:] == [("flat_ip", 200)]


def test_what_cannot_be_searched_is_refused_before_anything_is_timed(small):
    def refused(match: str, data=small, **changes):
        with pytest.raises(InputError, match=match):
            search_rows(data, **{**QUICK, **changes})

    refused("k = .* was asked of a gallery of 900; expected k from 1 to 900", ks=(1, 901))
    refused("expected k from 1 to 900", ks=(0,))
    for changes in (
        {"settings": Settings(bits=16, n_list=1000)}, {"settings": Settings(bits=16, n_list=20, n_probe=21)},
        {"indexes": ["annoy"]}, {"indexes": []},
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            search_rows(small, **{**QUICK, **changes})
    with pytest.raises(InputError, match="was asked of a gallery of 400"):
        search_sweep([(5, 400)], dim=32, ks=(401,))
    with pytest.raises(InputError, match="doubling up to 2 queries"):
        doubling_sizes(2, 100, 3)
    with pytest.raises(AssertionError):
        new_index("annoy", 32, 900, Settings())


def test_a_size_that_cannot_fit_says_what_it_needs(small, monkeypatch):
    monkeypatch.setattr(indexes, "available_memory", lambda: 2**20)
    with pytest.raises(InputError, match=r"hnsw_flat over 900 candidates .* needs about .* GiB .* fewer candidates"):
        search_rows(small, **QUICK)
    paper = Synthetic(16, 5_000, 1_000)
    paper.dim, paper.n_base, paper.n_query = 2048, 5_000_000, 1_000_000
    assert needed_bytes("flat_ip", paper, 1000, Settings()) > 2 * 5_000_000 * 2048 * 4
    assert needed_bytes("binary_flat", paper, 1000, Settings()) < 24 * 2**30
