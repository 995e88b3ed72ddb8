"""Exponents of growth recovered from known laws, and sweeps that stop in time."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils.costs.clock import Measurement
from fico_utils.costs.rows import Sweep, exponent_row, fit_growth, sweep_sizes
from fico_utils.errors import InputError


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7, 2.0])
def test_an_exact_power_law_is_recovered_and_carried_on(exponent):
    sizes = np.array([100, 200, 400, 800])
    growth = fit_growth(sizes, 3e-4 * sizes**exponent)
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
        growth = fit_growth(sizes, truth[:5])
        covered += abs(growth.exponent - 2) <= growth.half_width
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
        growth = fit_growth(sizes, truth[:3], exponent=1)
        _, low, high = growth.predict(1e6)
        covered += low <= truth[3] <= high
    assert 0.91 <= covered / 400 <= 0.98
    rates = np.log(truth[:3] / sizes)
    value, low, high = growth.predict(1e6)
    assert value == pytest.approx(1e6 * np.exp(rates.mean()))
    assert high / value == pytest.approx(np.exp(t.ppf(0.975, 2) * rates.std(ddof=1) * np.sqrt(1 + 1 / 3)))
    assert (growth.exponent, growth.half_width) == (1, 0)


def test_two_sizes_give_an_exponent_without_an_interval():
    growth = fit_growth([1, 2], [1, 4])
    assert growth.exponent == pytest.approx(2)
    assert np.isnan(growth.half_width)
    assert exponent_row([1, 2], [1, 4], "attention")["spread"] is None


@pytest.mark.parametrize(
    ("sizes", "costs"),
    [([1], [1]), ([2, 2], [1, 1]), ([1, 2], [1]), ([], []), ([1, 2], [0, 1]), ([1, 2], [-1, 1]), ([1, 2], [1, np.nan])],
)
def test_what_cannot_be_fitted_is_not(sizes, costs):
    with pytest.raises(AssertionError):
        fit_growth(sizes, costs)


def test_one_size_has_no_exponent_and_says_so():
    assert exponent_row([10], [1.0], "attention")["status"] == "undefined"


def swept(sizes, limit_s: float | None = None, exponent: float | None = None, beyond=()) -> Sweep:
    """A sweep of a cost that grows with the square of the size; 30 images are too many for the memory."""
    sweep = Sweep("attention", ["seconds"], {"system": "scan"}, limit_s, exponent)

    def measure(size, names):
        assert names == ["scan"]
        return {"scan": {} if size[0] == 30 else {"seconds": Measurement((size[0] ** 2 * 1e-2,))}}

    sizes, beyond = ([(n, 5 * n) for n in numbers] for numbers in (sizes, beyond))
    sweep_sizes({"scan": sweep}, sizes, measure, beyond)
    return sweep


def test_a_sweep_extrapolates_what_would_take_too_long():
    sweep = swept([10, 20, 40], limit_s=10.0, beyond=[1000])
    assert [r["status"] for r in sweep.rows] == ["ok", "ok", "extrapolated", "extrapolated"]
    assert [(r["scale_img"], r["scale_txt"]) for r in sweep.rows] == [(n, 5 * n) for n in (10, 20, 40, 1000)]
    assert sweep.rows[2]["value"] == pytest.approx(16.0)
    assert sweep.rows[3]["value"] == pytest.approx(10_000.0)
    assert sweep.measured() == ([10, 20], [1.0, 4.0])
    assert exponent_row(*sweep.measured(), "encode")["value"] == pytest.approx(2)


def test_a_known_exponent_carries_the_sweep():
    sweep = swept([10, 20], exponent=1.0, beyond=[1000])
    assert sweep.rows[-1]["value"] == pytest.approx(1000 * np.sqrt(0.1 * 0.2))


def test_too_few_sizes_give_no_value_and_say_why():
    sweep = swept([30, 40], beyond=[50])
    assert [r["status"] for r in sweep.rows] == ["dnf", "ok", "dnf"]
    assert [r["value"] for r in sweep.rows] == [None, 16.0, None]
    idle = Sweep("features", ["seconds"], {})
    idle.extrapolate((20, 100))
    assert idle.rows == []


@pytest.mark.parametrize("sizes", [[], [(0, 5)], [(5, 0)]])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises(InputError, match="at least 1 each"):
        sweep_sizes({}, sizes, None)


def test_one_size_is_too_few_to_extrapolate_from():
    with pytest.raises(InputError, match="two different sizes"):
        sweep_sizes({}, [(1, 5)], None, [(9, 45)])
