"""Kernels from groups to the values of each query, exact under ties.

A *group* is a set of gallery items with equal score that holds at least one relevant item, written as three
integers: how many items stand above it, how many it holds, how many of these are relevant. Groups in rank order, and
the grades of their relevant items where these differ, are all that every measure of one query needs.
"""

from __future__ import annotations

import numpy as np

from fico_utils.evaluation.compiling import kernel
from fico_utils.evaluation.tasks import EXPECTED, OPTIMISTIC

#: What a column holds of each query, at a cut: relevant items found, the sum of precision at their ranks, its mean,
#: discounted gain by the best possible, the sum of grades, and mean grade so far averaged over the relevant ranks.
KINDS = ("found", "precisions", "ap", "ndcg", "grades", "wap")
FOUND, PRECISIONS, AP, NDCG, GRADES, WAP = range(6)


@kernel
def _precision_sum(drawn, size, hits, above, weight, mean, harmonic):
    """Expected sum of precision at the relevant ranks among the first ``drawn`` places of a group in random order.

    ``weight`` is what the relevant items above count together, ``mean`` what one of the group counts: for precision the
    number of relevant items above, and 1; for weighted average precision their grades.
    """
    if size == 1:
        return (weight + mean) / (above + 1.0)
    q = (hits - 1.0) / (size - 1.0) * mean
    spread = harmonic[above + drawn] - harmonic[above]
    return hits / size * ((weight + mean - q * (above + 1.0)) * spread + q * drawn)


