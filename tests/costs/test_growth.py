"""Exponents of growth recovered from known laws, and sweeps that stop in time."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils.costs.clock import Timing
from fico_utils.costs.growth import exponent_row, fit, sweep
from fico_utils.errors import InputError


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7, 2.0])
def test_an_exact_power_law_is_recovered_and_carried_on(exponent):
    sizes = np.array([100, 200, 400, 800])
    growth = fit(sizes, 3e-4 * sizes**exponent)
    assert growth.exponent == pytest.approx(exponent)
    value, low, high = growth.predict(10_000)
    assert value == pytest.approx(3e-4 * 10_000**exponent)
    assert low <= value * (1 + 1e-9)
    assert high >= value * (1 - 1e-9)


def test_the_interval_equals_scipy_and_covers_as_often_as_it_says():
    from scipy.stats import linregress, t

    rng = np.random.default_rng(0)
    sizes = np.array([100, 200, 400, 800, 1600])
    covered = ahead = 0
    for _ in range(400):
        noise = rng.normal(0, 0.1, 6)
        truth = 1e-3 * np.array([*sizes, 6400.0]) ** 2 * np.exp(noise)
        growth = fit(sizes, truth[:5])
        covered += growth.low <= 2 <= growth.high
        _, low, high = growth.predict(6400)
        ahead += low <= truth[5] <= high
    assert 0.91 <= covered / 400 <= 0.98
    assert 0.91 <= ahead / 400 <= 0.98
    oracle = linregress(np.log(sizes), np.log(truth[:5]))
    assert growth.exponent == pytest.approx(oracle.slope)
    assert growth.half_width == pytest.approx(oracle.stderr * t.ppf(0.975, 3))


def test_a_known_exponent_leaves_the_coefficient_with_an_interval_that_covers():
    from scipy.stats import t

    rng = np.random.default_rng(1)
    sizes = np.array([100, 300, 1000])
    covered = 0
    for _ in range(400):
        truth = 2e-3 * np.array([*sizes, 1e6]) * np.exp(rng.normal(0, 0.1, 4))
        growth = fit(sizes, truth[:3], exponent=1)
        _, low, high = growth.predict(1e6)
        covered += low <= truth[3] <= high
    assert 0.91 <= covered / 400 <= 0.98
    rates = np.log(truth[:3] / sizes)
    value, low, high = growth.predict(1e6)
    assert value == pytest.approx(1e6 * np.exp(rates.mean()))
    assert high / value == pytest.approx(np.exp(t.ppf(0.975, 2) * rates.std(ddof=1) * np.sqrt(1 + 1 / 3)))
    assert (growth.exponent, growth.low, growth.high) == (1, 1, 1)


def test_two_sizes_give_an_exponent_without_an_interval():
    growth = fit([1, 2], [1, 4])
    assert growth.exponent == pytest.approx(2)
    assert np.isnan(growth.half_width)
    assert exponent_row([(1, 1), (2, 4)], "attention")["spread"] is None


@pytest.mark.parametrize(
    ("sizes", "costs"),
    [([1], [1]), ([2, 2], [1, 1]), ([1, 2], [1]), ([], []), ([1, 2], [0, 1]), ([1, 2], [1, np.nan])],
)
def test_what_cannot_be_fitted_is_refused(sizes, costs):
    with pytest.raises(InputError, match="a growth fit was given"):
        fit(sizes, costs)


def test_one_size_has_no_exponent_and_says_so():
    assert exponent_row([(10, 1.0)], "attention")["status"] == "undefined"


def square(n_img: int, n_txt: int) -> dict[str, Timing]:
    return {"seconds": Timing((n_img**2 * 1e-2,))}


def test_a_sweep_goes_upwards_and_extrapolates_what_would_take_too_long():
    ran = []

    def time_at(n_img: int, n_txt: int) -> dict[str, Timing]:
        ran.append(n_img)
        return square(n_img, n_txt)

    cells = list(sweep([(40, 200), (10, 50), (20, 100)], time_at, limit_s=10.0, extrapolate_to=[(1000, 5000)]))
    assert ran == [10, 20]
    assert [c.status for c in cells] == ["ok", "ok", "extrapolated", "extrapolated"]
    assert cells[2].costs["seconds"].seconds == pytest.approx(16.0)
    assert cells[3].costs["seconds"].seconds == pytest.approx(10_000.0)


def test_a_size_out_of_memory_did_not_finish_and_the_rest_is_kept():
    def time_at(n_img: int, n_txt: int) -> dict[str, Timing]:
        if n_img == 20:
            raise MemoryError
        return square(n_img, n_txt)

    cells = list(sweep([(10, 50), (20, 100), (40, 200)], time_at))
    assert [c.status for c in cells] == ["ok", "dnf", "ok"]


@pytest.mark.parametrize("sizes", [[], [(0, 5)], [(5, 0)]])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises(InputError, match="at least 1 each"):
        list(sweep(sizes, square))


def test_a_zero_limit_and_a_fit_from_one_size_are_refused():
    with pytest.raises(InputError, match=r"a limit of 0 s was given"):
        list(sweep([(1, 5)], square, limit_s=0))
    with pytest.raises(InputError, match="two different sizes"):
        list(sweep([(1, 5)], square, extrapolate_to=[(9, 45)]))
