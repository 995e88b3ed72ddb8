"""Claims about costs: encoding, storage, query-time attention (Tables 5 and 6), search (Table 7, Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

from fico_utils.extras.claims.checks import (
    AGAINST,
    FOR,
    Check,
    Checks,
    Claim,
    Missing,
    check_above,
    check_below,
    check_within,
    system_names,
)
from fico_utils.extras.claims.groups import CG, CODES, CROSS, FG, FINE, RERANK, VLP, each_pair
from fico_utils.extras.claims.numbers import Number, Side, exact_number, ratio_of

MILLION = 1_000_000
#: Items of the storage columns: a million images and five million captions.
ITEMS = 6 * MILLION
#: Sizes of Table 7; Figure 4's other points are read off a picture and decide nothing.
PRINTED = (100_000, 500_000, 1_000_000)
FLAT, HNSW, BINARY, IVF = "flat_ip", "hnsw_flat", "binary_flat", "binary_ivf"
#: Ranks of the recall of an index.
KS = (1, 100, 1000)
#: Systems with attention at query time.
ATTEND = (*RERANK, *CROSS)


def size_text(n: float, phase: str = "encode") -> str:
    """A size as the tables print it: 10000 images with 50000 captions are ``10K/50K``; a search has queries."""
    if phase in ("index", "search"):
        return f"{n:.0f} queries"
    short = [f"{m / 1e6:g}M" if m >= 1e6 else f"{m / 1e3:g}K" if m >= 1e3 else f"{m:g}" for m in (n, 5 * n)]
    return "/".join(short)


def shared_sizes(side: Side, *indexes: str) -> list[float]:
    """Sizes at which all of some indexes were searched."""
    common = set.intersection(*({*side.sizes(index, "search")} for index in indexes))
    if not common:
        raise Missing(f"{side.has} no search of {system_names(dict.fromkeys(indexes))} at one size")
    return sorted(n for n in common if not side.paper or n in PRINTED)


def takes_longer(side: Side, pairs: Sequence[tuple[str, str]], phase: str = "search", largest: bool = False) -> Checks:
    """The first of each pair takes longer than the second, at each size (or the largest) that both were timed at."""
    rows = dict.fromkeys(row for part in zip(*pairs, strict=True) for row in part)
    sizes = None if phase == "encode" else shared_sizes(side, *rows)
    made = False
    for a, b in pairs:
        both = sorted({*side.sizes(a, phase)} & {*side.sizes(b, phase)}) if sizes is None else sizes
        for n in both[-1:] if largest else both:
            check = check_above(*(side.cost(row, phase, "seconds", n) for row in (a, b)), size_text(n, phase))
            made |= check is not None
            yield check
    if not made and phase == "encode":
        lacking = [row for row in rows if not side.sizes(row, phase)]
        raise Missing(f"{side.has} no encoding time of {system_names(lacking)}")


def approximate_faster(side: Side) -> Checks:
    return [*takes_longer(side, [(FLAT, HNSW)]), *takes_longer(side, [(BINARY, IVF)])]


def grows_by_power(side: Side, rows: Sequence[str], phase: str, low: float, high: float) -> Checks:
    """Seconds grow with a power of the size between `low` and `high`."""
    powers = [side.growth(row, phase) for row in rows]
    if not any(powers):
        raise Missing(f"{side.has} no two sizes of {phase} of {system_names(rows)}")
    return [check_within(power, low, high) for power in powers]


def who_finishes(side: Side, phase: str, images: float, good: Sequence[str], bad: Sequence[str]) -> Checks:
    """`good` were timed at a size and `bad` did not finish; what was extrapolated says neither."""
    made = False
    for system, wanted in [*((s, "ok") for s in good), *((s, "dnf") for s in bad)]:
        status = side.status(system, phase, "seconds", images)
        if status in ("ok", "dnf"):
            made = True
            number = side.cost(system, phase, "seconds", images) or f"{system_names((system,))} DNF"
            yield Check(FOR if status == wanted else AGAINST, f"{size_text(images)}: {number}")
    if not made:
        raise Missing(f"nothing was run to the end at {size_text(images)}, only extrapolated or left out")


def fastest_is_coarse(side: Side) -> Checks:
    times = {s: side.sizes(s, "encode") for s in (*FINE, *CODES)}
    for n in sorted({n for sizes in times.values() for n in sizes}):
        known = [[side.cost(s, "encode", "seconds", n) for s in group if n in times[s]] for group in (FINE, CODES)]
        fine, coarse = (min(group, key=lambda number: number.value, default=None) for group in known)
        yield check_above(fine, coarse, size_text(n))


def _stored(side: Side, system: str, quantity: str = "paper_bytes") -> Number | None:
    return side.cost(system, "store", quantity, MILLION)


def least_storage(side: Side) -> Checks:
    for fine, code in product(FINE, CG):
        embedding = _stored(side, fine)
        if embedding and embedding.value > 0:  # 0: only features are stored
            yield check_above(embedding, _stored(side, code), size_text(MILLION))


def sixteen_times(side: Side) -> Checks:
    """Only for what the ratio is about: 256 numbers of four bytes, and 64 bits at a byte each (Table 5 rounds)."""
    for pair in product(FINE, CG):
        stored = [_stored(side, system) for system in pair]
        if None not in stored and all(
            abs(number.value / ITEMS - expected) < 0.02 * expected
            for number, expected in zip(stored, (256 * 4, 64), strict=True)
        ):
            yield check_within(ratio_of(*stored, f"{stored[0].label} over {stored[1].label}"), 15, 16.5)


def codes_are_packed(side: Side) -> Checks:
    """Bytes that 64 bits take when packed; the paper's rows count a byte a bit."""
    for code in CG:
        counted, needed, words = _stored(side, code), _stored(side, code, "packed_bytes"), "packed"
        if needed is None and side.paper:
            needed, words = exact_number(8.0 * ITEMS, f"{8 * ITEMS / 2**30:.3f} GiB"), f"{ITEMS} codes of 8 bytes"
        if counted and needed:
            yield check_below(ratio_of(counted, needed, f"{counted.label}, as counted over {words}"), exact_number(1.5))