@kernel
def _cut_average(drawn, group, hits_above, total, weight, mean, harmonic):
    """Expected mean of precision at the relevant ranks where the cut falls ``drawn`` places into a group.

    Given that h of the ``drawn`` leading items are relevant (hypergeometric), they stand anywhere among them, and the
    mean is (total + their precisions) / (hits_above + h); ``total`` is the precision sum of the groups above.
    """
    above, size, hits = group
    low, high = max(0, drawn - (size - hits)), min(drawn, hits)
    spread = harmonic[above + drawn] - harmonic[above]
    linear = (weight + mean) * spread / drawn
    square = mean * (drawn - (above + 1.0) * spread) / (drawn * (drawn - 1.0)) if drawn > 1 else 0.0
    mode = min(max((drawn + 1) * (hits + 1) // (size + 2), low), high)
    mass, expected = 0.0, 0.0
    for side in range(2):
        h, chance = mode, 1.0
        while low <= h <= high and chance > 1e-18:
            if h != mode or side == 0:
                mass += chance
                if hits_above + h > 0:
                    expected += chance * (total + h * linear + h * (h - 1.0) * square) / (hits_above + h)
            rest = size - hits - drawn
            if side == 0:
                chance *= (hits - h) * (drawn - h) / ((h + 1.0) * (rest + h + 1.0))
                h += 1
            else:
                chance *= h * (rest + h) / ((hits - h + 1.0) * (drawn - h + 1.0)) if h > 0 else 0.0
                h -= 1
    return expected / mass


@kernel
def _place_items(listed, first, hits, count, start, weight, policy, discounts):
    """Grades, gains and precisions of ``count`` relevant items of a group that stand on the places from ``start``.

    The best order takes the highest grades first, the worst the lowest.
    """
    grades, gains = listed
    grade, gain, precision = 0.0, 0.0, 0.0
    for j in range(count):
        at = first + (hits - 1 - j if policy == OPTIMISTIC else j)
        grade += grades[at]
        gain += gains[at] * (discounts[start + j + 1] - discounts[start + j])
        precision += (weight + grade) / (start + j + 1.0)
    return grade, gain, precision


@kernel
def _cut_extreme(drawn, group, hits_above, total, weight, policy, listed, tables):
    """Best or worst mean of precision at the relevant ranks where the cut falls ``drawn`` places into a group.

    More relevant items are not always better: one more may have a lower precision than the mean of those above.
    Without grades (``listed`` is empty) each item counts 1.
    """
    above, size, hits = group
    low, high = max(0, drawn - (size - hits)), min(drawn, hits)
    extreme = -1.0
    for h in range(low, high + 1):
        value = 0.0
        if hits_above + h:
            start = above if policy == OPTIMISTIC else above + drawn - h
            own = 0.0
            if h and listed[0].size:
                own = _place_items(listed, hits_above, hits, h, start, weight, policy, tables[1])[2]
            elif h:
                own = _precision_sum(h, h, h, start, weight, 1.0, tables[0])
            value = (total + own) / (hits_above + h)
        if extreme < 0 or (value > extreme) == (policy == OPTIMISTIC):
            extreme = value
    return extreme


@kernel
def _fill_whole(at, t, state):
    """What is known at a cut that falls between groups; ``state`` holds found, and the four sums."""
    found, precisions, grade, gain, weighted = state
    at[FOUND, t], at[PRECISIONS, t], at[GRADES, t], at[NDCG, t] = found, precisions, grade, gain
    at[AP, t] = precisions / found if found else 0.0
    at[WAP, t] = weighted / found if found else 0.0


@kernel
def _fill_partly(at, t, drawn, group, state, sums, policy, listed, tables):
    """What is known, or expected, at a cut that falls ``drawn`` places into a group."""
    above, size, hits = group
    found, precisions, grade, gain, weighted = state
    harmonic, discounts = tables
    if policy == EXPECTED:
        mean = sums[0] / hits
        at[FOUND, t] = found + drawn * hits / size
        at[PRECISIONS, t] = precisions + _precision_sum(drawn, size, hits, above, found, 1.0, harmonic)
        # rounding may lift a perfect ranking above 1
        at[AP, t] = min(_cut_average(drawn, group, found, precisions, found, 1.0, harmonic), 1.0)
        at[GRADES, t] = grade + drawn * sums[0] / size
        at[NDCG, t] = gain + sums[1] / size * (discounts[above + drawn] - discounts[above])
        at[WAP, t] = at[AP, t]
        if listed[0].size:
            at[WAP, t] = _cut_average(drawn, group, found, weighted, grade, mean, harmonic)
        return
    h = min(drawn, hits) if policy == OPTIMISTIC else max(0, drawn - (size - hits))
    start = above if policy == OPTIMISTIC else above + drawn - h
    at[FOUND, t], at[GRADES, t] = found + h, grade + h
    at[NDCG, t] = gain + discounts[start + h] - discounts[start]
    at[PRECISIONS, t] = precisions + (_precision_sum(h, h, h, start, found, 1.0, harmonic) if h else 0.0)
    nothing = (listed[0][:0], listed[1][:0])
    at[AP, t] = _cut_extreme(drawn, group, found, precisions, found, policy, nothing, tables)
    at[WAP, t] = at[AP, t]
    if listed[0].size:
        own = _place_items(listed, found, hits, h, start, grade, policy, discounts)
        at[GRADES, t], at[NDCG, t] = grade + own[0], gain + own[1]
        at[WAP, t] = _cut_extreme(drawn, group, found, weighted, grade, policy, listed, tables)


@kernel
def _add_up(values):
    """The sum from the first to the last, as compiled code adds."""
    total = 0.0
    for value in values:
        total += value
    return total


@kernel
def measure_cuts(groups, n, listed, cuts, policy, tables, at):
    """Fill ``at`` (kinds, cuts) of one query; ``cuts`` are ascending ranks.

    ``groups`` are the arrays above, size and hits; ``listed`` the grades and gains of the relevant items in rank order,
    ascending among equals, or empty where all count 1; ``tables`` the sums of 1/i and of 1/log2(1 + i).
    """
    harmonic, discounts = tables
    graded, t = listed[0].size > 0, 0
    found, precisions, grade, gain, weighted = 0, 0.0, 0.0, 0.0, 0.0
    g = 0
    while g < n:
        above, size, hits = np.int64(groups[0][g]), np.int64(groups[1][g]), np.int64(groups[2][g])
        while t < cuts.size and cuts[t] <= above:
            _fill_whole(at, t, (found, precisions, grade, gain, weighted))
            t += 1
        if t == cuts.size:
            return
        if size == 1 and not graded:  # as below, in a tenth of the time: items that tie with nothing, down to the cut
            while g < n and groups[1][g] == 1 and groups[0][g] < cuts[t]:
                place = np.int64(groups[0][g])
                precisions += (found + 1.0) / (place + 1.0)
                gain += discounts[place + 1] - discounts[place]
                found, grade, g = found + 1, grade + 1.0, g + 1
            weighted = precisions
            continue
        sums = (float(hits), float(hits))
        if graded:
            sums = (_add_up(listed[0][found : found + hits]), _add_up(listed[1][found : found + hits]))
        while t < cuts.size and cuts[t] < above + size:
            state = (found, precisions, grade, gain, weighted)
            _fill_partly(at, t, cuts[t] - above, (above, size, hits), state, sums, policy, listed, tables)
            t += 1
        if policy != EXPECTED:
            # the relevant items stand first or last, as a group of their own
            above, size = above if policy == OPTIMISTIC else above + size - hits, hits
        precisions += _precision_sum(size, size, hits, above, found, 1.0, harmonic)
        if graded and policy != EXPECTED:
            own = _place_items(listed, found, hits, hits, above, grade, policy, discounts)
            gain, weighted = gain + own[1], weighted + own[2]
        else:
            gain += sums[1] / size * (discounts[above + size] - discounts[above])
            if graded:
                weighted += _precision_sum(size, size, hits, above, grade, sums[0] / hits, harmonic)
            else:
                weighted = precisions
        grade, found, g = grade + sums[0], found + hits, g + 1
    while t < cuts.size:
        _fill_whole(at, t, (found, precisions, grade, gain, weighted))
        t += 1


@kernel
def _ideal_gain(cut, relevant, levels, discounts):
    """Discounted gain of the best order at a cut; ``levels`` are gains, highest first, and how many items have each."""
    gains, times = levels
    if gains.size == 0:
        return discounts[min(cut, relevant)]
    total, place = 0.0, 0
    for level in range(gains.size):
        after = min(place + times[level], cut)
        total += gains[level] * (discounts[after] - discounts[place])
        place = after
    return total


@kernel
def measure_block(groups, listed, levels, first, facts, asked, policy, tables, values):
    """Fill the columns of ``values`` (n_query, n_column) of the queries from ``first``, one for each row of ``groups``.

    ``groups`` (above, size, hits, n), ``listed`` and ``levels`` are as above, a row a query; ``facts`` are the number
    of relevant items of each query, the sizes of its Hamming balls, and the size of the gallery; ``asked`` the distinct
    cuts (a rank; 0 all, -1 as many as are relevant, -2 - b ball b), then kind, cut and column of each value.
    """
    (relevant, balls, n_item), (specs, kinds, cut_of, columns) = facts, asked
    at, cuts, order = np.zeros((6, specs.size)), np.empty(specs.size, np.int64), np.empty(specs.size, np.int64)
    for i in range(groups[3].size):
        q = first + i
        n, mine = groups[3][i], (groups[0][i], groups[1][i], groups[2][i])
        for t in range(specs.size):
            cut = min(specs[t], n_item) if specs[t] > 0 else n_item if specs[t] == 0 else np.int64(relevant[q])
            cut = balls[q, -2 - specs[t]] if specs[t] < -1 else cut
            to = t
            while to > 0 and cuts[to - 1] > cut:
                cuts[to], order[to] = cuts[to - 1], order[to - 1]
                to -= 1
            cuts[to], order[to] = cut, t
        grades = (listed[0][i], listed[1][i]) if listed[0].shape[0] else (np.zeros(0), np.zeros(0))
        if grades[0].size and policy != EXPECTED:
            place = 0
            for g in range(n):
                place += mine[2][g]
                for part in grades:
                    part[place - mine[2][g] : place].sort()
        measure_cuts(mine, n, grades, cuts, policy, tables, at)
        for place in range(specs.size):
            t, cut = order[place], cuts[place]
            for c in range(kinds.size):
                if cut_of[c] != t:
                    continue
                value = at[kinds[c], place]
                if kinds[c] == NDCG:
                    best = (levels[0][i], levels[1][i]) if levels[0].shape[0] else (np.zeros(0), np.zeros(0, np.int64))
                    value /= max(_ideal_gain(cut, relevant[q], best, tables[1]), 1e-300)
                values[q, columns[c]] = value
