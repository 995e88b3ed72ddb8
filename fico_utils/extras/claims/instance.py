"""Claims about instance-level retrieval: Tables 2 and 3."""

from __future__ import annotations

from collections.abc import Iterable

from fico_utils import registry
from fico_utils.extras.claims.checks import (
    Check,
    Claim,
    Missing,
    above,
    at,
    below,
    every,
    leads,
    names,
    need,
    same,
)
from fico_utils.extras.claims.groups import CG, FG, FINE, FUSION, VLP
from fico_utils.extras.claims.numbers import Side, limit, minus

TABLE2, TABLE3 = "Instance-level retrieval, Table 2", "Instance-level retrieval, Table 3"


def _fusion_lead_shrinks(side: Side) -> Iterable[Check | None]:
    for fused, plain in FUSION:
        for slot, d in side.cells():
            gains = [
                minus(side.quality(fused, slot, d, "recall", k), side.quality(plain, slot, d, "recall", k), f"R@{k}")
                for k in ("1", "10")
            ]
            yield above(*gains, f"{side.where(slot, d)} {names((fused,))}")


def _dadh_near_chance(side: Side) -> Iterable[Check | None]:
    for slot, d in side.cells():
        value, chance = side.quality("dadh", slot, d, "recall", "10"), side.chance(slot, d, "recall", "10")
        yield below(value, chance, at(side, slot, d, "recall", "10"), by=-0.05)
    need(side, "R@10 of DADH", any(side.quality("dadh", s, d, "recall", "10") for s, d in side.cells()))


def _directions(side: Side) -> Iterable[Check | None]:
    for slot in dict.fromkeys(slot for slot, _ in side.cells()):
        for system in (*FINE, "adv_2048", *CG):
            image, text = (side.quality(system, slot, d, "recall", "1") for d in ("i2t", "t2i"))
            yield above(image, text, f"{side.where(slot, 'i2t and t2i')} R@1")


def _flickr_easier(side: Side) -> Iterable[Check | None]:
    for system in (*FINE, *CG):
        for d in ("i2t", "t2i"):
            flickr, coco = (side.quality(system, slot, d, "recall", "1") for slot in ("flickr30k", "mscoco"))
            if flickr and coco:
                places = " and ".join(registry.corpus(side.corpora[s]).name for s in ("flickr30k", "mscoco"))
                yield above(flickr, coco, f"{places} {d} R@1")


def _long_code_near_scan(side: Side) -> Iterable[Check | None]:
    found = False
    for slot, d in side.cells():
        scan, long, short = (side.quality(s, slot, d, "recall", "1") for s in ("scan", "adv_2048", "adv_64"))
        found |= None not in (scan, long, short)
        to_scan, to_short = minus(scan, long, "SCAN over 2048-bit"), minus(long, short, "2048-bit over 64-bit")
        yield below(to_scan, to_short, at(side, slot, d, "recall", "1"))
    need(side, "R@1 of SCAN, ADV 2048-bit and ADV 64-bit together", found)


def _reaches(short: str) -> Claim:
    system = names((short,))

    def test(side: Side) -> Iterable[Check | None]:
        slot = "flickr30k"
        checks = []
        for fine in FG:
            for d in ("i2t", "t2i") if slot in side.corpora else ():
                late, early = side.quality(short, slot, d, "recall", "200"), side.quality(fine, slot, d, "recall", "10")
                checks.append(above(late, early, f"{side.where(slot, d)} R@200 and R@10"))
        need(side, f"R@200 of {system} beside R@10 of {names(FG)}", any(checks))
        return checks

    return Claim(
        f"extended-{short}-reaches-fg",
        TABLE3,
        f"On Flickr30K, {system} finds a right item in its first 200 at least as often as the traditional "
        "fine-grained rows do in their first 10.",
        test,
    )


def _two_of_three_keep(side: Side) -> Iterable[Check | None]:
    if "flickr30k" not in side.corpora:
        raise Missing("no corpus stands beside Flickr30K")
    for d in ("i2t", "t2i"):
        place = at(side, "flickr30k", d, "recall", "200")
        for system in ("adv_64", "ucch"):
            yield above(side.quality(system, "flickr30k", d, "recall", "200"), limit(0.85), place)
        yield below(side.quality("dadh", "flickr30k", d, "recall", "200"), limit(0.30), place)


