"""Kernels of average precision over the first relevant items, wherever they stand; groups as in `kernels_measures`."""

from __future__ import annotations

import numpy as np

from fico_utils.evaluation.compiling import kernel
from fico_utils.evaluation.tasks import EXPECTED, OPTIMISTIC

#: A probability below this adds nothing to an expectation that is added up from differences.
NEGLIGIBLE = 1e-13
#: A power of two near the largest number.
HUGE = 2.0**600


@kernel
def _first_of_group(group, hits_above, wanted):
    """Expected sum of precision at the first ``wanted`` relevant items of a group in random order.

    Let h of the first p places be relevant (hypergeometric). Place p holds the h-th relevant item with chance h / p,
    so that the sum is that of E[(hits_above + h) h; h <= wanted] / (p (above + p)) over all p. The moments of h up to
    ``wanted`` follow from those one place above and from the probability of h = wanted.
    """
    above, size, hits = group
    # the last, as a multiple of a power of HUGE, since it may be too small for a number; the multiple counts as 0
    edge, powers = 1.0, 0
    for i in range(wanted):
        edge *= (hits - i) / (size - i)
        if edge < 1.0 / HUGE:
            edge, powers = edge * HUGE, powers + 1
    mass, first, second, total = 1.0, 0.0, 0.0, 0.0
    for drawn in range(size):
        full, left = edge if drawn >= wanted and powers == 0 else 0.0, float(size - drawn)
        mass, first, second = mass - full, first - wanted * full, second - wanted * wanted * full
        second += ((2.0 * hits - 1.0) * first + hits * mass - 2.0 * second) / left
        first += (hits * mass - first) / left
        full *= 1.0 - (hits - wanted) / left  # no relevant item comes, which would be one too many
        mass, first, second = mass + full, first + wanted * full, second + wanted * wanted * full
        total += (hits_above * first + second) / ((drawn + 1.0) * (above + drawn + 1.0))
        if drawn >= wanted:
            edge *= (drawn + 1.0) / (drawn + 1.0 - wanted) * (left - hits + wanted) / left
            if powers and edge >= 1.0:
                edge, powers = edge / HUGE, powers - 1
            if mass < NEGLIGIBLE or left - hits + wanted <= 0:
                break
    return total


@kernel
def _first_precisions(groups, n, wanted, policy):
    """Expected sum of precision at the first ``wanted`` relevant items of one query."""
    found, total = 0, 0.0
    for g in range(n):
        above, size, hits = np.int64(groups[0][g]), np.int64(groups[1][g]), np.int64(groups[2][g])
        if policy != EXPECTED:
            above, size = above if policy == OPTIMISTIC else above + size - hits, hits
        new = min(hits, wanted - found)
        if size == hits:
            for i in range(new):
                total += (found + i + 1.0) / (above + i + 1.0)
        else:
            total += _first_of_group((above, size, hits), found, new)
        found += hits
        if found >= wanted:
            break
    return total


@kernel
def first_block(groups, first, facts, asked, policy, values):
    """Fill columns of ``values`` (n_query, n_column) of the queries from ``first``, one for each row of ``groups``.

    ``facts`` are the number of relevant items of each query and the sizes of its Hamming balls; ``asked`` how many
    items each column takes at most (-2 - b: the size of ball b), and the columns.
    """
    (relevant, balls), (specs, columns) = facts, asked
    for i in range(groups[3].size):
        q = first + i
        mine = (groups[0][i], groups[1][i], groups[2][i])
        for c in range(columns.size):
            wanted = specs[c] if specs[c] > 0 else np.int64(balls[q, -2 - specs[c]])
            wanted = min(wanted, np.int64(relevant[q]))
            values[q, columns[c]] = _first_precisions(mine, groups[3][i], wanted, policy) / wanted if wanted else 0.0
