"""The scores from their definitions: every order of the tied items written out, in exact fractions.

Slow on purpose, and it shares no line with the package. Relevance is a list of grades, 0 for what is not relevant.
"""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from functools import partial
from itertools import chain, groupby, permutations, product

TENTHS = [Fraction(t, 10) for t in range(11)]
RANKED = ("recall", "recall_share", "precision", "map", "f1", "mrr", "ndcg", "acg", "wap")


def orders(scores, grades, ties):
    """Each ranking as its grades -> how many orders of the tied items give it, all as likely; -inf is not ranked."""
    items = sorted((-s, j) for j, s in enumerate(scores) if s != float("-inf"))
    if ties == "index":
        return Counter([tuple(grades[j] for _, j in items)])
    groups = [[grades[j] for _, j in group] for _, group in groupby(items, key=lambda item: item[0])]
    return Counter(tuple(chain(*parts)) for parts in product(*(permutations(g) for g in groups)))


def rank_of_first(order):
    return next(rank for rank, grade in enumerate(order, 1) if grade)


def precisions(order):
    """Precision at each relevant rank, in order."""
    return [Fraction(sum(map(bool, order[: j + 1])), j + 1) for j, grade in enumerate(order) if grade]


def average_precision(order, k, grades, divisor):
    relevant = sum(map(bool, grades))
    if divisor == "first":
        top, by = precisions(order)[: min(k, relevant)], min(k, relevant)
    else:
        top = precisions(order[:k])
        by = {"found": len(top), "min": min(k, relevant), "relevant": relevant}[divisor]
    return sum(top) / by if by else Fraction(0)


def gain(order):
    return sum((2**grade - 1) / math.log2(rank + 1) for rank, grade in enumerate(order, 1))


def weighted_precision(order, k):
    """Mean over the relevant ranks of the mean grade down to there."""
    at = [Fraction(sum(order[: j + 1])) / (j + 1) for j, grade in enumerate(order[:k]) if grade]
    return sum(at) / len(at) if at else Fraction(0)


def measure(metric, k, grades, divisor, order):
    """One metric of one ranking; `k` is a number of items, or R, as many as are relevant."""
    relevant = sum(map(bool, grades))
    if not relevant:
        return Fraction(0)
    divisor = "relevant" if k == "R" else divisor
    k = relevant if k == "R" else k
    top = order[:k]
    found = sum(map(bool, top))
    if metric == "ndcg":
        return gain(top) / gain(sorted(grades, reverse=True)[:k])
    return {
        "recall": lambda: Fraction(bool(found)),
        "recall_share": lambda: Fraction(found, relevant),
        "precision": lambda: Fraction(found, k),
        "map": lambda: average_precision(order, k, grades, divisor),
        "f1": lambda: Fraction(2 * found, k + relevant),
        "mrr": lambda: Fraction(1, rank_of_first(top)) if found else Fraction(0),
        "acg": lambda: Fraction(sum(top)) / k,
        "wap": lambda: weighted_precision(order, k),
    }[metric]()


def curve_of(found, relevant):
    """Interpolated precision from the (expected) number of relevant items at each rank."""
    if relevant == 0:
        return [Fraction(0)] * 11
    points = [(Fraction(f, relevant), Fraction(f, j + 1)) for j, f in enumerate(found)]
    return [max((precision for recall, precision in points if recall >= t), default=Fraction(0)) for t in TENTHS]


def pick(value, rankings, ties):
    """Mean, best or worst value over the orders."""
    if ties in ("optimistic", "pessimistic"):
        return {"optimistic": max, "pessimistic": min}[ties](map(value, rankings))
    return sum(value(order) * n for order, n in rankings.items()) / rankings.total()


def number_found(k, order):
    return Fraction(sum(map(bool, order[:k])))


def found_at_each_rank(rankings, ties):
    return [pick(partial(number_found, k), rankings, ties) for k in range(1, len(next(iter(rankings))) + 1)]


def middle(ranks):
    ranks = sorted(ranks)
    n = len(ranks)
    return Fraction(ranks[(n - 1) // 2] + ranks[n // 2], 2)


def mean(values):
    return sum(values) / len(values)


def rank_metrics(rankings, ties):
    """Mean and median rank of the first relevant item, of queries that have one."""
    ranks = [[rank_of_first(o) for o in r.elements()] for r in rankings]
    best = {"optimistic": min, "pessimistic": max}.get(ties)
    if best:
        ranks = [[best(r)] for r in ranks]
    # each query's own distribution of ranks, in as few terms as it has
    weights = [{x: Fraction(r.count(x), len(r)) for x in set(r)} for r in ranks]
    median = Fraction(0)
    for combination in product(*(w.items() for w in weights)):
        chance = Fraction(1)
        for _, p in combination:
            chance *= p
        median += chance * middle([x for x, _ in combination])
    return {"mean_rank": mean([Fraction(sum(r), len(r)) for r in ranks]), "median_rank": median}


def level(scores, grades, ks, ties, divisor="found", no_relevant="zero", curve=False):
    """{(metric, k): value} of one direction at one level; `scores` and `grades` are rows of numbers."""
    out, m = {}, len(scores[0])
    rankings = [orders(row, g, ties) for row, g in zip(scores, grades, strict=True)]
    asked = [i for i, g in enumerate(grades) if any(g)]
    counted = asked if no_relevant == "skip" else range(len(grades))
    if counted:
        for metric, k in product(RANKED, ks):
            top = "R" if k == "R" else m if k == "N" else min(k, m)
            values = [pick(partial(measure, metric, top, grades[i], divisor), rankings[i], ties) for i in counted]
            out[metric, str(k)] = mean(values)
    if asked and all(any(o) for i in asked for o in rankings[i]):
        out |= {(name, ""): value for name, value in rank_metrics([rankings[i] for i in asked], ties).items()}
    if curve and counted:
        curves = [curve_of(found_at_each_rank(rankings[i], ties), sum(map(bool, grades[i]))) for i in counted]
        out |= {("precision", f"R={t / 10:.1f}"): mean([c[t] for c in curves]) for t in range(11)}
    return out


def evaluate(sim_i2t, sim_t2i, caption_image, labels, ks, ties, **rules):
    """{(direction, level, metric, k): value}; matrices as lists of rows, labels as sets or None."""
    n_img, n_txt = len(sim_i2t), len(caption_image)
    out = {}
    for name, scores, query, item in (
        ("i2t", sim_i2t, range(n_img), caption_image),
        ("t2i", sim_t2i, caption_image, range(n_img)),
    ):
        own = [[int(q == i) for i in item] for q in query]
        found = {"instance": level(scores, own, ks, ties, **rules)}
        if labels is not None:
            shared = [[len(labels[q] & labels[i]) for i in item] for q in query]
            found["category"] = level(scores, shared, ks, ties, curve=True, **rules)
        out |= {(name, at, *key): float(value) for at, values in found.items() for key, value in values.items()}
    assert n_txt == len(sim_t2i)
    recalls = [out.get((d, "instance", "recall", str(k))) for d in ("i2t", "t2i") for k in (1, 5, 10) if k in ks]
    if len(recalls) == 6:
        out["both", "instance", "rsum", ""] = 100 * sum(recalls)
        out["both", "instance", "mean_recall", ""] = 100 * sum(recalls) / 6
    return out
