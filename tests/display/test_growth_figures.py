"""The two figures of growth: what they draw, and that they say it."""

from __future__ import annotations

import pandas as pd
import pytest

from fico_utils import registry
from fico_utils.display.figures import FIGURES
from fico_utils.errors import InputError
from fico_utils.extras.figures.gallery import gallery_growth
from fico_utils.extras.figures.pareto import search_setups
from fico_utils.results import paper_reference

from .conftest import SIZES, grown_costs


@pytest.fixture
def costs() -> pd.DataFrame:
    return pd.concat([grown_costs(), paper_reference("costs")], ignore_index=True)


def test_gallery_draws_every_system_with_its_own_look(costs):
    picture = gallery_growth(costs)
    left, right = picture.figure.axes
    lines = {line.get_label(): line for line in left.get_lines()}
    assert set(lines) == {"BEiT-3", "SCAN", "UCCH", "perfect retriever"}
    for system in ("beit3", "scan", "ucch"):
        known, line = registry.system(system), lines[registry.system(system).name]
        assert (line.get_color(), line.get_marker()) == (known.colour, known.marker)
        assert line.get_xdata().tolist() == list(SIZES)
    assert lines["BEiT-3"].get_ydata().tolist() == pytest.approx([0.5, 0.42, 0.34])
    assert len(right.get_lines()) == 3
    assert set(picture.data["quantity"]) == {"recall_t2i@1", "true_t2i@1"}
    assert len(picture.data) == 3 * 7
    assert "BEiT-3 0.50 at 1K scenes, 0.34 at 4K scenes" in picture.alt


def test_the_pareto_figure_rings_the_front(costs):
    picture = search_setups(costs)
    assert set(picture.data["scale_img"]) == {4000}
    front = set(picture.data[picture.data["front"]]["system"])
    # nothing is better in recall, time and memory at once
    assert front == {
        "beit3+flat_ip", "beit3+hnsw_flat", "ucch+binary_flat_counting", "ucch+beit3@10", "ucch+beit3@100",
    }  # fmt: skip
    rings = [line for line in picture.figure.axes[0].get_lines() if line.get_markersize() == 8]
    assert len(rings) == len(front)
    assert "UCCH, then BEiT-3 for 100: recall 0.39" in picture.alt
    smaller = search_setups(costs, size=1000)
    assert set(smaller.data["scale_img"]) == {1000}


@pytest.mark.parametrize("name", ["gallery", "pareto"])
def test_same_numbers_same_bytes(costs, name):
    draw = FIGURES[name]
    first, second = draw(costs), draw(costs.sample(frac=1, random_state=0))
    assert first.render("svg") == draw(costs).render("svg")
    assert len(first.data) == len(second.data)


def test_figures_of_nothing_are_refused(costs):
    nothing = costs[costs["phase"] == "search"]
    with pytest.raises(InputError, match="nothing measured in phase 'gallery'"):
        gallery_growth(nothing)
    with pytest.raises(InputError, match="nothing measured in phase 'deploy'"):
        search_setups(nothing)
    with pytest.raises(InputError, match="expected one of the sizes 1000, 2000, 4000"):
        search_setups(costs, size=77)
