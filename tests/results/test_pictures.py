"""The paper's pattern on pictures that people drew and named: the committed measurements of profile pictures.

An order of two systems is refuted where the second is ahead and their 95 % intervals do not overlap. What does not hold
is marked with its numbers; the mark is strict.
"""

from __future__ import annotations

import pandas as pd
import pytest

from fico_utils.provenance import PROJECT
from fico_utils.results import load

PICTURES = PROJECT / "figures" / "pictures"
DIRECTIONS = ("i2t", "t2i")
DUAL, CROSSED = ("blip2_nf", "beit3", "xvlm_nf"), ("blip2", "xvlm")
FG = ("imram", "vsrn", "scan")
CG = ("adv_2048", "adv_64", "ucch", "dadh")

pytestmark = pytest.mark.skipif(not (PICTURES / "metrics.csv").is_file(), reason="figures/pictures is not committed")


@pytest.fixture(scope="module")
def score():
    metrics = load(PICTURES, "metrics")
    rows = metrics[(metrics["source"] == "ours") & (metrics["status"] == "ok")]
    found = rows.set_index(["system", "direction", "metric", "k"])

    def look(system, direction, metric="recall", k="1"):
        if system not in rows["system"].values:
            pytest.skip(f"{system} is not measured yet")
        return found.loc[system, direction, metric, k]

    return look


def ahead(first, second) -> bool:
    """Not refuted: the first is ahead, or noise could have put it behind."""
    return first["value"] > second["value"] or first["ci_high"] >= second["ci_low"]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("traditional", FG)
@pytest.mark.parametrize("system", DUAL)
def test_pre_trained_rows_lead_traditional_ones(score, system, traditional, direction):
    assert ahead(score(system, direction), score(traditional, direction))


#: IMRAM learns for 15 passes only, and finds 7.4 and 8.0 % where SCAN finds 20.7 and 22.0.
BEHIND = {("imram", "adv_2048", "i2t"), ("imram", "adv_2048", "t2i"), ("imram", "ucch", "t2i")}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("code", CG)
@pytest.mark.parametrize("system", [*DUAL, *FG])
def test_fine_grained_rows_lead_codes_at_the_first_rank(score, system, code, direction):
    leads = ahead(score(system, direction), score(code, direction))
    assert leads != ((system, code, direction) in BEHIND)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("system", CROSSED)
def test_fusion_does_not_lose_to_its_dual_encoder(score, system, direction):
    assert ahead(score(system, direction), score(f"{system}_nf", direction))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_codes_close_the_gap_by_the_hundredth_rank(score, direction):
    """The best code's share of the best fine-grained recall is larger at 100 than at 1, and above 0.75."""
    shares = {}
    for k in ("1", "100"):
        best = {family: max(score(s, direction, k=k)["value"] for s in family) for family in ((*DUAL, *FG), CG)}
        shares[k] = best[CG] / best[(*DUAL, *FG)]
    assert shares["100"] > max(shares["1"], 0.75)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_coarse_grained_row_leads_or_ties_whole_rankings(score, direction):
    fine = [score(s, direction, "map", "N") for s in (*DUAL, *FG)]
    assert any(all(ahead(score(code, direction, "map", "N"), other) for other in fine) for code in CG)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_more_bits_find_more(score, direction):
    long, short, unsupervised = (score(s, direction) for s in ("adv_2048", "adv_64", "ucch"))
    assert ahead(long, short)
    assert ahead(long, unsupervised)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.xfail(strict=True, reason="with 64 bits ADV finds 5.3 and 7.7 %, UCCH 9.9 and 12.9")
def test_an_instance_level_code_finds_more_than_an_unsupervised_one(score, direction):
    assert ahead(score("adv_64", direction), score("ucch", direction))


#: Least R@1 of i2t and of t2i, percent, that issue 29 asks for.
WANTED = {DUAL + CROSSED: (32, 24), FG: (16, 14), ("adv_2048",): (14, 11), **{(s,): (26, 19) for s in DUAL}}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("systems", WANTED, ids=lambda systems: systems[-1])
def test_the_best_row_of_a_family_finds_what_was_asked_for(score, systems, direction):
    best = max(score(system, direction)["value"] for system in systems)
    assert 100 * best >= WANTED[systems][DIRECTIONS.index(direction)]


def test_zero_shot_rows_find_ten_times_what_chance_does():
    path = PICTURES / "study_others.csv"
    if not path.is_file():
        pytest.skip("the study of other pictures is not committed yet")
    table = pd.read_csv(path, dtype={"k": str})
    rows = table[(table["k"] == "1") & (table["judge"] == "partner")]
    assert (rows["value"] >= 10 * rows["chance"]).all()
