"""The two figures of growth: what they draw, and that they say it."""

from __future__ import annotations

import pandas as pd
import pytest

from fico_utils import registry
from fico_utils.costs.clock import row
from fico_utils.display import growth_figures
from fico_utils.errors import InputError
from fico_utils.results import paper_reference

SIZES = (1000, 2000, 4000)
POINTS = {  # setup -> seconds a query, bytes an item, recall
    "beit3+flat_ip": (4e-4, 512, 0.40), "beit3+hnsw_flat": (5e-5, 784, 0.39), "beit3+binary_ivf": (6e-5, 20, 0.05),
    "beit3+binary_flat_counting": (7e-5, 8, 0.10), "ucch+binary_flat_counting": (3e-5, 8, 0.20),
    "ucch+beit3@10": (4e-5, 520, 0.30), "ucch+beit3@100": (9e-5, 520, 0.385), "scan": (0.5, 18000, 0.38),
    "ucch+scan@100": (0.02, 18008, 0.37),
}  # fmt: skip


@pytest.fixture
def costs() -> pd.DataFrame:
    rows = []
    for i, n in enumerate(SIZES):
        place = {"scale_img": n, "scale_txt": 5 * n, "corpus": "picto_diverse", "unit": ""}
        for system, start in (("beit3", 0.5), ("scan", 0.45), ("ucch", 0.3)):
            for d in ("i2t", "t2i"):
                rows.append(row("gallery", f"recall_{d}@1", start - 0.08 * i, system=system, **place))
                rows.append(row("gallery", f"true_{d}@1", 0.1 + 0.02 * i, system=system, **place))
        rows.append(row("gallery", "recall_t2i@1", 0.9 - 0.05 * i, system="perfect", source="perfect", **place))
        for setup, (seconds, size, recall) in POINTS.items():
            place = {"scale_img": n, "scale_txt": 50, "corpus": "picto_diverse", "system": setup}
            rows.append(row("deploy", "seconds_per_query", seconds * n / 4000, **place))
            rows.append(row("deploy", "item_bytes", size, unit="B", **place))
            rows.append(row("deploy", "recall_t2i@1", recall, unit="", **place))
    ours = pd.DataFrame(rows).assign(profile="mini", run="mini-s0")
    return pd.concat([ours, paper_reference("costs")], ignore_index=True)


def test_gallery_draws_every_system_with_its_own_look(costs):
    picture = growth_figures.gallery(costs)
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
    picture = growth_figures.pareto(costs)
    assert set(picture.data["scale_img"]) == {4000}
    front = set(picture.data[picture.data["front"]]["system"])
    # nothing is better in recall, time and memory at once
    assert front == {
        "beit3+flat_ip", "beit3+hnsw_flat", "ucch+binary_flat_counting", "ucch+beit3@10", "ucch+beit3@100",
    }  # fmt: skip
    rings = [line for line in picture.figure.axes[0].get_lines() if line.get_markersize() == 8]
    assert len(rings) == len(front)
    assert "UCCH, then BEiT-3 for 100: recall 0.39" in picture.alt
    smaller = growth_figures.pareto(costs, size=1000)
    assert set(smaller.data["scale_img"]) == {1000}


@pytest.mark.parametrize("name", ["gallery", "pareto"])
def test_same_numbers_same_bytes(costs, name):
    draw = getattr(growth_figures, name)
    first, second = draw(costs), draw(costs.sample(frac=1, random_state=0))
    assert first.render("svg") == draw(costs).render("svg")
    assert len(first.data) == len(second.data)


def test_figures_of_nothing_are_refused(costs):
    nothing = costs[costs["phase"] == "search"]
    with pytest.raises(InputError, match="nothing measured in phase 'gallery'"):
        growth_figures.gallery(nothing)
    with pytest.raises(InputError, match="nothing measured in phase 'deploy'"):
        growth_figures.pareto(nothing)
    with pytest.raises(InputError, match="expected one of the sizes 1000, 2000, 4000"):
        growth_figures.pareto(costs, size=77)
    with pytest.raises(InputError, match="expected one of i2t, t2i"):
        growth_figures.gallery(costs, "both")
