"""Kernels over one block of scores: what is counted at instance level, and the expected median under ties.

They never see NaN or +inf, which the callers refuse; see `compiling`.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from fico_utils.evaluation.compiling import kernel

#: Probabilities below this are left out of a distribution.
NEGLIGIBLE = 1e-18
#: A query with more correct items than the first, in a row of more scores than the second, has so many buckets.
MANY, BUCKETS = 24, 2048
#: Arrays to fill, int32 (n_query,): what is counted around the best correct item of each query.
Counts = namedtuple("Counts", ("above", "tied", "tied_correct"))


@kernel
def code_scores(queries, gallery, bits, out):
    """Fill ``out`` (b, m) uint16 with bits + 1 - Hamming distance; queries (b, w), gallery (w, m), both uint64."""
    step = 4096
    for i in range(queries.shape[0]):
        for start in range(0, gallery.shape[1], step):
            row = out[i, start : start + step]
            row[:] = bits + 1
            for w in range(gallery.shape[0]):
                word, column = queries[i, w], gallery[w, start : start + step]
                for j in range(row.size):
                    row[j] -= np.uint16(np.bitwise_count(word ^ column[j]))


@kernel
def _count_higher(row, score):
    """How many of a row score higher than ``score``, and how many not lower, int32.

    The compiler makes vector instructions, some ten times as fast, of a loop over an index that adds 32-bit numbers; of
    one over the scores themselves, or with wider numbers, it does not.
    """
    above, not_below = np.int32(0), np.int32(0)
    for j in range(row.size):
        above = np.int32(above + np.int32(row[j] > score))
        not_below = np.int32(not_below + np.int32(row[j] >= score))
    return above, not_below


@kernel
def count_ranked(scores, first, lowest, ranked):
    """Count the items of each row that are ranked: those above ``lowest``."""
    for i in range(scores.shape[0]):
        ranked[first + i] = _count_higher(scores[i], lowest)[0]


@kernel
def count_balls(scores, first, least, balls):
    """Count the items of each row within Hamming balls, (n_query, n_ball): those that score ``least[ball]`` or more."""
    for i in range(scores.shape[0]):
        for ball in range(least.size):
            balls[first + i, ball] = _count_higher(scores[i], least[ball])[1]


@kernel
def count_instances(scores, first, start, items, lowest, ranked, counts):
    """Count, for each row, what scores higher than its best correct item and what ties with it (itself included).

    ``items[start[q] : start[q + 1]]`` are the correct items of query ``q = first + row``, ascending. A query without
    them, or whose correct items were not ranked, gets ``tied = 0`` and all that is ranked above.
    """
    for i in range(scores.shape[0]):
        row, q = scores[i], first + i
        best, hits = lowest, 0
        for j in range(start[q], start[q + 1]):
            best = max(best, row[items[j]])
        if best == lowest:
            counts.above[q], counts.tied[q], counts.tied_correct[q] = ranked[q], 0, 0
            continue
        for j in range(start[q], start[q + 1]):
            hits += row[items[j]] == best
        n_above, n_not_below = _count_higher(row, best)
        counts.above[q], counts.tied[q], counts.tied_correct[q] = n_above, n_not_below - n_above, hits


@kernel
def _fill_buckets(row, correct, bucket, counts, parts):
    """Put the scores of a row into buckets, so that a correct item need only be compared with those of its own.

    ``correct`` are the correct items that are ranked, highest first. Fills ``bucket`` (m,) of each item, ascending with
    the score; ``counts[0]``, how many lie in higher buckets; and, where a correct item lies in it, the scores of a
    bucket, ``parts`` from there to ``counts[1]``. False, and nothing is filled, where there is little to compare, or
    the correct scores are equal, too close or too far apart to be divided.
    """
    if correct.size <= MANY or row.size <= BUCKETS:
        return False
    least = float(row[correct[-1]])
    difference = float(row[correct[0]]) - least
    scale = (BUCKETS - 3) / difference if difference > 0.0 else 0.0
    if not 0.0 < scale < np.inf:
        return False
    for j in range(row.size):
        place = (float(row[j]) - least) * scale + 1.0  # rounding keeps the order
        bucket[j] = np.uint16(min(max(place, 0.0), BUCKETS - 1.0))
    counts[:], total = 0, 0
    for j in range(row.size):
        counts[j & 1, bucket[j]] += 1  # two tables in turn: an addition need not wait for the one before
    for b in range(BUCKETS - 1, -1, -1):
        count = counts[0, b] + counts[1, b]
        counts[0, b], counts[1, b] = total, -1
        total += count
    for j in correct:
        counts[1, bucket[j]] = counts[0, bucket[j]]
    for j in range(row.size):
        to = counts[1, bucket[j]]
        if to >= 0:
            parts[to] = row[j]
            counts[1, bucket[j]] = to + 1
    return True


@kernel
def group_correct(scores, first, start, items, judged, lowest, block):
    """Fill ``block``, a `kernels_ranking.Block`, with the groups of the correct items of each query.

    ``items`` are as in `count_instances`; ``judged`` are their grades and gains, or empty where all count 1. What was
    not ranked (``lowest``) is in no group, and its gain counts in the best order.
    """
    bucket, parts = np.empty(scores.shape[1], np.uint16), np.empty(scores.shape[1], scores.dtype)
    counts = np.empty((2, BUCKETS), np.int32)
    for i in range(scores.shape[0]):
        row, mine = scores[i], items[start[first + i] : start[first + i + 1]]
        order = np.argsort(-row[mine].astype(np.float64), kind="mergesort")
        n, listed, ranked = 0, 0, mine[order[: (row[mine] > lowest).sum()]]
        in_buckets = _fill_buckets(row, ranked, bucket, counts, parts)
        while listed < ranked.size:
            score, stop, part, higher = row[ranked[listed]], listed, row, 0
            while stop < ranked.size and row[ranked[stop]] == score:
                stop += 1
            if in_buckets:
                b = bucket[ranked[listed]]
                part, higher = parts[counts[0, b] : counts[1, b]], counts[0, b]
            above, not_below = _count_higher(part, score)
            block.above[i, n], block.size[i, n], block.hits[i, n] = above + higher, not_below - above, stop - listed
            n += 1
            equal, seen = above + higher, 0
            for p in range(listed, stop if block.places.shape[0] else listed):
                item = ranked[p]
                if not_below - above > 1:
                    for other in range(seen, item):
                        equal += row[other] == score
                block.places[i, p], seen = equal, item
            listed = stop
        block.n[i], block.n_places[i] = n, listed
        if block.grades.shape[0]:
            block.times[i] = 0
            for p in range(mine.size):
                at = start[first + i] + order[p]
                block.grades[i, p], block.gains[i, p] = judged[0][at], judged[1][at]
            best = np.sort(block.gains[i, : mine.size])
            for p in range(mine.size):
                block.level_gains[i, p], block.times[i, p] = best[mine.size - 1 - p], 1


@kernel
def reciprocal_ranks(above, tied, correct, cuts):
    """Expectation of 1 / rank of the first correct item, or 0 where that lies beyond the cut: (n_query,) float64."""
    values = np.zeros(above.size)
    for i in range(above.size):
        if tied[i] == 0:
            continue
        chance = correct[i] / tied[i]  # that the first correct item stands on this place of the tied ones
        for place in range(1, min(cuts[i] - above[i], tied[i] - correct[i] + 1) + 1):
            values[i] += chance / (above[i] + place)
            if tied[i] > place:
                chance *= (tied[i] - place - correct[i] + 1.0) / (tied[i] - place)
    return values


@kernel
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


@kernel
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


@kernel
def _hit_chances(above, tied, correct, x):
    """`ties.hit_probability` under random order, for kernels."""
    chance = np.empty(above.size)
    for i in range(above.size):
        drawn, miss = min(max(x - above[i], 0), tied[i]), 1.0
        for place in range(correct[i]):
            miss *= max(tied[i] - place - drawn, 0) / (tied[i] - place)
        chance[i] = 1.0 - miss if tied[i] > 0 else 0.0
    return chance


@kernel
def add_tail_probabilities(above, tied, correct, times, m, first, last):
    """``first`` plus the probabilities, for x = ``first`` ... ``last`` - 1, of fewer than ``m`` hits in the top x."""
    n = times.sum() + 1
    state, spare, step = np.zeros(n), np.zeros(n), np.zeros(n)
    total = float(first)
    for x in range(first, last):
        total += _fewer_hits(_hit_chances(above, tied, correct, x), times, m, state, spare, step)
    return total
