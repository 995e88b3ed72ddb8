"""The scores from their definitions: every order of the tied items written out, in exact fractions.

Slow on purpose, and it shares no line with the package.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import groupby, permutations, product

TENTHS = [Fraction(t, 10) for t in range(11)]


def orders(scores, flags, ties):
    """All rankings as lists of flags, equally likely under ``expected``; -inf is not ranked."""
    items = sorted((-s, j) for j, s in enumerate(scores) if s != float("-inf"))
    if ties == "index":
        return [[flags[j] for _, j in items]]
    groups = [[flags[j] for _, j in group] for _, group in groupby(items, key=lambda item: item[0])]
    return [[flag for part in parts for flag in part] for parts in product(*([*permutations(g)] for g in groups))]


def rank_of_first(order):
    return order.index(True) + 1


def average_precision(order, k):
    top = order[:k]
    precisions = [Fraction(sum(top[: j + 1]), j + 1) for j, flag in enumerate(top) if flag]
    return sum(precisions) / len(precisions) if precisions else Fraction(0)


def curve_of(found, relevant):
    """Interpolated precision from the (expected) number of relevant items at each rank."""
    if relevant == 0:
        return [Fraction(0)] * 11
    points = [(Fraction(f, relevant), Fraction(f, j + 1)) for j, f in enumerate(found)]
    return [max((precision for recall, precision in points if recall >= t), default=Fraction(0)) for t in TENTHS]


def pick(values, ties):
    """Mean, best or worst over the orders."""
    if ties == "optimistic":
        return max(values)
    if ties == "pessimistic":
        return min(values)
    return Fraction(sum(values), len(values))


def found_at_each_rank(rankings, ties):
    return [pick([sum(order[: j + 1]) for order in rankings], ties) for j in range(len(rankings[0]))]


def middle(ranks):
    ranks = sorted(ranks)
    n = len(ranks)
    return Fraction(ranks[(n - 1) // 2] + ranks[n // 2], 2)


def direction(scores, correct, relevant, ks, ties):
    """{(level, metric, k): value} of one direction; ``scores`` rows of floats, flags as rows of bool, or None."""
    n, m = len(scores), len(scores[0])
    tops = {k: m if k == "N" else min(k, m) for k in ks}
    out = {}
    rankings = [orders(row, flags, ties) for row, flags in zip(scores, correct, strict=True)]
    for k, top in tops.items():
        if k != "N":
            out["instance", "recall", str(k)] = Fraction(
                sum(pick([int(any(o[:k])) for o in r], ties) for r in rankings), n
            )
        found = [pick([sum(o[:top]) for o in r], ties) for r in rankings]
        out["instance", "precision", str(k)] = Fraction(sum(found), n * top)
    if all(any(r[0]) for r in rankings):
        ranks = [[rank_of_first(o) for o in r] for r in rankings]
        best = {"optimistic": min, "pessimistic": max}.get(ties)
        if best:
            ranks = [[best(r)] for r in ranks]
        out["instance", "mean_rank", ""] = Fraction(sum(Fraction(sum(r), len(r)) for r in ranks), n)
        # each query's own distribution of ranks, in as few terms as it has
        weights = [{x: Fraction(r.count(x), len(r)) for x in set(r)} for r in ranks]
        total = Fraction(0)
        for combination in product(*(w.items() for w in weights)):
            chance = Fraction(1)
            for _, p in combination:
                chance *= p
            total += chance * middle([x for x, _ in combination])
        out["instance", "median_rank", ""] = total
    if relevant is not None:
        rankings = [orders(row, flags, ties) for row, flags in zip(scores, relevant, strict=True)]
        for k, top in tops.items():
            means = [pick([average_precision(o, top) for o in r], ties) for r in rankings]
            out["category", "map", str(k)] = Fraction(sum(means), n)
            found = [pick([sum(o[:top]) for o in r], ties) for r in rankings]
            out["category", "precision", str(k)] = Fraction(sum(found), n * top)
        curves = [curve_of(found_at_each_rank(r, ties), sum(f)) for r, f in zip(rankings, relevant, strict=True)]
        for t in range(11):
            out["category", "precision", f"R={t / 10:.1f}"] = Fraction(sum(c[t] for c in curves), n)
    return out


def evaluate(sim_i2t, sim_t2i, caption_image, labels, ks, ties):
    """{(direction, level, metric, k): value}; matrices as lists of rows, labels as sets or None."""
    n_img, n_txt = len(sim_i2t), len(caption_image)
    out = {}
    for name, scores, query, item in (
        ("i2t", sim_i2t, range(n_img), caption_image),
        ("t2i", sim_t2i, caption_image, range(n_img)),
    ):
        correct = [[q == i for i in item] for q in query]
        relevant = None if labels is None else [[bool(labels[q] & labels[i]) for i in item] for q in query]
        for key, value in direction(scores, correct, relevant, ks, ties).items():
            out[name, *key] = float(value)
    assert n_txt == len(sim_t2i)
    return out
