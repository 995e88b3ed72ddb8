"""Claims about category-level retrieval: Table 4 and the precision-recall curves of Figure 3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fico_utils.extras.claims.checks import Check, Claim, Missing, above, at, below, every, leads, need, same, within
from fico_utils.extras.claims.groups import CG, CODES, FG, FINE, FUSION, VLP
from fico_utils.extras.claims.numbers import Number, Side, limit, minus

TABLE4, FIGURE3 = "Category-level retrieval, Table 4", "Category-level retrieval, Figure 3"
ALL = (*FINE, *CODES)


def _levels_out(side: Side) -> Iterable[Check | None]:
    """Best fine-grained minus best coarse-grained: less at mAP@10 than at R@1."""
    for slot, d in side.cells():
        gaps = [
            minus(side.best(FINE, slot, d, metric, k), side.best(CG, slot, d, metric, k), name)
            for metric, k, name in (("map", "10", "mAP@10"), ("recall", "1", "R@1"))
        ]
        yield below(*gaps, side.where(slot, d))


def _high_on_flickr(side: Side) -> Iterable[Check | None]:
    for system in ALL:
        for slot, d in side.cells():
            if slot == "flickr30k":
                yield above(side.quality(system, slot, d, "map", "N"), limit(0.88), at(side, slot, d, "map", "N"))


def room_used(value: Number | None, chance: Number | None) -> Number | None:
    """The share of the room above chance that a value fills, with the arithmetic."""
    if value is None or chance is None:
        return None
    shares = [(end - chance.value) / (1 - chance.value) for end in (value.value, value.low, value.high)]
    v, c = 100 * value.value, 100 * chance.value
    return Number(*shares, f"({v:.1f} - {c:.1f}) / (100 - {c:.1f}) = {100 * shares[0]:.1f} %", value.label)


def _more_than_chance(side: Side) -> Iterable[Check | None]:
    checks = []
    for system in ALL:
        for slot, d in side.cells():
            if slot == "flickr30k":
                share = room_used(side.quality(system, slot, d, "map", "N"), side.chance(slot, d, "map", "N"))
                checks.append(above(share, limit(0.5), at(side, slot, d, "map", "N")))
    need(side, "mAP@N with its chance level", any(checks))
    return checks


def _falls(side: Side) -> Iterable[Check | None]:
    for system in ALL:
        for slot, d in side.cells():
            values = {k: side.quality(system, slot, d, "map", k) for k in ("10", "100", "N")}
            for a, b in (("10", "100"), ("100", "N")):
                yield above(values[a], values[b], f"{side.where(slot, d)} mAP@{a} and mAP@{b}")


def _length_matters_little(side: Side) -> Iterable[Check | None]:
    found = False
    for slot, d in side.cells():
        for k in ("10", "100", "N"):
            difference = minus(
                side.quality("adv_2048", slot, d, "map", k), side.quality("adv_64", slot, d, "map", k), "2048 over 64"
            )
            found |= difference is not None
            yield within(difference, -0.01, 0.01, at(side, slot, d, "map", k))
    need(side, "mAP of ADV 2048-bit and ADV 64-bit", found)


def _curves_meet(side: Side) -> Iterable[Check | None]:
    for slot, d in side.cells():
        ends = [side.best(ALL, slot, d, "precision", "R=1.0", lowest) for lowest in (False, True)]
        yield below(minus(*ends, "highest and lowest"), limit(0.02), at(side, slot, d, "precision", "R=1.0"))


def _curve_leads(upper: Sequence[str], lower: Sequence[str], levels: Sequence[str]):
    def test(side: Side) -> Iterable[Check | None]:
        checks = []
        for level in levels:
            try:
                checks += leads(upper, lower, "precision", level)(side)
            except Missing as missing:
                reason = missing
        if not checks:
            raise reason
        return checks

    return test


CLAIMS = (
    Claim(
        "category-vlp-leads-10",
        TABLE4,
        "At the head of the ranking (mAP@10) a VLP row leads on both corpora and in both directions.",
        leads(VLP, (*FG, *CODES), "map", "10"),
    ),
    Claim(
        "category-fine-over-coarse-10",
        TABLE4,
        "At mAP@10 every VLP and traditional fine-grained row is ahead of every coarse-grained row of 64 bits.",
        every(FINE, CG, "map", ("10",)),
    ),
    Claim(
        "category-coarse-leads-n",
        TABLE4,
        "Over the whole ranking (mAP@N) a coarse-grained row leads all fine-grained ones.",
        leads(CG, FINE, "map", "N"),
    ),
    Claim(
        "category-ucch-leads-n",
        TABLE4,
        "UCCH is the row that leads mAP@N.",
        leads(("ucch",), tuple(s for s in ALL if s != "ucch"), "map", "N"),
    ),
    Claim(
        "category-coarse-competitive-n",
        TABLE4,
        "Coarse-grained rows keep up over the whole ranking: the best of them is at most 1 point of mAP@N behind the "
        "best fine-grained one.",
        leads(CG, FINE, "map", "N", by=-0.01),
    ),
    Claim(
        "category-gap-below-instance",
        "Category-level retrieval, Tables 2 and 4",
        "The best fine-grained row is less far ahead of the best coarse-grained one at category level (mAP@10) than "
        "at instance level (R@1).",
        _levels_out,
    ),
    Claim(
        "category-rerank-no-gain",
        TABLE4,
        "A fusion rerank brings nothing at category level: without it (NF) mAP@10 and mAP@100 are higher.",
        same(tuple((plain, fused) for fused, plain in FUSION), "map", ("10", "100")),
    ),
    Claim(
        "category-adv-length",
        TABLE4,
        "Code length hardly matters for categories: ADV with 2048 and with 64 bits differ by less than 1 point of mAP.",
        _length_matters_little,
    ),
    Claim(
        "category-falls",
        TABLE4,
        "For every row mAP falls as more of the ranking counts, from 10 to 100 and from 100 to N.",
        _falls,
    ),
    Claim(
        "category-flickr-high",
        TABLE4,
        "On Flickr30K every row reaches a high mAP@N (above 88 %).",
        _high_on_flickr,
    ),
    Claim(
        "category-flickr-above-chance",
        TABLE4,
        "The high mAP@N on Flickr30K is what the systems achieve, not what chance gives: rows fill more than half of "
        "the room between a random ranking and a perfect one.",
        _more_than_chance,
    ),
    Claim(
        "curve-fine-leads-early",
        FIGURE3,
        "At low recall (0.1, 0.2) the most precise curve is that of a fine-grained row.",
        _curve_leads(FINE, CODES, ("R=0.1", "R=0.2")),
    ),
    Claim(
        "curve-coarse-leads-late",
        FIGURE3,
        "At high recall (0.7, 0.8, 0.9) the most precise curve is that of a coarse-grained row.",
        _curve_leads(CG, FINE, ("R=0.7", "R=0.8", "R=0.9")),
    ),
    Claim(
        "curve-meet",
        FIGURE3,
        "At full recall all curves of a panel end within 2 points of each other, at the share of relevant pairs.",
        _curves_meet,
    ),
)
