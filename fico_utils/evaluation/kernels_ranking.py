"""Kernels from one block of scores to groups, at category level: who shares a label, and in which order.

Floats are sorted together with their grade; codes are not sorted, but counted by their distance. Groups are as in
`kernels_measures`.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from fico_utils.evaluation.compiling import kernel

#: Of the radix sort: a key is a number of 32 bits before one of 8, the grade; digits have 11 bits and start here.
DIGIT, GRADE, LOW, MID, TOP = np.uint64(2047), np.uint64(255), np.uint64(8), np.uint64(19), np.uint64(30)
SIGN, MAGNITUDE = np.uint32(2**31), np.uint32(2**31 - 1)
#: Groups of some queries, (b, width) int32 each, ``size`` and ``hits`` 1 where nothing stands; ``n`` (b,), how many
#: there are. ``places`` (b, width) and ``n_places`` (b,) are the ranks, from 0, of the relevant items under the order
#: of the arrays, empty where nobody asks; ``grades`` and ``gains`` (b, width) float64 of the relevant items in that
#: order, at category level down to the deepest cut that depends on them; ``level_gains`` and ``times`` (b, n_levels)
#: of all relevant items, highest gain first.
Block = namedtuple(
    "Block", ("above", "size", "hits", "n", "places", "n_places", "grades", "gains", "level_gains", "times")
)


def empty_block(rows: int, n_groups: int, n_listed: int, by_index: bool, n_levels: int) -> Block:
    """A `Block` of a number of rows, to be used again and again; ``n_levels`` is 0 where there are no grades."""
    above, size, hits = np.zeros((rows, n_groups), np.int32), *np.ones((2, rows, n_groups), np.int32)
    places, graded = np.zeros((rows if by_index else 0, n_listed), np.int32), n_levels > 0
    grades, gains = np.zeros((2, rows if graded else 0, n_listed))
    # a query that grades by labels in common has these gains; `group_correct` writes those of its own items
    levels = np.tile(2.0 ** np.arange(n_levels, 0, -1) - 1, (rows if graded else 0, 1))
    n, n_places = np.zeros((2, rows), np.int64)
    return Block(above, size, hits, n, places, n_places, grades, gains, levels, np.zeros(levels.shape, np.int64))


@kernel
def _sort(words, shared, limit, keys, spare, counts):
    """Sorted keys of one row, at least down to rank ``limit``, into ``spare``; how many.

    ``words`` are the bits of floats (or any uint32 below 2**31 that grows with the score). A key holds a number that is
    smaller where the score is higher and equal where it is equal (-0.0 is 0.0), then the grade; equal ones keep their
    order. Radix sort in three digits, after dropping the items whose first digit shows that they stand below the limit.
    No branch depends on the data, which is what makes it fast.
    """
    n = words.size
    low, mid, top = counts[0], counts[1], counts[2]
    for j in range(n):
        word = words[j]
        word = np.uint32(0) if word == SIGN else word
        word = word if word & SIGN else word ^ MAGNITUDE
        keys[j] = (np.uint64(word) << LOW) | np.uint64(shared[j])
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
        low[(key >> LOW) & DIGIT] += 1
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
        digit = (keys[j] >> LOW) & DIGIT
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


@kernel
def _sorted_groups(keys, n, above, size, hits):
    """Groups of ``n`` sorted keys; ``size`` and ``hits`` hold 1 on entry."""
    g, i = 0, 0
    while i < n:
        if i + 1 == n or (keys[i] ^ keys[i + 1]) > GRADE:
            # written in any case and kept if relevant, so that there is no branch to mispredict
            above[g] = i
            g += (keys[i] & GRADE) != 0
            i += 1
            continue
        stop, count = i, 0
        while stop < n and (keys[stop] ^ keys[i]) <= GRADE:
            count += (keys[stop] & GRADE) != 0
            stop += 1
        if count:
            above[g], size[g], hits[g] = i, stop - i, count
            g += 1
        i = stop
    return g


@kernel
def _code_groups(row, shared, highest, counts, above, size, hits):
    """Groups of one row of code scores, 1 ... ``highest``: no sort, a count of each score among all and relevant items.

    A score of 0 is left out. The first of ``counts`` is left with how many items, and how many relevant ones, score
    higher than each score.
    """
    counts[:] = 0
    for j in range(row.size):
        # four tables in turn: an addition need not wait for the one before
        counts[j & 3, 2 * np.int64(row[j]) + (shared[j] != 0)] += 1
    n, begin, found = 0, 0, 0
    for score in range(highest, -1, -1):
        others, ours = 0, 0
        for part in range(4):
            others += counts[part, 2 * score]
            ours += counts[part, 2 * score + 1]
        counts[0, 2 * score], counts[0, 2 * score + 1] = begin, found
        if ours:
            above[n], size[n], hits[n] = begin, others + ours, ours
            n += 1
        begin, found = begin + others + ours, found + ours
    return n


@kernel
def _list_codes(row, shared, highest, begin, depth, n_graded, i, block):
    """Write places and grades of the relevant items of one row of code scores, equal ones in their order; no sort.

    ``begin`` is what `_code_groups` leaves: each item takes the next place of its score. Scores that begin at rank
    ``depth`` or below are left out.
    """
    least, by_index = highest, block.places.shape[0] > 0
    while least > 0 and begin[2 * least - 2] < depth:
        least -= 1
    for j in range(row.size):
        if row[j] < least:
            continue
        at = 2 * np.int64(row[j])
        place = begin[at]
        begin[at] = place + 1
        if shared[j]:
            p = begin[at + 1]
            begin[at + 1] = p + 1
            if by_index:
                block.places[i, p] = place
            if p < n_graded:
                block.grades[i, p] = shared[j]
    block.n_places[i] = begin[2 * least + 1]


@kernel
def _list_sorted(keys, n_graded, i, block):
    """Write places and grades of the relevant items among sorted keys."""
    p = 0
    for g in range(block.n[i] if block.places.shape[0] else 0):
        place = block.above[i, g]
        block.places[i, p] = place
        if block.size[i, g] == 1:
            p += 1
            continue
        for j in range(place, place + block.size[i, g]):
            block.places[i, p] = j
            p += (keys[j] & GRADE) != 0
    block.n_places[i] = p
    j, p = 0, 0
    while p < n_graded:
        if keys[j] & GRADE:
            block.grades[i, p] = keys[j] & GRADE
            p += 1
        j += 1


@kernel
def _count_graded(block, i, depth):
    """How many relevant items stand in groups that begin above rank ``depth``; 0 where there are no grades."""
    g, n_graded = 0, 0
    while block.grades.shape[0] and g < block.n[i] and block.above[i, g] < depth:
        n_graded += block.hits[i, g]
        g += 1
    return n_graded


@kernel
def _share(owner, owners, lists, mark, times, shared):
    """Set ``shared`` (m,) to the number of labels in common with ``owner``, or to 1; how many items share any.

    Where grades count, ``times`` has a place for each, highest first, and gets how many items have it.
    """
    (label_start, labels, member_start, members), (item_owner, held) = lists, owners
    mark[:], graded, tally = 0, times.size > 0, np.zeros((4, times.size + 1), np.int64)
    for at in range(label_start[owner], label_start[owner + 1]):
        for i in range(member_start[labels[at]], member_start[labels[at] + 1]):
            mark[members[i]] = min(np.int64(mark[members[i]]) + 1, 255) if graded else 1
    for other in range(held.size if graded else 0):
        tally[other & 3, times.size - np.int64(mark[other])] += held[other]
    for level in range(times.size):
        times[level] = tally[:, level].sum()
    count = 0
    for j in range(item_owner.size):
        shared[j] = mark[item_owner[j]]
        count += shared[j] != 0
    return count


@kernel
def rank_block(scores, first, highest, depths, sides, left_out, lists, block, seen):
    """Fill ``block`` with the groups of the queries from ``first``, one for each row of ``scores`` (b, m).

    Scores are code scores 0 ... ``highest``, or, where that is None, the uint32 words that `_sort` wants. ``depths``
    are the ranks down to which the order, and the grades, are needed. ``sides`` are the owners of labels, of each query
    and of each item, and how many items each owner holds (the last owner has no labels); ``left_out`` the column that
    each query leaves out, or empty; ``lists`` the labels of each owner and the item owners of each label (two ragged
    lists, each as starts and members). ``seen`` holds how many items of each query are ranked, and, to fill, how many
    are relevant and how many lie within each Hamming ball, with the code score that an item needs for that.
    """
    (query_owner, item_owner, held), (ranked, relevant, balls, least), (limit, graded_depth) = sides, seen, depths
    m, n_levels, owner, count = item_owner.size, block.times.shape[1], -1, 0
    mark, shared, times = np.zeros(held.size, np.uint8), np.zeros(m, np.uint8), np.zeros(n_levels, np.int64)
    # numba compiles only the branch that fits the type of `highest`
    if highest is None:
        counts, keys, spare = np.empty((3, 2048), np.int32), np.empty(m, np.uint64), np.empty(m, np.uint64)
    else:
        counts = np.empty((4, 2 * highest + 2), np.int32)
    for i in range(scores.shape[0]):
        q = first + i
        if query_owner[q] != owner:
            owner = query_owner[q]
            count = _share(owner, (item_owner, held), lists, mark, times, shared)
        relevant[q] = count
        if n_levels:
            block.times[i] = times
        kept = np.uint8(0)
        if left_out.size:
            kept, shared[left_out[q]] = shared[left_out[q]], 0
            relevant[q] -= kept != 0
            if n_levels and kept:
                block.times[i, n_levels - np.int64(kept)] -= 1
        above, size, hits = block.above[i], block.size[i], block.hits[i]
        for g in range(block.n[i]):
            size[g] = hits[g] = 1
        if highest is None:
            n = _sort(scores[i], shared, limit, keys, spare, counts)
            # -inf, not ranked, sorts last
            block.n[i] = _sorted_groups(spare, min(n, ranked[q]), above, size, hits)
            n_graded = _count_graded(block, i, graded_depth)
            _list_sorted(spare, n_graded, i, block)
        else:
            block.n[i] = _code_groups(scores[i], shared, highest, counts, above, size, hits)
            for ball in range(least.size):
                balls[q, ball] = counts[0, 2 * least[ball] - 2]
            n_graded = _count_graded(block, i, graded_depth)
            depth = limit if block.places.shape[0] else graded_depth
            if block.places.shape[0] or n_graded:
                _list_codes(scores[i], shared, highest, counts[0], depth, n_graded, i, block)
        for p in range(n_graded):
            block.gains[i, p] = block.level_gains[i, n_levels - np.int64(block.grades[i, p])]
        if left_out.size:
            shared[left_out[q]] = kept
