"""Claims about the cost of encoding, storage and query-time attention: Tables 5 and 6."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fico_utils.extras.claims.checks import (
    AGAINST,
    FOR,
    Check,
    Claim,
    Missing,
    above,
    below,
    names,
    need,
    within,
)
from fico_utils.extras.claims.groups import CG, CODES, CROSS, FG, FINE, RERANK, VLP
from fico_utils.extras.claims.numbers import Number, Side, limit, ratio

ENCODE, STORE = "Encoding time, Table 5", "Storage, Table 5"
ATTENTION = "Query-time attention, Table 6"
MILLION = 1_000_000
#: Items of the storage columns: a million images and five million captions.
ITEMS = 6 * MILLION


def size(images: float) -> str:
    """A size as the tables print it: 10000 images with 50000 captions are ``10K/50K``."""
    short = [f"{n / 1e6:g}M" if n >= 1e6 else f"{n / 1e3:g}K" if n >= 1e3 else f"{n:g}" for n in (images, 5 * images)]
    return "/".join(short)


def _slower(upper: Sequence[str], lower: Sequence[str]):
    """Every system of `upper` takes longer to encode than every one of `lower`, at each size both were timed at."""

    def test(side: Side) -> Iterable[Check | None]:
        checks = [
            above(side.cost(a, "encode", "seconds", n), side.cost(b, "encode", "seconds", n), size(n))
            for a in upper
            for b in lower
            for n in sorted({*side.sizes(a, "encode")} & {*side.sizes(b, "encode")})
        ]
        lacking = [s for s in (*upper, *lower) if not side.sizes(s, "encode")]
        need(side, f"encoding time of {names(lacking)}", any(checks))
        return checks

    return test


def _fastest_is_coarse(side: Side) -> Iterable[Check | None]:
    sizes = sorted({n for s in (*FINE, *CODES) for n in side.sizes(s, "encode")})
    checks = []
    for n in sizes:
        fine, coarse = (_fastest(side, group, n) for group in (FINE, CODES))
        checks.append(above(fine, coarse, size(n)))
    need(side, "encoding times of a fine-grained and a coarse-grained row at one size", any(checks))
    return checks


def _fastest(side: Side, group: Sequence[str], images: float) -> Number | None:
    known = [side.cost(s, "encode", "seconds", images) for s in group if images in side.sizes(s, "encode")]
    return min(known, key=lambda number: number.value, default=None)


def _growth(systems: Sequence[str], phase: str, low: float, high: float):
    """Seconds grow with a power of the size between `low` and `high`."""

    def test(side: Side) -> Iterable[Check | None]:
        found = [side.growth(s, phase) for s in systems]
        need(side, f"two sizes of {phase} of {names(systems)}", any(found))
        return [within(number, low, high) for number in found]

    return test


def _only_light_finish(side: Side) -> Iterable[Check | None]:
    return _finish(side, "encode", MILLION, (*CODES, "vsrn"), (*VLP, *CROSS))


def _attention_never_finishes(side: Side) -> Iterable[Check | None]:
    return _finish(side, "attention", 100_000, (), (*RERANK, *CROSS))


def _finish(side: Side, phase: str, images: float, good: Sequence[str], bad: Sequence[str]) -> list[Check]:
    """Checks that `good` were timed at a size and `bad` did not finish; what was extrapolated says neither."""
    checks = []
    for systems, wanted in ((good, "ok"), (bad, "dnf")):
        for system in systems:
            status = side.status(system, phase, "seconds", images)
            if status in ("ok", "dnf"):
                number = side.cost(system, phase, "seconds", images)
                text = str(number) if number else f"{names((system,))} DNF"
                checks.append(Check(FOR if status == wanted else AGAINST, f"{size(images)}: {text}"))
    if not checks:
        raise Missing(f"nothing was run to the end at {size(images)}, only extrapolated or left out")
    return checks


def _stored(side: Side, system: str, quantity: str = "paper_bytes") -> Number | None:
    return side.cost(system, "store", quantity, MILLION)


def _least_storage(side: Side) -> Iterable[Check | None]:
    kept = [number for fine in FINE if (number := _stored(side, fine)) and number.value > 0]  # 0: features only
    checks = [above(number, _stored(side, code), size(MILLION)) for number in kept for code in CG]
    need(side, "stored bytes of a fine-grained and a coarse-grained row", any(checks))
    return checks


def _sixteen_times(side: Side) -> Iterable[Check | None]:
    """Only for what the ratio is about: 256 numbers of four bytes, and 64 bits at a byte each (Table 5 rounds)."""
    checks = []
    for fine in FINE:
        for code in CG:
            pair = _stored(side, fine), _stored(side, code)
            if None not in pair and all(
                abs(number.value / ITEMS - expected) < 0.02 * expected
                for number, expected in zip(pair, (256 * 4, 64), strict=True)
            ):
                checks.append(within(ratio(*pair, f"{pair[0].label} over {pair[1].label}"), 15, 16.5))
    need(side, "embedding of just that many floats beside a code counted at a byte a bit", bool(checks))
    return checks


def _packed(side: Side) -> Iterable[Check | None]:
    """Bytes that 64 bits take when packed; the paper's rows count a byte a bit."""
    checks = []
    for code in CG:
        counted, packed = _stored(side, code), _stored(side, code, "packed_bytes")
        if counted and packed:
            checks.append(below(ratio(counted, packed, f"{counted.label}, as counted over packed"), limit(1.5)))
        elif counted and side.paper:
            n_bytes = Number(8.0 * ITEMS, 8.0 * ITEMS, 8.0 * ITEMS, f"{8 * ITEMS / 2**30:.3f} GiB")
            times = ratio(counted, n_bytes, f"{counted.label}, as counted over 6000000 codes of 8 bytes")
            checks.append(below(times, limit(1.5)))
    need(side, f"stored bytes of {names(CG)}", bool(checks))
    return checks


