"""The paper's pattern, on the committed measurements of the standard profile: who leads whom, at which task.

An order of two systems is refuted where the second is ahead and their 95 % intervals do not overlap. What does not
hold is marked with the reason that was found; the mark is strict, so a pattern that comes back is noticed.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from fico_utils import registry
from fico_utils.results import load
from fico_utils.workspace import PROJECT

STANDARD = PROJECT / "figures" / "standard"
CORPORA, DIRECTIONS = ("picto_diverse", "picto_people"), ("i2t", "t2i")
PLACES = [(corpus, direction) for corpus in CORPORA for direction in DIRECTIONS]
DUAL, CROSSED = ("blip2_nf", "beit3", "xvlm_nf"), ("blip2", "xvlm")
FG = ("imram", "vsrn", "scan")
CG = ("adv_2048", "adv_64", "ucch", "dadh")

#: Systems that a profile of hours on two cores does not train to the end, and what their training logs say.
UNDERTRAINED = {
    "blip2": "four passes: its matching loss is still the entropy of one pair in three, 0.634 of 0.637; the first "
    "candidates are reordered by noise",
    "blip2_nf": "four passes: the contrastive loss is still falling by a tenth a pass",
    "xvlm_nf": "eight passes from scratch, contrastive loss still falling; the paper's is pre-trained on millions of pairs",
    "vsrn": "six passes where the original takes thirty, and the captioning loss weighs most",
}


def trained(systems, places, unless=()):
    """System x place; those of systems that are not trained to the end are expected to fail, except `unless`."""
    for system, place in itertools.product(systems, places):
        place = (place,) if isinstance(place, str) else place
        late = system in UNDERTRAINED and system not in unless
        marks = [pytest.mark.xfail(reason=UNDERTRAINED[system], strict=True)] if late else []
        yield pytest.param(system, *place, marks=marks)


class Score(NamedTuple):
    value: float
    low: float
    high: float
    chance: float


@pytest.fixture(scope="module")
def score():
    metrics = load(STANDARD, "metrics")
    rows = metrics[(metrics["profile"] == "standard") & (metrics["split"] == "test") & (metrics["status"] == "ok")]
    columns = ["system", "corpus", "direction", "metric", "k", "value", "ci_low", "ci_high", "chance"]
    found = {tuple(r[:5]): Score(*r[5:]) for r in rows[columns].itertuples(index=False, name=None)}

    def look(system, corpus, direction, metric="recall", k="1"):
        return found[system, corpus, direction, metric, k]

    return look


def ahead(first: Score, second: Score) -> bool:
    """Not refuted: the first is ahead, or noise could have put it behind."""
    return first.value > second.value or first.high >= second.low


def test_all_twelve_rows_are_measured_on_both_corpora(score):
    for corpus, direction in PLACES:
        for system in registry.SYSTEMS:
            assert 0 <= score(system, corpus, direction).value <= 1


@pytest.mark.parametrize(
    ("system", "corpus", "direction"), trained((*DUAL, *CROSSED, *FG), PLACES, unless=("xvlm_nf",))
)
def test_fine_grained_systems_lead_coarse_grained_ones_at_the_first_rank(score, system, corpus, direction):
    for coarse in CG:
        assert ahead(score(system, corpus, direction), score(coarse, corpus, direction)), coarse


@pytest.mark.parametrize(("system", "corpus", "direction"), trained(DUAL, PLACES))
def test_pre_trained_dual_encoders_lead_traditional_fine_grained_systems(score, system, corpus, direction):
    for traditional in FG:
        assert ahead(score(system, corpus, direction), score(traditional, corpus, direction)), traditional


@pytest.mark.parametrize(("system", "corpus", "direction"), trained(CROSSED, PLACES))
def test_fusion_adds_to_its_dual_encoder_and_not_without_limit(score, system, corpus, direction):
    fused, dual = score(system, corpus, direction), score(f"{system}_nf", corpus, direction)
    assert fused.low > dual.high
    assert fused.value - dual.value < 0.25


@pytest.mark.parametrize(("corpus", "direction"), PLACES)
def test_iterated_matching_is_not_behind_one_step_of_attention(score, corpus, direction):
    assert ahead(score("imram", corpus, direction), score("scan", corpus, direction))


@pytest.mark.parametrize(("corpus", "direction"), PLACES)
def test_coarse_grained_systems_come_in_the_papers_order_at_the_first_rank(score, corpus, direction):
    for first, second in itertools.pairwise(CG):
        assert ahead(score(first, corpus, direction), score(second, corpus, direction)), (first, second)


@pytest.mark.parametrize(("corpus", "direction"), PLACES)
def test_label_codes_find_no_single_item_and_the_right_kind(score, corpus, direction):
    first = score("dadh", corpus, direction)
    assert first.value < first.chance + 0.02
    of_kind = {s: score(s, corpus, direction, "map", "N") for s in CG}
    assert all(ahead(of_kind["dadh"], other) for other in of_kind.values())


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_coarse_grained_systems_lead_whole_rankings_and_pre_trained_ones_the_first_ten(score, direction):
    rows = [s for s in registry.SYSTEMS if s not in CROSSED]  # a reranker ranks its first candidates alone
    whole = {s: score(s, "picto_diverse", direction, "map", "N").value for s in rows}
    ten = {s: score(s, "picto_diverse", direction, "map", "10").value for s in registry.SYSTEMS}
    assert max(whole, key=whole.get) in CG
    assert max(ten, key=ten.get) in (*DUAL, *CROSSED)


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("system", [*DUAL, *CROSSED, *FG])
def test_five_captions_are_easier_to_hit_than_one_picture(score, system, corpus):
    for k in ("1", "5", "10"):
        assert ahead(score(system, corpus, "i2t", "recall", k), score(system, corpus, "t2i", "recall", k)), k


#: Shares of the perfect retriever's R@1, from captions to pictures, that rows of a family should reach.
WANTED = {s: 0.75 for s in (*DUAL, *CROSSED)} | {s: 0.45 for s in FG}


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("system", WANTED)
def test_systems_come_near_the_perfect_retriever(score, system, corpus, request):
    reached = score(system, corpus, "t2i").value / score("perfect", corpus, "t2i").value
    # X-VLM's head keeps what its towers hand it; BEiT-3 at 5 000 scenes is a dual encoder of 128 numbers, from scratch
    short = system in UNDERTRAINED or system == "xvlm" or (system, corpus) == ("beit3", "picto_diverse")
    request.applymarker(pytest.mark.xfail(short, reason=f"{reached:.2f} of the perfect retriever", strict=True))
    assert reached >= WANTED[system]
