"""Compiled loops over one block of scores: average precision and curves, exact under ties.

A *group* is a set of gallery items with equal score that holds at least one relevant item, written as three
integers: how many items stand above it, how many it holds, how many of these are relevant. Groups in rank order are all
that average precision and the curve need. Floats are sorted together with their relevance; codes are not sorted, but
counted by their distance. What is said of compilation in `kernels_instance` holds here too.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np
from numba import njit

from fico_utils.evaluation.tasks import EXPECTED, OPTIMISTIC

#: Of the radix sort: a digit has 11 bits, and the digits start at these bits of a key.
DIGIT, ONE, MID, TOP = np.uint64(2047), np.uint64(1), np.uint64(12), np.uint64(23)
SIGN, MAGNITUDE = np.uint32(2**31), np.uint32(2**31 - 1)
#: Arrays to fill, a row each query: ``ap`` and ``found`` (n_query, n_k), ``curve`` (n_query, 11 or 0), ``relevant``.
Marks = namedtuple("Marks", ("ap", "found", "curve", "relevant"))


@njit(nogil=True, cache=True)
def _group_precision(size, hits, above, hits_above, harmonic):
    """Expected sum of precision at the relevant ranks of one group in random order."""
    if size == 1:
        return (hits_above + 1.0) / (above + 1.0)
    q = (hits - 1.0) / (size - 1.0)
    spread = harmonic[above + size] - harmonic[above]
    return hits / size * ((hits_above + 1.0 - q * (above + 1.0)) * spread + q * size)


@njit(nogil=True, cache=True)
def _cut_average(drawn, size, hits, above, hits_above, total, harmonic):
    """Expected AP@k where rank k = above + drawn falls inside a group in random order.

    Given that h of the ``drawn`` leading items are relevant (hypergeometric), they stand anywhere among them, and
    AP = (total + their precisions) / (hits_above + h); ``total`` is the precision sum of the groups above.
    """
    low, high = max(0, drawn - (size - hits)), min(drawn, hits)
    spread = harmonic[above + drawn] - harmonic[above]
    linear = (hits_above + 1.0) * spread / drawn
    square = (drawn - (above + 1.0) * spread) / (drawn * (drawn - 1.0)) if drawn > 1 else 0.0
    mode = min(max((drawn + 1) * (hits + 1) // (size + 2), low), high)
    mass, mean = 0.0, 0.0
    for side in range(2):
        h, weight = mode, 1.0
        while low <= h <= high and weight > 1e-18:
            if h != mode or side == 0:
                mass += weight
                if hits_above + h > 0:
                    mean += weight * (total + h * linear + h * (h - 1.0) * square) / (hits_above + h)
            rest = size - hits - drawn
            if side == 0:
                weight *= (hits - h) * (drawn - h) / ((h + 1.0) * (rest + h + 1.0))
                h += 1
            else:
                weight *= h * (rest + h) / ((hits - h + 1.0) * (drawn - h + 1.0)) if h > 0 else 0.0
                h -= 1
    return min(mean / mass, 1.0)  # rounding may lift a perfect ranking above 1


@njit(nogil=True, cache=True)
def _cut_extreme(drawn, size, hits, above, hits_above, total, policy, harmonic):
    """Best or worst AP@k where rank k = above + drawn falls inside a group.

    More relevant items are not always better: one more may have a lower precision than the mean of those above.
    """
    low, high = max(0, drawn - (size - hits)), min(drawn, hits)
    extreme = -1.0
    for h in range(low, high + 1):
        value = 0.0
        if hits_above + h:
            start = above if policy == OPTIMISTIC else above + drawn - h
            own = _group_precision(h, h, start, hits_above, harmonic) if h else 0.0
            value = (total + own) / (hits_above + h)
        if extreme < 0 or (value > extreme) == (policy == OPTIMISTIC):
            extreme = value
    return extreme


@njit(nogil=True, cache=True)
def measure_groups(groups, n, relevant, ks, policy, harmonic, precision, row):
    """Fill AP@k and the number of relevant items found for each of ``ks`` (ascending), and the 11-point curve.

    ``groups`` are the arrays above, size and hits; ``row`` those of one query to fill: ap, found, and a curve of 11
    places, or none if it is not wanted. ``precision`` is scratch for ``n`` numbers.
    """
    above, size, hits = groups
    ap, found, curve = row
    ap[:] = 0.0
    found[:] = 0.0
    curve[:] = 0.0
    p, t, total = 0, 0, 0.0
    for g in range(n):
        c, w, r = np.int64(above[g]), np.int64(size[g]), np.int64(hits[g])
        while t < ks.size and ks[t] <= c:
            if p:
                ap[t] = total / p
            found[t] = p
            t += 1
        while t < ks.size and ks[t] < c + w:
            drawn = ks[t] - c
            if policy == EXPECTED:
                ap[t] = _cut_average(drawn, w, r, c, p, total, harmonic)
                found[t] = p + drawn * r / w
            else:
                ap[t] = _cut_extreme(drawn, w, r, c, p, total, policy, harmonic)
                found[t] = p + (min(drawn, r) if policy == OPTIMISTIC else max(0, drawn - (w - r)))
            t += 1
        if policy != EXPECTED:
            # the relevant items stand first or last, as a group of their own
            c, w = c if policy == OPTIMISTIC else c + w - r, r
            above[g], size[g] = c, w
        total += _group_precision(w, r, c, p, harmonic)
        p += r
        precision[g] = p / (c + w)
    while t < ks.size:
        if p:
            ap[t] = total / p
        found[t] = p
        t += 1
    if curve.size == 0 or relevant == 0:
        return
    level, best = 10, 0.0
    for g in range(n - 1, -1, -1):
        p -= hits[g]
        best = max(best, precision[g])
        while level > 0 and 10 * p < level * relevant:
            # the first rank at which the expected recall reaches level / 10
            step = ((level * relevant - 10 * p) * size[g] + 10 * hits[g] - 1) // (10 * hits[g])
            curve[level] = max(best, (p + step * hits[g] / size[g]) / (above[g] + step))
            level -= 1
    curve[0] = best


@njit(nogil=True, cache=True)
def _sort(words, shared, limit, keys, spare, counts):
    """Sorted keys of one row, at least down to rank ``limit``: (keys, how many).

    ``words`` are the bits of floats (or any uint32 below 2**31 that grows with the score). A key is twice a number
    that is smaller where the score is higher and equal where it is equal (-0.0 is 0.0), plus 1 for a relevant item.
    Radix sort in three digits, after dropping the items whose first digit shows that they stand below the limit. No
    branch depends on the data, which is what makes it fast.
    """
    n = words.size
    low, mid, top = counts[0], counts[1], counts[2]
    for j in range(n):
        word = words[j]
        word = np.uint32(0) if word == SIGN else word
        word = word if word & SIGN else word ^ MAGNITUDE
        keys[j] = (np.uint64(word) << ONE) | np.uint64(shared[j])
    if limit < n:
        top[:] = 0
        for j in range(n):
            top[keys[j] >> TOP] += 1
        cut, total = 0, top[0]
        while total < limit:
            cut += 1
            total += top[cut]
        n = 0
        for j in range(words.size):
            keys[n] = keys[j]
            n += (keys[j] >> TOP) <= np.uint64(cut)
    counts[:] = 0
    for j in range(n):
        key = keys[j]
        low[(key >> ONE) & DIGIT] += 1
        mid[(key >> MID) & DIGIT] += 1
        top[key >> TOP] += 1
    for place in (low, mid, top):
        total = 0
        for b in range(place.size):
            count = place[b]
            place[b] = total
            total += count
    # one after the other from the last digit; the places of a digit are used up as they are taken
    for j in range(n):
        digit = (keys[j] >> ONE) & DIGIT
        to = low[digit]
        low[digit] = to + 1
        spare[np.uint64(to)] = keys[j]
    for j in range(n):
        digit = (spare[j] >> MID) & DIGIT
        to = mid[digit]
        mid[digit] = to + 1
        keys[np.uint64(to)] = spare[j]
    for j in range(n):
        digit = keys[j] >> TOP
        to = top[digit]
        top[digit] = to + 1
        spare[np.uint64(to)] = keys[j]
    return n


@njit(nogil=True, cache=True)
def _sorted_groups(keys, n, above, size, hits):
    """Groups of ``n`` sorted keys; ``size`` and ``hits`` hold 1 on entry."""
    g, i = 0, 0
    while i < n:
        if i + 1 == n or (keys[i] ^ keys[i + 1]) > ONE:
            # written in any case and kept if relevant, so that there is no branch to mispredict
            above[g] = i
            g += np.int64(keys[i] & ONE)
            i += 1
            continue
        stop, count = i, 0
        while stop < n and (keys[stop] ^ keys[i]) <= ONE:
            count += np.int64(keys[stop] & ONE)
            stop += 1
        if count:
            above[g], size[g], hits[g] = i, stop - i, count
            g += 1
        i = stop
    return g


@njit(nogil=True, cache=True)
def _code_groups(row, relevant, bits, counts, above, size, hits):
    """Groups of one row of code scores, 0 ... bits: no sort, a count of each score among all and relevant items."""
    counts[:] = 0
    for j in range(row.size):
        # four tables in turn: an addition need not wait for the one before
        counts[j & 3, 2 * row[j] + relevant[j]] += 1
    n, begin = 0, 0
    for score in range(bits, -1, -1):
        others, ours = 0, 0
        for part in range(4):
            others += counts[part, 2 * score]
            ours += counts[part, 2 * score + 1]
        if ours:
            above[n], size[n], hits[n] = begin, others + ours, ours
            n += 1
        begin += others + ours
    return n


@njit(nogil=True, cache=True)
def _share(image, item_image, label_start, labels, member_start, members, mark, shared):
    """Set ``shared`` (m,) to 1 for the items of images that share a label with ``image``; how many they are."""
    mark[:] = 0
    for at in range(label_start[image], label_start[image + 1]):
        for i in range(member_start[labels[at]], member_start[labels[at] + 1]):
            mark[members[i]] = 1
    count = 0
    for j in range(item_image.size):
        shared[j] = mark[item_image[j]]
        count += shared[j]
    return count


@njit(nogil=True, cache=True)
def mark_block(scores, first, bits, ranked, images, lists, ks, policy, harmonic, marks):
    """Fill the marks of the queries from ``first``, one for each row of ``scores`` (b, m).

    Scores are code scores 0 ... ``bits``, or, where ``bits`` is None, the uint32 words that `_sort` wants. ``ranked``
    says how many of each query's scores are above -inf; ``images`` are those of the queries and of the items; ``lists``
    holds the labels of each image and the images of each label (two ragged lists, each as starts and members).
    """
    query_image, item_image = images
    m = item_image.size
    limit = m if marks.curve.shape[1] else ks[-1]
    mark, shared = np.empty(lists[0].size - 1, np.uint8), np.empty(m, np.uint8)
    n_groups = m + 1 if bits is None else min(m, bits + 1)
    above, size, hits = np.empty(n_groups, np.int32), np.ones(n_groups, np.int32), np.ones(n_groups, np.int32)
    precision, image = np.empty(n_groups), -1
    # numba compiles only the branch that fits the type of bits
    if bits is None:
        keys, spare, counts = np.empty(m, np.uint64), np.empty(m, np.uint64), np.empty((3, 2048), np.int32)
    else:
        counts = np.empty((4, 2 * bits + 2), np.int32)
    for i in range(scores.shape[0]):
        q = first + i
        if query_image[q] != image:
            image = query_image[q]
            count = _share(image, item_image, *lists, mark, shared)
        marks.relevant[q] = count
        if bits is None:
            n = _sort(scores[i], shared, limit, keys, spare, counts)
            # -inf, not ranked, sorts last
            n = _sorted_groups(spare, min(n, ranked[q]), above, size, hits)
        else:
            n = _code_groups(scores[i], shared, bits, counts, above, size, hits)
        row = (marks.ap[q], marks.found[q], marks.curve[q])
        measure_groups((above, size, hits), n, count, ks, policy, harmonic, precision, row)
        if bits is None:
            for g in range(n):
                size[g] = hits[g] = 1
