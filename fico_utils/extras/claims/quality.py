"""Claims about retrieval at instance level (Tables 2 and 3) and at category level (Table 4, Figure 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import inf

from fico_utils.evaluation import Metric
from fico_utils.extras.claims.checks import (
    FEATURES,
    LABELS,
    TRAINING,
    Checks,
    Claim,
    Missing,
    check_above,
    check_below,
    check_within,
    system_names,
)
from fico_utils.extras.claims.groups import ALL, CG, CODES, FG, FINE, FUSION, VLP, each_pair
from fico_utils.extras.claims.numbers import SLOTS, Number, Side, difference_of, exact_number
from fico_utils.results.schema import DIRECTIONS

#: Corpus of the paper, direction.
Cell = tuple[str, str]
#: Label, systems, systems subtracted from them, metric, k.
Lead = tuple[str, Sequence[str], Sequence[str], str, str]

FLICKR = [(("flickr30k", d), ("flickr30k", d)) for d in DIRECTIONS]
FLICKR_AND_COCO = [(("flickr30k", d), ("mscoco", d)) for d in DIRECTIONS]
I2T_AND_T2I = [((slot, "i2t"), (slot, "t2i")) for slot in SLOTS]


def cell_words(side: Side, metric: str, *cells: tuple[Cell, str]) -> str:
    """Corpus, direction and metric of one or two (cell, k), for the evidence; what differs is joined by "and"."""
    words = [(side.where(*cell).rpartition(" ")[0], cell[1], Metric(metric, k).label) for cell, k in cells]
    return " ".join(" and ".join(dict.fromkeys(parts)) for parts in zip(*words, strict=True))


def ranks_ahead(
    side: Side,
    pairs: Sequence[tuple[str | Sequence[str], str | Sequence[str]]],
    metric: str = "recall",
    ks: Sequence[str | tuple[str, str]] = ("1",),
    cells: Sequence[tuple[Cell, Cell]] = (),
    by: float = 0.0,
) -> Checks:
    """The first of each pair exceeds the second; of a group of systems the best row counts.

    A pair of ks, or of cells, gives the first system another k or another corpus or direction than the second. Without
    `cells` both stand in each of the side's.
    """
    cells = cells or [(cell, cell) for cell in side.cells()]
    groups = [[(s,) if isinstance(s, str) else s for s in pair] for pair in pairs]
    ks = [(k, k) if isinstance(k, str) else k for k in ks]
    made = False
    for (here, there), (k, other_k), (upper, lower) in product(cells, ks, groups):
        check = check_above(side.best(upper, *here, metric, k), side.best(lower, *there, metric, other_k), by=by)
        if check:
            made = True
            yield replace(check, text=f"{cell_words(side, metric, (here, k), (there, other_k))}: {check.text}")
    wanted = dict.fromkeys(s for part in zip(*groups, strict=True) for group in part for s in group)
    lacking = [s for s in wanted if not any(side.quality(s, *c, metric, k) for c in side.cells() for k, _ in ks)]
    if lacking and not made:
        letter = {"recall": "R", "map": "mAP", "precision": "precision"}[metric]
        raise Missing(f"{side.has} no {letter}@{', '.join(k for k, _ in ks)} of {system_names(lacking)}")


def leads_differ(side: Side, cases: Sequence[tuple[str, Lead, Lead]], compare: Callable = check_above) -> Checks:
    """The lead of one system (or the best of a group) over another, compared with another lead."""
    for (words, *leads), (slot, d) in product(cases, side.cells()):
        gaps = [
            difference_of(side.best(upper, slot, d, metric, k), side.best(lower, slot, d, metric, k), label)
            for label, upper, lower, metric, k in leads
        ]
        yield compare(*gaps, f"{side.where(slot, d)} {words}".strip())


def lead_change(upper: str, lower: str, early: str, late: str, words: str) -> tuple[str, Lead, Lead]:
    """A case of `differ`: the lead in recall at an early and at a late k."""
    first, second = ((f"R@{k}", (upper,), (lower,), "recall", k) for k in (early, late))
    return words, first, second


def within_bounds(side: Side, bounds: Mapping[str, tuple[float, float]], metric: str, k: str) -> Checks:
    """On Flickr30K, the quality of each system lies between its bounds."""
    for (system, limits), (cell, _) in product(bounds.items(), FLICKR):
        number = side.quality(system, *cell, metric, k)
        yield number and check_within(number, *limits, cell_words(side, metric, (cell, k)))


def dadh_near_chance(side: Side) -> Checks:
    for cell in side.cells():
        value, chance = side.quality("dadh", *cell, "recall", "10"), side.chance(*cell, "recall", "10")
        yield check_below(value, chance, cell_words(side, "recall", (cell, "10")), by=-0.05)


def room_used(value: Number | None, chance: Number | None) -> Number | None:
    """The share of the room above chance that a value fills, with the arithmetic."""
    if value is None or chance is None:
        return None
    shares = [(end - chance.value) / (1 - chance.value) for end in (value.value, value.low, value.high)]
    v, c = 100 * value.value, 100 * chance.value
    return Number(*shares, f"({v:.1f} - {c:.1f}) / (100 - {c:.1f}) = {100 * shares[0]:.1f} %", value.label)


def more_than_chance(side: Side) -> Checks:
    for system, (cell, _) in product(ALL, FLICKR):
        share = room_used(side.quality(system, *cell, "map", "N"), side.chance(*cell, "map", "N"))
        yield share and check_above(share, exact_number(0.5), cell_words(side, "map", (cell, "N")))


def length_matters_little(side: Side) -> Checks:
    for cell, k in product(side.cells(), ("10", "100", "N")):
        long, short = (side.quality(system, *cell, "map", k) for system in LENGTHS[0])
        yield check_within(difference_of(long, short, "2048 over 64"), -0.01, 0.01, cell_words(side, "map", (cell, k)))


def curves_meet(side: Side) -> Checks:
    for cell in side.cells():
        ends = [side.best(ALL, *cell, "precision", "R=1.0", lowest=lowest) for lowest in (False, True)]
        where = cell_words(side, "precision", (cell, "R=1.0"))
        yield check_below(difference_of(*ends, "highest and lowest"), exact_number(0.02), where)


#: Vision-language rows read another backbone's patches and saw more pairs; hashing rows read one vector an item. The
#: backbones have learnt the classes that category labels are made of.
READ = (FEATURES, TRAINING)
JUDGED = (*READ, LABELS)
TABLE2, TABLE3 = "Instance-level retrieval, Table 2", "Instance-level retrieval, Table 3"
TABLE4, FIGURE3 = "Category-level retrieval, Table 4", "Category-level retrieval, Figure 3"
TABLES24 = "Category-level retrieval, Tables 2 and 4"
PRINTED = ("1", "5", "10")
SAME_ROW = [(system, system) for system in ALL]
LENGTHS = [("adv_2048", "adv_64")]
NOT_UCCH = [system for system in ALL if system != "ucch"]
LONG_CODE = [(
    "R@1",
    ("SCAN over 2048-bit", ("scan",), ("adv_2048",), "recall", "1"),
    ("2048-bit over 64-bit", ("adv_2048",), ("adv_64",), "recall", "1"),
)]  # fmt: skip
LEVELS = [("", ("mAP@10", FINE, CG, "map", "10"), ("R@1", FINE, CG, "recall", "1"))]
FINE_OVER_COARSE = [
    lead_change(fine, coarse, "1", "200", f"{system_names((fine,))} over {system_names((coarse,))}")
    for fine, coarse in each_pair(FG, CG)
]
TWO_OF_THREE = {"adv_64": (0.85, inf), "ucch": (0.85, inf), "dadh": (-inf, 0.30)}
# fmt: off
CLAIMS = (
    Claim("instance-fine-over-coarse", TABLE2, ranks_ahead, {"pairs": each_pair((*FINE, "adv_2048"), CG)},
          "To find the one right item first (R@1), every row of the fine-grained groups, ADV 2048-bit among them, does "
          "better than every coarse-grained row.", rests_on=READ),
    Claim("instance-vlp-over-fg", TABLE2, ranks_ahead, {"pairs": each_pair(VLP, FG)},
          "Every pre-trained (VLP) row does better at R@1 than every traditional fine-grained row.", rests_on=READ),
    Claim("instance-fusion-first", TABLE2, ranks_ahead, {"pairs": FUSION},
          "Reranking with a fusion encoder improves R@1 over the same model without it (NF)."),
    Claim("instance-fusion-every-k", TABLE2, ranks_ahead, {"pairs": FUSION, "ks": PRINTED},
          "The fusion rerank is ahead of its NF variant at every printed k (1, 5, 10)."),
    Claim("instance-fusion-lead-shrinks", TABLE2,
          leads_differ, {"cases": [lead_change(*pair, "1", "10", system_names(pair[:1])) for pair in FUSION]},
          "What fusion adds over NF is smaller at R@10 than at R@1."),
    Claim("instance-imram-leads-fg", TABLE2, ranks_ahead, {"pairs": each_pair(("imram",), ("vsrn", "scan"))},
          "Of the traditional fine-grained rows IMRAM, which attends in several steps, is the best at R@1."),
    Claim("instance-adv-length", TABLE2, ranks_ahead, {"pairs": LENGTHS, "ks": PRINTED},
          "ADV with 2048 bits finds the right item more often than ADV with 64, at every printed k."),
    Claim("instance-adv-2048-near-fg", TABLE2, leads_differ, {"cases": LONG_CODE, "compare": check_below},
          "A long hash code comes close to fine-grained retrieval: at R@1, ADV 2048-bit is nearer to SCAN than to its "
          "own 64-bit variant.", needs="R@1 of SCAN, ADV 2048-bit and ADV 64-bit together"),
    Claim("instance-adv-best-64", TABLE2,
          ranks_ahead, {"pairs": each_pair(("adv_64",), ("ucch", "dadh")), "ks": PRINTED},
          "Among codes of 64 bits, ADV, trained for instances, is ahead of UCCH and DADH.", rests_on=(FEATURES,)),
    Claim("instance-ucch-over-dadh", TABLE2, ranks_ahead, {"pairs": each_pair(("ucch",), ("dadh",)), "ks": PRINTED},
          "UCCH, trained without labels, finds instances more often than DADH, trained on them.", rests_on=(LABELS,)),
    Claim("instance-dadh-near-chance", TABLE2, dadh_near_chance, {},
          "DADH hardly tells instances apart: its R@10 lies within 5 points of a random ranking.",
          needs="R@10 of DADH"),
    Claim("instance-directions", TABLE2, ranks_ahead, {"pairs": SAME_ROW, "cells": I2T_AND_T2I},
          "With five captions an image, every row finds one of its captions (i2t) more often than a caption finds its "
          "image (t2i), at R@1."),
    Claim("instance-flickr-easier", TABLE2,
          ranks_ahead, {"pairs": [(s, s) for s in (*FINE, *CG)], "cells": FLICKR_AND_COCO},
          "R@1 is higher on Flickr30K, where the gallery is a fifth as large, than on MS-COCO for every row of both.",
          needs="row with R@1 on both corpora"),
    Claim("instance-vlp-best-at-10", TABLE2, ranks_ahead, {"pairs": [(VLP, FG)], "ks": ["10"]},
          "The best VLP row stays ahead of the best traditional fine-grained row at R@10.", rests_on=READ),
    Claim("extended-gap-narrows", TABLE3, leads_differ, {"cases": FINE_OVER_COARSE},
          "The lead of traditional fine-grained rows over coarse-grained ones narrows from R@1 to R@200.",
          needs="R@1 and R@200 of a traditional fine-grained row and a coarse-grained one", rests_on=(FEATURES,)),
    Claim("extended-two-of-three", TABLE3, within_bounds, {"bounds": TWO_OF_THREE, "metric": "recall", "k": "200"},
          "Among the first 200 on Flickr30K, ADV 64-bit and UCCH hold a right item for more than 85 % of the queries, "
          "DADH for less than 30 %.",
          needs="R@200 of ADV 64-bit, UCCH or DADH beside Flickr30K"),
    Claim("extended-adv_64-reaches-fg", TABLE3,
          ranks_ahead, {"pairs": each_pair(("adv_64",), FG), "ks": [("200", "10")], "cells": FLICKR},
          "On Flickr30K, ADV 64-bit finds a right item in its first 200 at least as often as the traditional "
          "fine-grained rows do in their first 10.", needs="R@200 of ADV 64-bit beside R@10 of IMRAM, VSRN, SCAN"),
    Claim("extended-ucch-reaches-fg", TABLE3,
          ranks_ahead, {"pairs": each_pair(("ucch",), FG), "ks": [("200", "10")], "cells": FLICKR},
          "On Flickr30K, UCCH finds a right item in its first 200 at least as often as the traditional fine-grained "
          "rows do in their first 10.", needs="R@200 of UCCH beside R@10 of IMRAM, VSRN, SCAN", rests_on=(FEATURES,)),
    Claim("category-vlp-leads-10", TABLE4,
          ranks_ahead, {"pairs": [(VLP, (*FG, *CODES))], "metric": "map", "ks": ["10"]},
          "At the head of the ranking (mAP@10) a VLP row leads on both corpora and in both directions.",
          rests_on=JUDGED),
    Claim("category-fine-over-coarse-10", TABLE4,
          ranks_ahead, {"pairs": each_pair(FINE, CG), "metric": "map", "ks": ["10"]},
          "At mAP@10 every VLP and traditional fine-grained row is ahead of every coarse-grained row of 64 bits.",
          rests_on=JUDGED),
    Claim("category-coarse-leads-n", TABLE4, ranks_ahead, {"pairs": [(CG, FINE)], "metric": "map", "ks": ["N"]},
          "Over the whole ranking (mAP@N) a coarse-grained row leads all fine-grained ones.", rests_on=JUDGED),
    Claim("category-ucch-leads-n", TABLE4,
          ranks_ahead, {"pairs": [(("ucch",), NOT_UCCH)], "metric": "map", "ks": ["N"]},
          "UCCH is the row that leads mAP@N.", rests_on=JUDGED),
    Claim("category-coarse-competitive-n", TABLE4,
          ranks_ahead, {"pairs": [(CG, FINE)], "metric": "map", "ks": ["N"], "by": -0.01},
          "Coarse-grained rows keep up over the whole ranking: the best of them is at most 1 point of mAP@N behind the "
          "best fine-grained one.", rests_on=JUDGED),
    Claim("category-gap-below-instance", TABLES24, leads_differ, {"cases": LEVELS, "compare": check_below},
          "The best fine-grained row is less far ahead of the best coarse-grained one at category level (mAP@10) than "
          "at instance level (R@1).", rests_on=JUDGED),
    Claim("category-rerank-no-gain", TABLE4,
          ranks_ahead, {"pairs": [(plain, fused) for fused, plain in FUSION], "metric": "map", "ks": ["10", "100"]},
          "A fusion rerank brings nothing at category level: without it (NF) mAP@10 and mAP@100 are higher."),
    Claim("category-adv-length", TABLE4, length_matters_little, {},
          "Code length hardly matters for categories: ADV with 2048 and with 64 bits differ by less than 1 point of "
          "mAP.", needs="mAP of ADV 2048-bit and ADV 64-bit"),
    Claim("category-falls", TABLE4,
          ranks_ahead, {"pairs": SAME_ROW, "metric": "map", "ks": [("10", "100"), ("100", "N")]},
          "For every row mAP falls as more of the ranking counts, from 10 to 100 and from 100 to N."),
    Claim("category-flickr-high", TABLE4,
          within_bounds, {"bounds": dict.fromkeys(ALL, (0.88, inf)), "metric": "map", "k": "N"},
          "On Flickr30K every row reaches a high mAP@N (above 88 %).", rests_on=(LABELS,)),
    Claim("category-flickr-above-chance", TABLE4, more_than_chance, {},
          "The high mAP@N on Flickr30K is what the systems achieve, not what chance gives: rows fill more than half of "
          "the room between a random ranking and a perfect one.", needs="mAP@N with its chance level",
          rests_on=(LABELS,)),
    Claim("curve-fine-leads-early", FIGURE3,
          ranks_ahead, {"pairs": [(FINE, CODES)], "metric": "precision", "ks": ["R=0.1", "R=0.2"]},
          "At low recall (0.1, 0.2) the most precise curve is that of a fine-grained row.", rests_on=JUDGED),
    Claim("curve-coarse-leads-late", FIGURE3,
          ranks_ahead, {"pairs": [(CG, FINE)], "metric": "precision", "ks": ["R=0.7", "R=0.8", "R=0.9"]},
          "At high recall (0.7, 0.8, 0.9) the most precise curve is that of a coarse-grained row.", rests_on=JUDGED),
    Claim("curve-meet", FIGURE3, curves_meet, {},
          "At full recall all curves of a panel end within 2 points of each other, at the share of relevant pairs."),
)
# fmt: on
