"""Claims about search indexes: Table 7 and Figure 4."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from fico_utils.extras.claims.checks import Check, Claim, above, below, names, need, within
from fico_utils.extras.claims.numbers import Number, Side, limit, ratio

TABLE7 = "Similarity search, Table 7 and Figure 4"
FLAT, HNSW, BINARY, IVF = "flat_ip", "hnsw_flat", "binary_flat", "binary_ivf"
#: Sizes of Table 7; Figure 4's other points are read off a picture and decide nothing.
PRINTED = (100_000, 500_000, 1_000_000)


def _sizes(side: Side, *indexes: str) -> list[float]:
    """Sizes at which all of `indexes` were searched."""
    common = set.intersection(*({*side.sizes(i, "search")} for i in indexes))
    need(side, f"search of {names(indexes)} at one size", bool(common))
    return sorted(n for n in common if not side.paper or n in PRINTED)


def _at(queries: float) -> str:
    return f"{queries:.0f} queries"


def _time(side: Side, index: str, queries: float, phase: str = "search") -> Number | None:
    return side.cost(index, phase, "seconds", queries)


def _recall(side: Side, index: str, queries: float, k: int) -> Number | None:
    return side.cost(index, "search", f"recall@{k}", queries)


def _slower(slow: Sequence[str], fast: Sequence[str], phase: str = "search", largest: bool = False):
    """Every index of `slow` takes longer than every one of `fast`."""

    def test(side: Side) -> Iterable[Check | None]:
        sizes = _sizes(side, *slow, *fast)
        return [
            above(_time(side, a, n, phase), _time(side, b, n, phase), _at(n))
            for n in (sizes[-1:] if largest else sizes)
            for a in slow
            for b in fast
        ]

    return test


def _recall_above(index: str, low: float, high: float, ks: Sequence[int]):
    def test(side: Side) -> Iterable[Check | None]:
        return [
            within(_recall(side, index, n, k), low, high, f"{_at(n)} R@{k}") for n in _sizes(side, index) for k in ks
        ]

    return test


def _below_hnsw(side: Side) -> Iterable[Check | None]:
    for n in _sizes(side, BINARY, IVF, HNSW):
        for index in (BINARY, IVF):
            for k in (1, 100, 1000):
                yield below(_recall(side, index, n, k), _recall(side, HNSW, n, k), f"{_at(n)} R@{k}")


def _recall_falls(side: Side) -> Iterable[Check | None]:
    sizes = _sizes(side, BINARY)
    need(side, "two sizes of CG Flat", len(sizes) > 1)
    for small, large in pairwise(sizes):
        yield above(_recall(side, BINARY, small, 1), _recall(side, BINARY, large, 1), f"{_at(small)}, {_at(large)} R@1")


def _never_more(side: Side) -> Iterable[Check | None]:
    for n in _sizes(side, BINARY, IVF):
        for k in (1, 100, 1000):
            yield below(_recall(side, IVF, n, k), _recall(side, BINARY, n, k), f"{_at(n)} R@{k}", by=-0.001)


def _ivf_costs_little(side: Side) -> Iterable[Check | None]:
    for n in _sizes(side, BINARY, IVF):
        yield above(_recall(side, IVF, n, 1000), _recall(side, BINARY, n, 1000), f"{_at(n)} R@1000", by=-0.05)


def _growth(index: str, low: float, high: float):
    def test(side: Side) -> Iterable[Check | None]:
        number = side.growth(index, "search")
        need(side, f"two sizes of {names((index,))}", number is not None)
        return [within(number, low, high)]

    return test


def _times_faster(side: Side) -> Iterable[Check | None]:
    for n in _sizes(side, FLAT, BINARY):
        yield above(ratio(_time(side, FLAT, n), _time(side, BINARY, n), "FG Flat over CG Flat"), limit(4), _at(n))


CLAIMS = (
    Claim(
        "search-hash-no-faster",
        TABLE7,
        "Searching hash codes is no faster than HNSW over dense vectors, for the exhaustive and the clustered (IVF) "
        "index alike.",
        _slower((BINARY, IVF), (HNSW,)),
    ),
    Claim(
        "search-binary-flat-slower-hnsw",
        TABLE7,
        "Exhaustive search of hash codes takes longer than HNSW over dense vectors.",
        _slower((BINARY,), (HNSW,)),
    ),
    Claim(
        "search-ivf-largest",
        TABLE7,
        "At the largest size the clustered index over codes takes at least as long as HNSW.",
        _slower((IVF,), (HNSW,), largest=True),
    ),
    Claim(
        "search-binary-over-float",
        TABLE7,
        "Exhaustive search is at least 4 times faster over 64-bit codes than over dense vectors.",
        _times_faster,
    ),
    Claim(
        "search-approximate-faster",
        TABLE7,
        "Both approximate indexes are faster than their exhaustive counterparts.",
        lambda side: [*_slower((FLAT,), (HNSW,))(side), *_slower((BINARY,), (IVF,))(side)],
    ),
    Claim(
        "search-flat-square",
        TABLE7,
        "Exhaustive search grows with the square of the data, queries and candidates growing together (a power above "
        "1.5).",
        _growth(FLAT, 1.5, 2.5),
    ),
    Claim(
        "search-hnsw-proportional",
        TABLE7,
        "HNSW search grows about in proportion to the queries (a power from 0.5 to 1.5).",
        _growth(HNSW, 0.5, 1.5),
    ),
    Claim(
        "search-hnsw-recall",
        TABLE7,
        "HNSW keeps at least 98 % of the exhaustive recall.",
        _recall_above(HNSW, 0.98 - 1e-9, 1.0 + 1e-9, (1, 100, 1000)),
    ),
    Claim(
        "search-binary-recall-1",
        TABLE7,
        "64-bit codes lose most of the nearest neighbours: their recall at 1 stays below 20 %.",
        _recall_above(BINARY, 0.0, 0.20, (1,)),
    ),
    Claim(
        "search-binary-recall-behind",
        TABLE7,
        "Even at 1000 candidates both indexes over codes recall less than HNSW does.",
        _below_hnsw,
    ),
    Claim(
        "search-binary-recall-falls",
        TABLE7,
        "The recall at 1 of codes falls as the collection grows.",
        _recall_falls,
    ),
    Claim(
        "search-ivf-close",
        TABLE7,
        "Clustering the codes costs little: at 1000 the recall of IVF is within 5 points of the exhaustive index.",
        _ivf_costs_little,
    ),
    Claim(
        "search-ivf-not-above",
        TABLE7,
        "The clustered index never recalls more than the exhaustive one that it approximates (rounding of 0.1 apart).",
        _never_more,
    ),
    Claim(
        "search-hnsw-build",
        TABLE7,
        "HNSW pays when it is built: it takes longest to make at every size.",
        _slower((HNSW,), (FLAT, BINARY, IVF), phase="index"),
    ),
)
