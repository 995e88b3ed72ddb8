"""Attention at query time: exponents of growth, the cost of one query, and systems that rerank."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fico_utils import registry
from fico_utils.costs import attention
from fico_utils.costs.attention import Pairs, attention_rows
from fico_utils.costs.clock import Timing, measure_time
from fico_utils.costs.sections import attention_table
from fico_utils.errors import InputError
from fico_utils.models import encoding
from fico_utils.models.blip2 import Blip2, Blip2Config
from fico_utils.models.scan import Scan, ScanConfig
from fico_utils.models.training import Inputs
from fico_utils.models.xvlm import Xvlm, XvlmConfig
from fico_utils.workspace import Run

N_IMG, WORDS = 12, 30


@pytest.fixture(scope="module")
def systems() -> dict[str, tuple]:
    """One small system of each kind of attention, with something to read."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    models = {
        "scan": Scan(ScanConfig(6, WORDS, d=8, d_word=4)),
        "xvlm": Xvlm(XvlmConfig(6, WORDS, width=16, heads=2, n_text_layers=1, n_fusion_layers=1, d_embed=8)),
    }
    tokens = rng.integers(4, WORDS, (5 * N_IMG, 7))
    tokens[::2, 5:] = 0
    images = rng.standard_normal((N_IMG, 36, 6)).astype(np.float32)
    owner = np.repeat(np.arange(N_IMG), 5)
    return {
        name: (m.eval(), Inputs({m.image_input: images}, {"tokens": tokens}, owner, "toy"))
        for name, m in models.items()
    }


class Work:
    """Pairs that take the time of a function of the size."""

    def __init__(self, score, settings=None) -> None:
        self.score, self.settings = score, settings or {}

    def measure(self, size, timing):
        whole = measure_time(lambda: self.score(*size), timing)
        return {"seconds": whole, "seconds_per_query": whole.shared_by(sum(size))}


@pytest.mark.usefixtures("simulated_time")
def test_the_exponent_of_pairs_and_of_reranking_is_found():
    def pairs(n_img: int, n_txt: int) -> None:
        time.sleep(n_img * n_txt * 4e-6)

    def rerank(n_img: int, n_txt: int) -> None:
        time.sleep((n_img + n_txt) * 1.5e-4)

    sizes = [(20, 100), (40, 200), (80, 400)]
    found = {}
    for name, score in (("pairs", pairs), ("rerank", rerank)):
        last = attention_rows(Work(score), sizes, timing=Timing(repeats=3))[-1]
        assert (last["quantity"], last["repeats"], last["unit"]) == ("exponent", 3, "")
        found[name] = last["value"]
    assert found["pairs"] == pytest.approx(2)
    assert found["rerank"] == pytest.approx(1)


def test_one_size_has_no_exponent():
    rows = attention_rows(Work(lambda n, m: time.sleep(0.02)), [(10, 50)], timing=Timing(repeats=1))
    assert rows[1]["value"] == pytest.approx(rows[0]["value"] / 60)
    assert rows[-1]["status"] == "undefined"


def test_the_first_ranking_is_outside_the_clock_of_all_and_inside_that_of_one(systems, monkeypatch):
    pairs, serving = pairs_of(systems, "xvlm", depth=3), type(registry.system("xvlm").serving)
    ranked, timed, compare = [], [], serving.compare
    monkeypatch.setattr(serving, "compare", lambda *how: ranked.append(1) or compare(*how))

    def clock(function, timing, *, prepare=None):
        arguments = () if prepare is None else (prepare(),)
        before = len(ranked)
        measured = measure_time(lambda: function(*arguments), timing)
        timed.append(len(ranked) - before)
        return measured

    monkeypatch.setattr(attention, "measure_time", clock)
    pairs.measure((4, 20), Timing(repeats=1, warmup=0))
    assert timed == [0, 2]  # the second clock is of two queries, and each ranks first


def test_sizes_that_were_measured_are_kept(tmp_path):
    ran, run = [], Run("mini", 0, tmp_path, {})

    def score(n_img: int, n_txt: int) -> None:
        ran.append(n_img)
        if n_img == 30:
            raise KeyboardInterrupt
        time.sleep(0.001)

    def measured(key: str, n: int = 2):
        work = Work(score, {"model": key})
        return attention_rows(work, [(10, 50), (20, 100), (30, 150)][:n], timing=Timing(repeats=1), run=run)

    with pytest.raises(KeyboardInterrupt):
        measured("a", 3)
    assert ran == [10, 10, 20, 20, 30]  # each with its warm-up
    ran.clear()
    first = measured("a")
    assert ran == []
    assert measured("a") == first
    measured("b")
    assert ran == [10, 10, 20, 20]