def _gap_narrows(side: Side) -> Iterable[Check | None]:
    checks = []
    for fine in FG:
        for coarse in CG:
            for slot, d in side.cells():
                values = [[side.quality(s, slot, d, "recall", k) for s in (fine, coarse)] for k in ("1", "200")]
                gaps = [minus(*pair, f"R@{k}") for pair, k in zip(values, ("1", "200"), strict=True)]
                checks.append(above(*gaps, f"{side.where(slot, d)} {names((fine,))} over {names((coarse,))}"))
    need(side, "R@1 and R@200 of a traditional fine-grained row and a coarse-grained one", any(checks))
    return checks


CLAIMS = (
    Claim(
        "instance-fine-over-coarse",
        TABLE2,
        "To find the one right item first (R@1), every row of the fine-grained groups, ADV 2048-bit among them, "
        "does better than every coarse-grained row.",
        every((*FINE, "adv_2048"), CG, "recall", ("1",)),
    ),
    Claim(
        "instance-vlp-over-fg",
        TABLE2,
        "Every pre-trained (VLP) row does better at R@1 than every traditional fine-grained row.",
        every(VLP, FG, "recall", ("1",)),
    ),
    Claim(
        "instance-fusion-first",
        TABLE2,
        "Reranking with a fusion encoder improves R@1 over the same model without it (NF).",
        same(FUSION, "recall", ("1",)),
    ),
    Claim(
        "instance-fusion-every-k",
        TABLE2,
        "The fusion rerank is ahead of its NF variant at every printed k (1, 5, 10).",
        same(FUSION, "recall", ("1", "5", "10")),
    ),
    Claim(
        "instance-fusion-lead-shrinks",
        TABLE2,
        "What fusion adds over NF is smaller at R@10 than at R@1.",
        _fusion_lead_shrinks,
    ),
    Claim(
        "instance-imram-leads-fg",
        TABLE2,
        "Of the traditional fine-grained rows IMRAM, which attends in several steps, is the best at R@1.",
        every(("imram",), ("vsrn", "scan"), "recall", ("1",)),
    ),
    Claim(
        "instance-adv-length",
        TABLE2,
        "ADV with 2048 bits finds the right item more often than ADV with 64, at every printed k.",
        same((("adv_2048", "adv_64"),), "recall", ("1", "5", "10")),
    ),
    Claim(
        "instance-adv-2048-near-fg",
        TABLE2,
        "A long hash code comes close to fine-grained retrieval: at R@1, ADV 2048-bit is nearer to SCAN than to "
        "its own 64-bit variant.",
        _long_code_near_scan,
    ),
    Claim(
        "instance-adv-best-64",
        TABLE2,
        "Among codes of 64 bits, ADV, trained for instances, is ahead of UCCH and DADH.",
        every(("adv_64",), ("ucch", "dadh"), "recall", ("1", "5", "10")),
    ),
    Claim(
        "instance-ucch-over-dadh",
        TABLE2,
        "UCCH, trained without labels, finds instances more often than DADH, trained on them.",
        same((("ucch", "dadh"),), "recall", ("1", "5", "10")),
    ),
    Claim(
        "instance-dadh-near-chance",
        TABLE2,
        "DADH hardly tells instances apart: its R@10 lies within 5 points of a random ranking.",
        _dadh_near_chance,
    ),
    Claim(
        "instance-directions",
        TABLE2,
        "With five captions an image, every row finds one of its captions (i2t) more often than a caption finds "
        "its image (t2i), at R@1.",
        _directions,
    ),
    Claim(
        "instance-flickr-easier",
        TABLE2,
        "R@1 is higher on Flickr30K, where the gallery is a fifth as large, than on MS-COCO for every row of both.",
        _flickr_easier,
    ),
    Claim(
        "instance-vlp-best-at-10",
        TABLE2,
        "The best VLP row stays ahead of the best traditional fine-grained row at R@10.",
        leads(VLP, FG, "recall", "10"),
    ),
    Claim(
        "extended-gap-narrows",
        TABLE3,
        "The lead of traditional fine-grained rows over coarse-grained ones narrows from R@1 to R@200.",
        _gap_narrows,
    ),
    Claim(
        "extended-two-of-three",
        TABLE3,
        "Among the first 200 on Flickr30K, ADV 64-bit and UCCH hold a right item for more than 85 % of the queries, "
        "DADH for less than 30 %.",
        _two_of_three_keep,
    ),
    _reaches("adv_64"),
    _reaches("ucch"),
)