def features_dominate(side: Side) -> Checks:
    for system in ATTEND:
        features, stored = _stored(side, system, "feature_bytes"), _stored(side, system)
        if features and stored and stored.value == 0:  # nothing is kept but the features
            yield Check(FOR, f"{features} of features, {stored.text} of embeddings")
        elif features and stored:
            yield check_above(ratio_of(features, stored, features.label), exact_number(20))


def attention_over_encoding(side: Side) -> Checks:
    """Attention at a size against encoding at that size, or at the next larger one that was timed."""
    for system in ATTEND:
        for n in side.sizes(system, "attention"):
            m = next((m for m in side.sizes(system, "encode") if m >= n), None)
            if m is not None:
                times = side.cost(system, "attention", "seconds", n), side.cost(system, "encode", "seconds", m)
                yield check_above(*times, f"attention at {size_text(n)}, encoding at {size_text(m)}")


def cross_grows_faster(side: Side) -> Checks:
    return [check_above(side.growth(a, "attention"), side.growth(b, "attention")) for a, b in product(CROSS, RERANK)]


def _recall(side: Side, index: str, queries: float, k: int) -> Number | None:
    return side.cost(index, "search", f"recall@{k}", queries)


def recall_within(side: Side, index: str, ks: Sequence[int], low: float, high: float) -> Checks:
    """The recall of an index lies between two limits."""
    for n, k in product(shared_sizes(side, index), ks):
        yield check_within(_recall(side, index, n, k), low, high, f"{size_text(n, 'search')} R@{k}")


def recall_below(side: Side, pairs: Sequence[tuple[str, str]], by: float = 0.0) -> Checks:
    """The first index of each pair recalls less than the second, at every rank."""
    sizes = shared_sizes(side, *(index for part in zip(*pairs, strict=True) for index in part))
    for n, (a, b), k in product(sizes, pairs, KS):
        yield check_below(_recall(side, a, n, k), _recall(side, b, n, k), f"{size_text(n, 'search')} R@{k}", by)