def _features_dominate(side: Side) -> Iterable[Check | None]:
    checks = []
    for system in (*RERANK, *CROSS):
        features, stored = _stored(side, system, "feature_bytes"), _stored(side, system)
        if features and stored and stored.value == 0:  # nothing kept but the features
            checks.append(Check(FOR, f"{features} of features, {stored.text} of embeddings"))
        elif features and stored:
            checks.append(above(ratio(features, stored, features.label), limit(20)))
    need(side, f"feature storage of {names((*RERANK, *CROSS))}", bool(checks))
    return checks


def _attention_over_encoding(side: Side) -> Iterable[Check | None]:
    """Attention at a size against encoding at that size, or at the next larger one that was timed."""
    checks = []
    for system in (*RERANK, *CROSS):
        for n in side.sizes(system, "attention"):
            larger = [m for m in side.sizes(system, "encode") if m >= n]
            if larger:
                times = side.cost(system, "attention", "seconds", n), side.cost(system, "encode", "seconds", larger[0])
                checks.append(above(*times, f"attention at {size(n)}, encoding at {size(larger[0])}"))
    need(side, f"attention and encoding times of {names((*RERANK, *CROSS))}", any(checks))
    return checks


def _cross_grows_faster(side: Side) -> Iterable[Check | None]:
    checks = [above(side.growth(a, "attention"), side.growth(b, "attention")) for a in CROSS for b in RERANK]
    need(side, "attention times of both a cross-attention and a fusion row at two sizes", any(checks))
    return checks


CLAIMS = (
    Claim(
        "encode-fastest-coarse",
        ENCODE,
        "At every size the fastest encoder is a coarse-grained row.",
        _fastest_is_coarse,
    ),
    Claim(
        "encode-hash-heads",
        ENCODE,
        "UCCH and DADH encode faster than every fine-grained row at every size.",
        _slower(FINE, ("ucch", "dadh")),
    ),
    Claim(
        "encode-all-coarse",
        ENCODE,
        "Every coarse-grained row, ADV included, encodes faster than every traditional fine-grained row.",
        _slower(FG, CODES),
    ),
    Claim(
        "encode-vlp-slowest",
        ENCODE,
        "The order of encoding time is that of the families: every VLP row takes longer than every traditional "
        "fine-grained row.",
        _slower(VLP, FG),
    ),
    Claim(
        "encode-proportional",
        ENCODE,
        "Encoding time grows in proportion to the data (nearer to its first power than to its square or to none).",
        _growth((*FINE, *CODES), "encode", 0.5, 1.5),
    ),
    Claim(
        "encode-dnf",
        ENCODE,
        "A million images with their captions could be encoded by the coarse-grained rows and VSRN only; the VLP rows "
        "and those with cross-attention did not finish.",
        _only_light_finish,
    ),
    Claim(
        "store-least-coarse",
        STORE,
        "Codes of 64 bits take less room than the embeddings of any fine-grained row.",
        _least_storage,
    ),
    Claim(
        "store-sixteen",
        STORE,
        "A code of 64 bits takes about 16 times (the text says 15.8) less room than an embedding of 256 floats.",
        _sixteen_times,
    ),
    Claim(
        "store-packed",
        STORE,
        "The room printed for 64-bit codes is what such codes need (at most 1.5 times 8 bytes a code).",
        _packed,
    ),
    Claim(
        "store-features",
        STORE,
        "Systems with query-time attention must keep features of more than 20 times the room of their embeddings.",
        _features_dominate,
    ),
    Claim(
        "attention-square",
        ATTENTION,
        "Cross-attention between all pairs grows with the square of the data (a power above 1.5).",
        _growth(CROSS, "attention", 1.5, 2.5),
    ),
    Claim(
        "attention-proportional",
        ATTENTION,
        "A fusion rerank of a fixed number of candidates grows in proportion to the data (a power from 0.5 to 1.5).",
        _growth(RERANK, "attention", 0.5, 1.5),
    ),
    Claim(
        "attention-cross-faster-growth",
        ATTENTION,
        "Cross-attention grows with a higher power of the data than the fusion rerank.",
        _cross_grows_faster,
    ),
    Claim(
        "attention-over-encoding",
        "Query-time attention, Tables 5 and 6",
        "Attention at query time takes longer than encoding the same data.",
        _attention_over_encoding,
    ),
    Claim(
        "attention-dnf",
        ATTENTION,
        "No system with query-time attention gets through 100K images with 500K captions.",
        _attention_never_finishes,
    ),
)
