"""Compiled loops over one block of scores: what the instance level counts, and the expected median under ties.

All compiled functions are made by numba at their first call (seconds, then cached beside this file) and release the
GIL. They never see NaN or +inf, which the callers refuse. numba's cache notices a change only in the file of a
function itself, so that a compiled function calls only those of its own module.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fico_utils.evaluation.tasks import EXPECTED, OPTIMISTIC

#: Probabilities below this are left out of a distribution.
NEGLIGIBLE = 1e-18
#: Arrays to fill, a row each query: int32 (n_query,), and ``correct_found`` float64 (n_query, n_k).
Counts = namedtuple("Counts", ("above", "tied", "tied_correct", "ranked", "correct_found"))


@intrinsic
def _popcount(typingctx, word):
    """Number of set bits of a 64-bit word (numba has no ``numpy.bitwise_count``)."""

    def codegen(context, builder, signature, args):
        return builder.ctpop(builder.bitcast(args[0], ir.IntType(64)))

    return types.uint64(types.uint64), codegen


@njit(nogil=True, cache=True)
def code_scores(queries, gallery, bits, out):
    """Fill ``out`` (b, m) uint16 with bits - Hamming distance; queries (b, w), gallery (w, m), both uint64."""
    step = 4096
    for i in range(queries.shape[0]):
        for start in range(0, gallery.shape[1], step):
            row = out[i, start : start + step]
            row[:] = bits
            for w in range(gallery.shape[0]):
                word, column = queries[i, w], gallery[w, start : start + step]
                for j in range(row.size):
                    row[j] -= np.uint16(_popcount(word ^ column[j]))


@njit(nogil=True, cache=True)
def count_instances(scores, first, start, items, may_cut, counts):
    """Count, for each row, what scores higher than its best correct item and what ties with it (itself included).

    ``items[start[q] : start[q + 1]]`` are the correct items of query ``q = first + row``. If ``may_cut``, ``ranked``
    (items above -inf) is filled, too. A query whose correct items were not ranked gets ``tied = 0``.
    """
    for i in range(scores.shape[0]):
        row, q = scores[i], first + i
        best = row[items[start[q]]]
        for j in range(start[q], start[q + 1]):
            best = max(best, row[items[j]])
        hits = 0
        for j in range(start[q], start[q + 1]):
            hits += row[items[j]] == best
        n_above, n_not_below = 0, 0
        for s in row:
            n_above += s > best
            n_not_below += s >= best
        counts.above[q], counts.tied[q], counts.tied_correct[q] = n_above, n_not_below - n_above, hits
        if may_cut:
            depth = 0
            for s in row:
                depth += s > -np.inf
            counts.ranked[q] = depth
            if best == -np.inf:
                counts.above[q], counts.tied[q], counts.tied_correct[q] = depth, 0, 0


@njit(nogil=True, cache=True)
def count_found(scores, first, start, items, ks, policy, counts):
    """Fill ``correct_found``: how many correct items stand among the first ``ks`` of each row.

    Correct items of one score are a group; in random order it has its even share of the places that it reaches, in the
    best or worst order its correct items stand first or last. What was not ranked (-inf) is not found.
    """
    for i in range(scores.shape[0]):
        row, q = scores[i], first + i
        for j in range(start[q], start[q + 1]):
            score, is_first = row[items[j]], True
            for before in range(start[q], j):
                is_first &= row[items[before]] != score
            if not is_first or score == -np.inf:
                continue
            hits, above, not_below = 0, 0, 0
            for other in range(j, start[q + 1]):
                hits += row[items[other]] == score
            for s in row:
                above += s > score
                not_below += s >= score
            size = not_below - above
            for t in range(ks.size):
                drawn = min(max(ks[t] - above, 0), size)
                if policy == EXPECTED:
                    counts.correct_found[q, t] += drawn * hits / size
                elif policy == OPTIMISTIC:
                    counts.correct_found[q, t] += min(drawn, hits)
                else:
                    counts.correct_found[q, t] += max(0, drawn - (size - hits))


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
        spare[: size + width - 1] = 0.0
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
        state[:size] = spare[left : left + size]
    total = 0.0
    for h in range(min(size, m - low)):
        total += state[h]
    return total


@njit(nogil=True, cache=True)
def hit_chances(above, tied, correct, x):
    """The probability that each query has a hit in the top x, as `ties.hit_probability` in fewer microseconds."""
    chance = np.empty(above.size)
    for i in range(above.size):
        drawn, miss = min(max(x - above[i], 0), tied[i]), 1.0
        for place in range(correct[i]):
            miss *= max(tied[i] - place - drawn, 0) / (tied[i] - place)
        chance[i] = 1.0 - miss if tied[i] > 0 else 0.0
    return chance


@njit(nogil=True, cache=True)
def add_tail_probabilities(above, tied, correct, times, m, first, last):
    """``first`` plus the probabilities, for x = ``first`` ... ``last`` - 1, of fewer than ``m`` hits in the top x."""
    n = times.sum() + 1
    state, spare, step = np.zeros(n), np.zeros(n), np.zeros(n)
    total = float(first)
    for x in range(first, last):
        total += _fewer_hits(hit_chances(above, tied, correct, x), times, m, state, spare, step)
    return total
