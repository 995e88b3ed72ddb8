"""The Pareto front against its definition; the calculator on costs whose law is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fico_utils.costs.rows import cost_row
from fico_utils.errors import InputError
from fico_utils.extras.galleries.choice import choose_setup
from fico_utils.extras.setups import Screened, measured_screens, pareto_front


def test_the_front_is_what_nothing_beats():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 6, (80, 3)).astype(float)
    signs = np.array([1, -1, -1])  # larger, smaller, smaller is better
    expected = [not any(((b - a) * signs >= 0).all() and ((b - a) * signs > 0).any() for b in values) for a in values]
    got = pareto_front(values, ("max", "min", "min"))
    assert got.tolist() == expected
    assert 0 < got.sum() < len(values)


def test_equal_rows_stay_together_and_an_empty_front_is_no_front():
    assert pareto_front([[1, 1], [1, 1], [0, 2]], ("max", "min")).tolist() == [True, True, False]
    assert pareto_front(np.zeros((0, 2)), ("max", "min")).tolist() == []


def measured(setup: str, sizes, seconds, item_bytes: float, recalls, **columns) -> list[dict]:
    rows = []
    for n, s, r in zip(sizes, seconds, recalls, strict=True):
        place = {"system": setup, "scale_img": n, "scale_txt": 50, "corpus": "picto_diverse", **columns}
        rows += [
            cost_row("deploy", "seconds_per_query", s, **place),
            cost_row("deploy", "item_bytes", item_bytes, unit="B", **place),
            cost_row("deploy", "recall_t2i@1", r, unit="", **place),
        ]
    return rows


SIZES = (1000, 2000, 4000)
ROWS = [
    *measured("beit3+flat_ip", SIZES, [1e-5 + 1e-7 * n for n in SIZES], 512, (0.50, 0.48, 0.46)),
    *measured("beit3+hnsw_flat", SIZES, [1e-6 * n**0.5 for n in SIZES], 784, (0.49, 0.47, 0.45)),
    *measured("ucch+binary_flat_counting", SIZES, [1e-8 * n for n in SIZES], 8, (0.20, 0.18, 0.16)),
    *measured("ucch+beit3@100", SIZES, [2e-5 + 1e-8 * n for n in SIZES], 520, (0.45, 0.43, 0.41)),
]


def test_a_measured_size_is_answered_as_measured():
    answer = choose_setup(ROWS, 2000)
    assert (answer.best.setup, answer.best.recall, answer.best.status) == ("beit3+flat_ip", 0.48, "ok")
    assert answer.best.memory == 512 * 2000
    assert answer.best.seconds == pytest.approx(1e-5 + 1e-7 * 2000)
    assert "(measured)" in str(answer)
    assert len(answer.choices) == 4


def test_laws_are_carried_on_and_said_to_be():
    answer = choose_setup(ROWS, 1_000_000)
    by = {c.setup: c for c in answer.choices}
    assert by["beit3+flat_ip"].seconds == pytest.approx(1e-5 + 0.1, rel=1e-6)  # reads every item
    assert by["beit3+hnsw_flat"].seconds == pytest.approx(1e-3, rel=1e-6)  # a power of n
    assert {c.status for c in answer.choices} == {"extrapolated"}
    assert {c.measured_to for c in answer.choices} == {4000}
    assert by["beit3+flat_ip"].recall < 0.46
    assert "extrapolated: measured up to 4,000 items, 250 times as many" in answer.text


def test_the_budget_decides():
    gib = 2**30
    assert choose_setup(ROWS, 1_000_000, seconds=0.05).best.setup == "beit3+hnsw_flat"
    assert choose_setup(ROWS, 1_000_000, seconds=0.05, memory_bytes=0.5 * gib).best.setup == "ucch+beit3@100"
    small = choose_setup(ROWS, 1_000_000, memory_bytes=0.1 * gib)
    assert small.best.setup == "ucch+binary_flat_counting"
    assert [c.fits for c in small.choices] == [True, False, False, False]


def test_a_size_that_cannot_fit_says_what_it_needs():
    answer = choose_setup(ROWS, 100_000_000, memory_bytes=2**20, seconds=1e-4)
    assert answer.best is None
    assert "nothing that was measured fits" in answer.text
    assert "The smallest is UCCH in CG Flat counting with 763 MiB" in answer.text
    assert "split the collection over several machines" in answer.text


def test_recall_never_rises_with_the_gallery():
    rising = measured("beit3", (100, 200), (1e-3, 2e-3), 4, (0.5, 0.6))
    assert choose_setup(rising, 10_000).best.recall == 0.6
    nothing = measured("dadh", (100, 200), (1e-3, 2e-3), 4, (0.1, 0.0))
    assert choose_setup(nothing, 10_000).best.recall == 0.0


def test_a_setup_measured_once_is_not_carried_on():
    once = measured("dadh+binary_flat_counting", (1000,), (1e-9,), 8, (0.9,))
    setups = [c.setup for c in choose_setup([*ROWS, *once], 5000).choices]
    assert "dadh+binary_flat_counting" not in setups
    assert choose_setup([*ROWS, *once], 1000).best.setup == "dadh+binary_flat_counting"


def test_questions_without_sense_are_refused():
    for budget in ({"memory_bytes": 0}, {"seconds": 0}, {"seconds": -1}, {"memory_bytes": float("nan")}):
        with pytest.raises(InputError, match="expected more than 0"):
            choose_setup(ROWS, 1000, **budget)
    with pytest.raises(InputError, match="collection of 0 items"):
        choose_setup(ROWS, 0)
    with pytest.raises(InputError, match="no setup was measured with recall_i2t@1"):
        choose_setup(ROWS, 1000, recall="recall_i2t@1")
    with pytest.raises(InputError, match="no setup was measured"):
        choose_setup([], 1000)
    other = measured("beit3", SIZES, (1, 2, 3), 4, (0.1, 0.1, 0.1), corpus="picto_people")
    with pytest.raises(InputError, match="rows of corpora picto_diverse, picto_people"):
        choose_setup([*ROWS, *other], 1000)


def test_every_pair_of_choices_is_in_order():
    choices = choose_setup(ROWS, 10_000, memory_bytes=1e7).choices
    for a, b in itertools.pairwise(choices):
        assert (a.fits, a.recall) >= (b.fits, b.recall)


# -------------------------------------------------------------------------------------------------- screens


def test_a_screen_stands_beside_its_second_step_alone():
    (one,) = measured_screens(ROWS, 2000)
    assert (one.setup, one.first, one.second, one.k) == ("ucch+beit3@100", "ucch", "beit3", 100)
    assert one.kept == pytest.approx(0.43 / 0.48)
    assert one.faster == pytest.approx((1e-5 + 2e-4) / (2e-5 + 2e-5))


@pytest.mark.parametrize(
    ("kept", "faster", "pays"),
    [(0.99, 5.0, True), (1.01, 80.0, True), (0.98, 80.0, False), (1.0, 4.9, False), (float("nan"), 9.0, False)],
)
def test_a_screen_pays_where_it_keeps_nearly_all_in_a_fraction_of_the_time(kept, faster, pays):
    assert Screened("ucch+scan@10", "ucch", "scan", 10, kept, faster).pays == pays


def test_cross_attention_alone_is_the_system_itself_and_what_was_not_measured_alone_is_left_out():
    scan = measured("scan", [1000], [1.0], 9000, [0.0]) + measured("ucch+scan@10", [1000], [0.1], 9008, [0.1])
    (one,) = measured_screens([*scan, *measured("ucch+imram@10", [1000], [0.1], 9008, [0.1])], 1000)
    assert (one.second, one.faster) == ("scan", pytest.approx(10))
    assert np.isnan(one.kept)
    assert measured_screens(ROWS, 3000) == []