@pytest.mark.usefixtures("simulated_time")
def test_a_size_over_the_limit_is_extrapolated_and_one_out_of_memory_did_not_finish():
    def score(n_img: int, n_txt: int) -> None:
        if n_img == 20:
            raise MemoryError
        time.sleep(n_img**2 * 1e-4)

    sizes = [(n, 5 * n) for n in (10, 20, 30, 1000)]
    rows = attention_rows(Work(score), sizes, timing=Timing(repeats=1, limit_s=2.0))
    assert [r["status"] for r in rows if r["quantity"] == "seconds"] == ["ok", "dnf", "ok", "extrapolated"]


def pairs_of(systems, system: str, n_img: int = N_IMG, n_txt: int = 5 * N_IMG, depth: int = 0) -> Pairs:
    model, inputs = systems[system]
    features = inputs.image[model.image_input][:n_img], inputs.text[model.text_input][:n_txt]
    return Pairs(system, model, lambda: registry.system(system).serving.encode(model, *features), depth)


def read_all(pairs: Pairs):
    """What is scored when all ask all."""
    ranking = pairs.serving.rank_first(pairs.model, *pairs.items)
    return pairs.serving.read_pairs(pairs.model, *pairs.items, ranking, pairs.depth)


def test_the_attention_of_all_pairs_is_the_models_own(systems):
    model, inputs = systems["scan"]
    encoded = encoding.encode(model, inputs)
    expected = encoding.attention_scores(model, encoded["img"][:8], encoded["txt"][:40], progress=False)
    np.testing.assert_allclose(read_all(pairs_of(systems, "scan", 8, 40)), expected, rtol=1e-4, atol=1e-5)


def test_reranking_reads_the_first_of_each_query_from_stored_contexts(systems):
    model, inputs = systems["xvlm"]
    scores = read_all(pairs_of(systems, "xvlm", depth=3))
    encoded = encoding.encode(model, inputs)
    expected = encoding.rerank(model, inputs, encoding.late_scores(model, **encoded), 3, progress=False)
    for name, sim in scores.items():
        assert (np.isfinite(sim).sum(1) == 3).all()
        np.testing.assert_allclose(sim, expected[name], rtol=1e-3, atol=1e-4)


def test_one_query_of_a_reranker_reads_no_more_than_its_candidates(systems, monkeypatch):
    model, pairs = systems["xvlm"][0], pairs_of(systems, "xvlm", depth=3)
    read, match = [], model.match
    monkeypatch.setattr(model, "match", lambda image, text: read.append((len(image), len(text))) or match(image, text))
    pairs.measure((12, 60), Timing(repeats=1, warmup=0))
    assert read[-2:] == [(3, 3), (3, 3)]


@pytest.mark.parametrize("system", ["scan", "xvlm"])
def test_rows_of_a_system(systems, system):
    pairs, sizes = pairs_of(systems, system, depth=2), [(4, 20), (8, 40)]
    rows = attention_rows(pairs, sizes, extrapolate_to=[(100, 500)], timing=Timing(repeats=2), system=system)
    seconds = {r["scale_img"]: r for r in rows if r["quantity"] == "seconds"}
    each = {r["scale_img"]: r for r in rows if r["quantity"] == "seconds_per_query"}
    assert [seconds[n]["status"] for n in (4, 8, 100)] == ["ok", "ok", "extrapolated"]
    assert all(each[n]["value"] > 0 and each[n]["status"] == "ok" for n in (4, 8))


@pytest.mark.parametrize("system", ["scan", "xvlm", "blip2"])
def test_pairs_score_as_the_whole_matrix_does(systems, system):
    if system == "blip2":
        torch.manual_seed(0)
        model = Blip2(Blip2Config(6, WORDS, width=16, heads=2, n_queries=3, d_embed=8)).eval()
        systems = {"blip2": (model, systems["xvlm"][1])}
    model, inputs = systems[system]
    pairs, encoded = pairs_of(systems, system, 5, 12), encoding.encode(model, inputs)
    if system == "scan":
        whole = encoding.attention_scores(model, encoded["img"], encoded["txt"], progress=False).T
    else:
        whole = encoding.rerank(model, inputs, encoding.late_scores(model, **encoded), 100, progress=False)["sim_t2i"]
    asked, ids = np.arange(12), np.array([[4, 0, 2]] * 12)
    expected = whole[asked[:, None], ids]
    np.testing.assert_allclose(pairs.score(asked, ids), expected, atol=2e-4)
    np.testing.assert_allclose(pairs.score(asked, ids[0]), expected, atol=2e-4)
    assert expected.std() > 1e-4
    assert pairs.items[0].bytes_per_item > 0


def test_a_rerank_is_no_deeper_than_the_smallest_gallery():
    member = SimpleNamespace(system="xvlm", serving=registry.system("xvlm").serving)
    for depth in (0, 5):
        subjects = SimpleNamespace(run={"rerank_depth": depth}, members=[member])
        with pytest.raises(InputError, match=f"reranking the first {depth} of a gallery of 4"):
            attention_table(subjects, [8, 4])
