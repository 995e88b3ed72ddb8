"""Attention at query time: exponents of growth, the cost of one query, and systems that rerank."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from fico_utils.costs.attention import attends, attention_rows, query_time
from fico_utils.errors import InputError
from fico_utils.models import encoding
from fico_utils.models.scan import Scan, ScanConfig
from fico_utils.models.training import Inputs
from fico_utils.models.xvlm import Xvlm, XvlmConfig

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


def test_the_exponent_of_pairs_and_of_reranking_is_found():
    def pairs(n_img: int, n_txt: int) -> None:
        time.sleep(n_img * n_txt * 4e-6)

    def rerank(n_img: int, n_txt: int) -> None:
        time.sleep((n_img + n_txt) * 1.5e-4)

    sizes = [(20, 100), (40, 200), (80, 400)]
    found = {}
    for name, score in (("pairs", pairs), ("rerank", rerank)):
        last = attention_rows(score, sizes, repeats=3)[-1]
        assert (last["quantity"], last["repeats"], last["unit"]) == ("exponent", 3, "")
        found[name] = last["value"]
    assert found["pairs"] == pytest.approx(2, abs=0.25)
    assert found["rerank"] == pytest.approx(1, abs=0.25)


def test_cost_per_query_is_a_share_of_the_whole_or_measured_by_asking():
    def score(n_img: int, n_txt: int) -> None:
        time.sleep(0.05)

    shared = attention_rows(score, [(10, 50)], repeats=1)
    assert shared[1]["quantity"] == "seconds_per_query"
    assert shared[1]["value"] == pytest.approx(shared[0]["value"] / 60)
    asked = attention_rows(score, [(10, 50)], ask=lambda n, m: time.sleep(0.02), asked=4, repeats=1)
    assert 0.005 <= asked[1]["value"] < 0.02
    assert asked[-1]["status"] == "undefined"  # one size has no exponent


def test_preparing_is_outside_the_clock():
    rows = attention_rows(
        lambda n, m, given: time.sleep(given), [(10, 50)], prepare=lambda n, m: time.sleep(0.1) or 0.01, repeats=2
    )
    assert 0.01 <= rows[0]["value"] < 0.1


def test_sizes_that_were_measured_are_kept(tmp_path):
    ran = []

    def score(n_img: int, n_txt: int) -> None:
        ran.append(n_img)
        if n_img == 30:
            raise KeyboardInterrupt
        time.sleep(0.001)

    arguments = {"repeats": 1, "parts": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        attention_rows(score, [(10, 50), (20, 100), (30, 150)], key="a", **arguments)
    assert ran == [10, 10, 20, 20, 30]  # each with its warm-up
    ran.clear()
    first = attention_rows(score, [(10, 50), (20, 100)], key="a", **arguments)
    assert ran == []
    assert attention_rows(score, [(10, 50), (20, 100)], key="a", **arguments) == first
    attention_rows(score, [(10, 50), (20, 100)], key="b", **arguments)
    assert ran == [10, 10, 20, 20]


def test_the_attention_of_all_pairs_is_the_models_own(systems):
    model, inputs = systems["scan"]
    asked = query_time("scan", model, inputs, [(4, 20), (8, 40)], depth=0)
    encoded = encoding.encode(model, inputs)
    expected = encoding.score(model, encoded["img"][:8], encoded["txt"][:40], progress=False)
    np.testing.assert_allclose(asked.score(8, 40), expected, rtol=1e-4, atol=1e-5)
    assert asked.prepare is None


def test_reranking_reads_the_first_of_each_query_from_stored_contexts(systems):
    model, inputs = systems["xvlm"]
    asked = query_time("xvlm", model, inputs, [(6, 30), (12, 60)], depth=3)
    scores = asked.score(12, 60, asked.prepare(12, 60))
    encoded = encoding.encode(model, inputs)
    expected = encoding.rerank(model, inputs, encoding.late_scores(model, **encoded), 3, progress=False)
    for name, sim in scores.items():
        assert (np.isfinite(sim).sum(1) == 3).all()
        np.testing.assert_allclose(sim, expected[name], rtol=1e-3, atol=1e-4)


def test_one_query_of_a_reranker_reads_no_more_than_its_candidates(systems, monkeypatch):
    model, inputs = systems["xvlm"]
    asked = query_time("xvlm", model, inputs, [(6, 30), (12, 60)], depth=3)
    read, match = [], model.match
    monkeypatch.setattr(model, "match", lambda image, text: read.append((len(image), len(text))) or match(image, text))
    asked.ask(12, 60)
    assert read == [(3, 3), (3, 3)]


@pytest.mark.parametrize("system", ["scan", "xvlm"])
def test_rows_of_a_system(systems, system):
    model, inputs = systems[system]
    asked = query_time(system, model, inputs, [(4, 20), (8, 40)], depth=2)
    rows = attention_rows(
        asked.score, [(4, 20), (8, 40)], extrapolate_to=[(100, 500)], repeats=2, system=system, **asked.arguments()
    )
    seconds = {r["scale_img"]: r for r in rows if r["quantity"] == "seconds"}
    each = {r["scale_img"]: r for r in rows if r["quantity"] == "seconds_per_query"}
    assert [seconds[n]["status"] for n in (4, 8, 100)] == ["ok", "ok", "extrapolated"]
    assert all(each[n]["value"] > 0 and each[n]["status"] == "ok" for n in (4, 8))


def test_who_attends_is_known():
    assert [attends(s) for s in ("scan", "imram", "blip2", "xvlm", "blip2_nf", "beit3", "ucch")] == [True] * 4 + [
        False
    ] * 3


def test_what_cannot_be_asked_is_refused(systems):
    model, inputs = systems["xvlm"]
    with pytest.raises(InputError, match="beit3 computes no attention at query time"):
        query_time("beit3", model, inputs, [(4, 20)], 2)
    with pytest.raises(InputError, match="attention over 13 images and 60 texts"):
        query_time("xvlm", model, inputs, [(13, 60)], 2)
    with pytest.raises(InputError, match="reranking the first 5 of a gallery of 4"):
        query_time("xvlm", model, inputs, [(8, 40), (4, 20)], 5)
    with pytest.raises(InputError, match="a budget of 0 s"):
        attention_rows(lambda n, m: None, [(4, 20)], budget_s=0)
