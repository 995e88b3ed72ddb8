"""The paper's pattern, on the committed measurements of the standard profile: who leads whom, at which task.

An order of two systems is refuted where the second is ahead and their 95 % intervals do not overlap. What does not
hold is marked with what is known of it; the mark is strict: a pattern that comes back is noticed.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from fico_utils import registry
from fico_utils.provenance import PROJECT
from fico_utils.results import load

STANDARD = PROJECT / "figures" / "standard"
CORPORA, DIRECTIONS = ("picto_diverse", "picto_people"), ("i2t", "t2i")
PLACES = [(corpus, direction) for corpus in CORPORA for direction in DIRECTIONS]
DUAL, CROSSED = ("blip2_nf", "beit3", "xvlm_nf"), ("blip2", "xvlm")
FG = ("imram", "vsrn", "scan")
CG = ("adv_2048", "adv_64", "ucch", "dadh")

CAPTIONS = "BEiT-3 leads from captions, as in the paper (60.3, UCCH 60.2); DADH's best epoch by mAP does not change it"


def everywhere(*systems: str) -> list[tuple[str, str, str]]:
    """Each system on each corpus in each direction."""
    return [(system, *place) for system in systems for place in PLACES]


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


@pytest.mark.parametrize(("corpus", "direction"), PLACES)
def test_all_rows_are_measured(score, corpus, direction):
    for system in registry.SYSTEMS:
        assert 0 <= score(system, corpus, direction).value <= 1


@pytest.mark.parametrize(("system", "corpus", "direction"), everywhere(*DUAL, *CROSSED, *FG))
def test_fine_grained_systems_lead_coarse_grained_ones_at_the_first_rank(score, system, corpus, direction):
    for coarse in CG:
        assert ahead(score(system, corpus, direction), score(coarse, corpus, direction)), coarse


@pytest.mark.parametrize(("system", "corpus", "direction"), everywhere(*DUAL))
def test_pre_trained_dual_encoders_lead_traditional_fine_grained_systems(score, system, corpus, direction):
    for traditional in FG:
        assert ahead(score(system, corpus, direction), score(traditional, corpus, direction)), traditional


@pytest.mark.parametrize(("system", "corpus", "direction"), everywhere(*CROSSED))
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


@pytest.mark.parametrize(
    "direction",
    ["i2t", pytest.param("t2i", marks=pytest.mark.xfail(reason=CAPTIONS, strict=True))],
)
def test_a_coarse_grained_system_leads_whole_rankings(score, direction):
    ranked = [s for s in registry.SYSTEMS if s not in CROSSED]
    whole = {s: score(s, "picto_diverse", direction, "map", "N").value for s in ranked}
    assert max(whole, key=whole.get) in CG


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_pre_trained_system_leads_the_first_ten(score, direction):
    ten = {s: score(s, "picto_diverse", direction, "map", "10").value for s in registry.SYSTEMS}
    assert max(ten, key=ten.get) in (*DUAL, *CROSSED)


@pytest.mark.parametrize(("system", "corpus"), list(itertools.product((*DUAL, *CROSSED, *FG), CORPORA)))
def test_five_captions_are_easier_to_hit_than_one_picture(score, system, corpus):
    for k in ("1", "5", "10"):
        assert ahead(score(system, corpus, "i2t", "recall", k), score(system, corpus, "t2i", "recall", k)), k


#: Shares of the perfect retriever's R@1, from captions to pictures, that rows of a family should reach.
WANTED = dict.fromkeys((*DUAL, *CROSSED), 0.75) | dict.fromkeys(FG, 0.45)


@pytest.mark.parametrize(("system", "corpus"), list(itertools.product(WANTED, CORPORA)))
def test_systems_come_near_the_perfect_retriever(score, system, corpus):
    reached = score(system, corpus, "t2i").value / score("perfect", corpus, "t2i").value
    assert reached >= WANTED[system]


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_best_system_comes_nearer_still(score, corpus):
    best = max(score(s, corpus, "t2i").value for s in registry.SYSTEMS)
    assert best / score("perfect", corpus, "t2i").value >= 0.85