def recall_falls(side: Side) -> Checks:
    for small, large in pairwise(shared_sizes(side, BINARY)):
        where = f"{size_text(small, 'search')}, {size_text(large, 'search')} R@1"
        yield check_above(_recall(side, BINARY, small, 1), _recall(side, BINARY, large, 1), where)


def clustering_costs_little(side: Side) -> Checks:
    for n in shared_sizes(side, BINARY, IVF):
        numbers = (_recall(side, index, n, 1000) for index in (IVF, BINARY))
        yield check_above(*numbers, f"{size_text(n, 'search')} R@1000", by=-0.05)


def times_faster(side: Side) -> Checks:
    for n in shared_sizes(side, FLAT, BINARY):
        times = (side.cost(index, "search", "seconds", n) for index in (FLAT, BINARY))
        yield check_above(ratio_of(*times, "FG Flat over CG Flat"), exact_number(4), size_text(n, "search"))


ENCODE, STORE = "Encoding time, Table 5", "Storage, Table 5"
ATTENTION, TABLES56 = "Query-time attention, Table 6", "Query-time attention, Tables 5 and 6"
TABLE7 = "Similarity search, Table 7 and Figure 4"
# fmt: off
CLAIMS = (
    Claim("encode-fastest-coarse", ENCODE, fastest_is_coarse, {},
          "At every size the fastest encoder is a coarse-grained row.",
          needs="encoding times of a fine-grained and a coarse-grained row at one size"),
    Claim("encode-hash-heads", ENCODE, takes_longer, {"pairs": each_pair(FINE, ("ucch", "dadh")), "phase": "encode"},
          "UCCH and DADH encode faster than every fine-grained row at every size."),
    Claim("encode-all-coarse", ENCODE, takes_longer, {"pairs": each_pair(FG, CODES), "phase": "encode"},
          "Every coarse-grained row, ADV included, encodes faster than every traditional fine-grained row."),
    Claim("encode-vlp-slowest", ENCODE, takes_longer, {"pairs": each_pair(VLP, FG), "phase": "encode"},
          "The order of encoding time is that of the families: every VLP row takes longer than every traditional "
          "fine-grained row."),
    Claim("encode-proportional", ENCODE,
          grows_by_power, {"rows": (*FINE, *CODES), "phase": "encode", "low": 0.5, "high": 1.5},
          "Encoding time grows in proportion to the data (nearer to its first power than to its square or to none)."),
    Claim("encode-dnf", ENCODE,
          who_finishes, {"phase": "encode", "images": MILLION, "good": (*CODES, "vsrn"), "bad": (*VLP, *CROSS)},
          "A million images with their captions could be encoded by the coarse-grained rows and VSRN only; the VLP "
          "rows and those with cross-attention did not finish."),
    Claim("store-least-coarse", STORE, least_storage, {},
          "Codes of 64 bits take less room than the embeddings of any fine-grained row.",
          needs="stored bytes of a fine-grained and a coarse-grained row"),
    Claim("store-sixteen", STORE, sixteen_times, {},
          "A code of 64 bits takes about 16 times (the text says 15.8) less room than an embedding of 256 floats.",
          needs="embedding of just that many floats beside a code counted at a byte a bit"),
    Claim("store-packed", STORE, codes_are_packed, {},
          "The room printed for 64-bit codes is what such codes need (at most 1.5 times 8 bytes a code).",
          needs=f"stored bytes of {system_names(CG)}"),
    Claim("store-features", STORE, features_dominate, {},
          "Systems with query-time attention must keep features of more than 20 times the room of their embeddings.",
          needs=f"feature storage of {system_names(ATTEND)}"),
    Claim("attention-square", ATTENTION, grows_by_power, {"rows": CROSS, "phase": "attention", "low": 1.5, "high": 2.5},
          "Cross-attention between all pairs grows with the square of the data (a power above 1.5)."),
    Claim("attention-proportional", ATTENTION,
          grows_by_power, {"rows": RERANK, "phase": "attention", "low": 0.5, "high": 1.5},
          "A fusion rerank of a fixed number of candidates grows in proportion to the data (a power from 0.5 to 1.5)."),
    Claim("attention-cross-faster-growth", ATTENTION, cross_grows_faster, {},
          "Cross-attention grows with a higher power of the data than the fusion rerank.",
          needs="attention times of both a cross-attention and a fusion row at two sizes"),
    Claim("attention-over-encoding", TABLES56, attention_over_encoding, {},
          "Attention at query time takes longer than encoding the same data.",
          needs=f"attention and encoding times of {system_names(ATTEND)}"),
    Claim("attention-dnf", ATTENTION,
          who_finishes, {"phase": "attention", "images": 100_000, "good": (), "bad": ATTEND},
          "No system with query-time attention gets through 100K images with 500K captions."),
    Claim("search-hash-no-faster", TABLE7, takes_longer, {"pairs": [(BINARY, HNSW), (IVF, HNSW)]},
          "Searching hash codes is no faster than HNSW over dense vectors, for the exhaustive and the clustered (IVF) "
          "index alike."),
    Claim("search-binary-flat-slower-hnsw", TABLE7, takes_longer, {"pairs": [(BINARY, HNSW)]},
          "Exhaustive search of hash codes takes longer than HNSW over dense vectors."),
    Claim("search-ivf-largest", TABLE7, takes_longer, {"pairs": [(IVF, HNSW)], "largest": True},
          "At the largest size the clustered index over codes takes at least as long as HNSW."),
    Claim("search-binary-over-float", TABLE7, times_faster, {},
          "Exhaustive search is at least 4 times faster over 64-bit codes than over dense vectors."),
    Claim("search-approximate-faster", TABLE7, approximate_faster, {},
          "Both approximate indexes are faster than their exhaustive counterparts."),
    Claim("search-flat-square", TABLE7, grows_by_power, {"rows": [FLAT], "phase": "search", "low": 1.5, "high": 2.5},
          "Exhaustive search grows with the square of the data, queries and candidates growing together (a power above "
          "1.5)."),
    Claim("search-hnsw-proportional", TABLE7,
          grows_by_power, {"rows": [HNSW], "phase": "search", "low": 0.5, "high": 1.5},
          "HNSW search grows about in proportion to the queries (a power from 0.5 to 1.5)."),
    Claim("search-hnsw-recall", TABLE7,
          recall_within, {"index": HNSW, "ks": KS, "low": 0.98 - 1e-9, "high": 1.0 + 1e-9},
          "HNSW keeps at least 98 % of the exhaustive recall."),
    Claim("search-binary-recall-1", TABLE7, recall_within, {"index": BINARY, "ks": (1,), "low": 0.0, "high": 0.20},
          "64-bit codes lose most of the nearest neighbours: their recall at 1 stays below 20 %."),
    Claim("search-binary-recall-behind", TABLE7, recall_below, {"pairs": [(BINARY, HNSW), (IVF, HNSW)]},
          "Even at 1000 candidates both indexes over codes recall less than HNSW does."),
    Claim("search-binary-recall-falls", TABLE7, recall_falls, {},
          "The recall at 1 of codes falls as the collection grows.", needs="two sizes of CG Flat"),
    Claim("search-ivf-close", TABLE7, clustering_costs_little, {},
          "Clustering the codes costs little: at 1000 the recall of IVF is within 5 points of the exhaustive index."),
    Claim("search-ivf-not-above", TABLE7, recall_below, {"pairs": [(IVF, BINARY)], "by": -0.001},
          "The clustered index never recalls more than the exhaustive one that it approximates (rounding of 0.1 "
          "apart)."),
    Claim("search-hnsw-build", TABLE7,
          takes_longer, {"pairs": [(HNSW, FLAT), (HNSW, BINARY), (HNSW, IVF)], "phase": "index"},
          "HNSW pays when it is built: it takes longest to make at every size."),
)
# fmt: on
