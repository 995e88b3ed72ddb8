"""Compiled: the exact expectation of an order statistic of first-hit ranks under ties."""

from __future__ import annotations

import numpy as np
from numba import njit

#: Probabilities below this are left out of a distribution.
NEGLIGIBLE = 1e-18


@njit(nogil=True, cache=True)
def _binomial(n, p, out):
    """Fill ``out`` with the binomial probabilities around the mode; (first value, how many)."""
    mode = min(int((n + 1) * p), n)
    low, high, weight, total = mode, mode, 1.0, 1.0
    while low > 0 and weight > NEGLIGIBLE:
        weight *= low * (1 - p) / ((n - low + 1) * p)
        low -= 1
        total += weight
    weight = 1.0
    while high < n and weight > NEGLIGIBLE:
        weight *= (n - high) * p / ((high + 1) * (1 - p))
        high += 1
        total += weight
    out[mode - low] = 1.0 / total
    for h in range(mode, low, -1):
        out[h - 1 - low] = out[h - low] * h * (1 - p) / ((n - h + 1) * p)
    for h in range(mode, high):
        out[h + 1 - low] = out[h - low] * (n - h) * p / ((h + 1) * (1 - p))
    return low, high - low + 1


@njit(nogil=True, cache=True)
def _fewer_hits(chance, times, m, state, spare, step):
    """Probability of fewer than ``m`` hits when ``times[i]`` queries hit with probability ``chance[i]``."""
    state[0] = 1.0
    low, size = 0, 1
    for i in range(chance.size):
        if chance[i] <= 0.0:
            continue
        if chance[i] >= 1.0:
            low += times[i]
            continue
        base, width = _binomial(times[i], chance[i], step)
        for h in range(size + width - 1):
            spare[h] = 0.0
        for a in range(size):
            for b in range(width):
                spare[a + b] += state[a] * step[b]
        low, size = low + base, size + width - 1
        left = 0
        while spare[left] < NEGLIGIBLE:
            left += 1
        while spare[size - 1] < NEGLIGIBLE:
            size -= 1
        low, size = low + left, size - left
        for h in range(size):
            state[h] = spare[left + h]
    total = 0.0
    for h in range(min(size, m - low)):
        total += state[h]
    return total


@njit(nogil=True, cache=True)
def _hit_chances(above, tied, correct, x, chance):
    """Fill ``chance`` with the probability of a correct item in the top x, as `ties.hit_probability`."""
    for i in range(above.size):
        drawn, miss = min(max(x - above[i], 0), tied[i]), 1.0
        for place in range(correct[i]):
            miss *= max(tied[i] - place - drawn, 0) / (tied[i] - place)
        chance[i] = 1.0 - miss if tied[i] > 0 else 0.0


@njit(nogil=True, cache=True)
def _excess(above, tied, correct, times, m, x, chance):
    """Expected number of hits in the top x less ``m``, in units beyond 1 of which the tail is below 1e-16."""
    _hit_chances(above, tied, correct, x, chance)
    mean, variance = 0.0, 0.0
    for i in range(chance.size):
        mean += times[i] * chance[i]
        variance += times[i] * chance[i] * (1.0 - chance[i])
    return (mean - m) / (10.0 * np.sqrt(variance) + 40.0)


@njit(nogil=True, cache=True)
def expected_order(above, tied, correct, times, m, low, high):
    """Expected ``m``-th smallest first-hit rank; it lies in ``low ... high``.

    E[X] = low + sum over x from ``low`` to ``high - 1`` of P(X > x), and X > x where fewer than ``m`` of the
    queries have a hit in the top x. The query of kind i occurs ``times[i]`` times. Bisection skips the x at which
    that probability is 1 or 0 to the last digit.
    """
    n = 0
    for i in range(times.size):
        n += times[i]
    chance = np.empty(above.size)
    state, spare, step = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)
    edges = np.empty(2, np.int64)
    for edge in range(2):
        a, b = low, high
        while a < b:
            x = (a + b) // 2
            if _excess(above, tied, correct, times, m, x, chance) < 2 * edge - 1:
                a = x + 1
            else:
                b = x
        edges[edge] = a
    total = float(edges[0])
    for x in range(edges[0], edges[1]):
        _hit_chances(above, tied, correct, x, chance)
        total += _fewer_hits(chance, times, m, state, spare, step)
    return total
