"""Encoding in streams of bounded memory, and attention at growing galleries."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fico_utils.costs.attention import attention_rows
from fico_utils.costs.clock import Timing
from fico_utils.costs.encoding import encoding_rows, time_encoder, together
from fico_utils.errors import InputError


class OnDemand:
    """Rows made when they are asked for, slowly."""

    def __init__(self, n: int, width: int = 4, delay: float = 0.0) -> None:
        self.n, self.width, self.delay = n, width, delay
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, part: slice) -> np.ndarray:
        time.sleep(self.delay)
        rows = len(range(*part.indices(self.n)))
        self.asked.append(rows)
        return np.ones((rows, self.width), np.float32)


def test_every_item_is_encoded_once_a_run_in_batches():
    items = OnDemand(25)
    seen = []
    time_encoder(lambda batches: [seen.append(len(b)) for b in batches], items, 23, batch=10, repeats=2, warmup=0)
    assert seen == items.asked == [10, 10, 3] * 2


def test_generators_are_drained():
    seen = []

    def encode(batches):
        for batch in batches:
            seen.append(len(batch))
            yield batch * 2

    time_encoder(encode, OnDemand(20), 20, batch=5, repeats=1, warmup=0)
    assert sum(seen) == 20


def test_rendering_is_not_encoding():
    slow = OnDemand(8, delay=0.02)
    timing = time_encoder(lambda batches: [b.sum() for b in batches], slow, 8, batch=2, repeats=2)
    assert timing.seconds < 0.04  # of the 0.08 s that the four batches take to arrive


def test_memory_does_not_grow_with_the_collection():
    def peak(n: int) -> int:
        items = OnDemand(n, width=2**15)  # 4 MiB a batch of 32
        return time_encoder(lambda bs: (b.sum() for b in bs), items, n, batch=32, repeats=1).extra_bytes

    peak(64)
    assert peak(2048) < 64 * 2**20  # the collection is 256 MiB


def test_rows_keep_images_and_texts_apart_and_add_them():
    rows = encoding_rows(
        lambda bs: [time.sleep(0.001) for _ in bs],
        OnDemand(20),
        lambda bs: [time.sleep(0.002) for _ in bs],
        OnDemand(100),
        scales=[(10, 50), (20, 100)],
        batch=10,
        extrapolate_to=[(40, 200)],
        repeats=3,
        system="scan",
        corpus="picto_diverse",
    )
    assert [(r["scale_img"], r["quantity"]) for r in rows[:3]] == [
        (10, "seconds_image"),
        (10, "seconds_text"),
        (10, "seconds"),
    ]
    image, text, total = (r["value"] for r in rows[3:6])
    assert 0.002 <= image < text < total
    assert {r["status"] for r in rows[6:]} == {"extrapolated"}
    assert {(r["system"], r["corpus"], r["phase"], r["unit"]) for r in rows} == {
        ("scan", "picto_diverse", "encode", "s")
    }


def test_together_adds_samples_pairwise():
    both = together(Timing((1.0, 2.0, 3.0), peak_bytes=5), Timing((10.0, 20.0), warm=False, peak_bytes=9))
    assert both.samples == (11.0, 22.0)
    assert (both.warm, both.peak_bytes) == (False, 9)


def test_scales_beyond_the_items_are_refused_before_anything_runs():
    ran = []
    with pytest.raises(InputError, match="100 items were asked to be encoded and 60 given"):
        encoding_rows(ran.append, OnDemand(20), ran.append, OnDemand(60), scales=[(10, 50), (20, 100)])
    with pytest.raises(InputError, match="a batch size of 0"):
        encoding_rows(ran.append, OnDemand(20), ran.append, OnDemand(100), scales=[(10, 50)], batch=0)
    with pytest.raises(InputError, match="a budget of 0 s"):
        encoding_rows(ran.append, OnDemand(20), ran.append, OnDemand(100), scales=[(10, 50)], budget_s=0)
    assert ran == []


def test_attention_finds_the_exponent_of_pairs_and_of_reranking():
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


def test_cost_per_query_is_a_share_of_the_whole_or_measured_by_asking_one():
    def score(n_img: int, n_txt: int) -> None:
        time.sleep(0.05)

    shared = attention_rows(score, [(10, 50)], repeats=1)
    assert shared[1]["quantity"] == "seconds_per_query"
    assert shared[1]["value"] == pytest.approx(shared[0]["value"] / 60)
    asked = attention_rows(score, [(10, 50)], ask=lambda n, m: time.sleep(0.002), repeats=1)
    assert 0.002 <= asked[1]["value"] < 0.05
    assert asked[-1]["status"] == "undefined"  # one size has no exponent
