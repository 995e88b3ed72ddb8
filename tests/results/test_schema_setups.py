"""The phases gallery and deploy of costs.csv, and the recalls of other binarisers."""

from __future__ import annotations

import pandas as pd
import pytest

from fico_utils.costs.rows import cost_row
from fico_utils.errors import InputError
from fico_utils.results.schema import is_setup, unit_of, validate

GOOD = [
    ("gallery", "scan", "recall_t2i@1", ""), ("gallery", "perfect", "recall_t2i@10", ""),
    ("gallery", "dadh", "map_i2t", ""), ("gallery", "dadh", "map_i2t@100", ""), ("gallery", "ucch", "true_i2t@1", ""),
    ("deploy", "beit3", "seconds_per_query", "s"), ("deploy", "beit3+hnsw_flat", "nearest_t2i@5", ""),
    ("deploy", "ucch+beit3@100", "item_bytes", "B"), ("search", "binary_flat", "recall_sign@5", ""),
]  # fmt: skip


def frame(phase: str, system: str, quantity: str, unit: str, value: float = 0.5) -> pd.DataFrame:
    made = cost_row(phase, quantity, value, unit=unit, system=system, scale_img=10, scale_txt=50)
    return pd.DataFrame([{**made, "profile": "mini", "run": "mini-s0"}])


@pytest.mark.parametrize("given", GOOD)
def test_good_rows_pass(given):
    assert len(validate(frame(*given), "costs")) == 1
    assert unit_of(given[2]) == given[3]


@pytest.mark.parametrize(
    ("given", "column"),
    [
        (("gallery", "flat_ip", "recall_t2i@1", ""), "system"),
        (("gallery", "beit3+flat_ip", "recall_t2i@1", ""), "system"),
        (("gallery", "scan", "recall@1", ""), "quantity"),
        (("gallery", "scan", "recall_t2i@1", "s"), "unit"),
        (("gallery", "scan", "recall_t2i", ""), "quantity"),
        (("deploy", "perfect", "recall_t2i@1", ""), "system"),
        (("deploy", "beit3+annoy", "item_bytes", "B"), "system"),
        (("deploy", "ucch+beit3@0", "item_bytes", "B"), "system"),
        (("deploy", "beit3", "map_t2i@10", ""), "quantity"),
        (("search", "binary_flat", "recall_pca@5", ""), "quantity"),
        (("encode", "scan", "recall_t2i@1", ""), "quantity"),
    ],
)
def test_wrong_rows_are_named(given, column):
    with pytest.raises(InputError, match=f"column {column}: got"):
        validate(frame(*given), "costs")


def test_a_quality_is_a_fraction():
    for given in (g for g in GOOD if g[3] == ""):
        with pytest.raises(InputError, match="a fraction from 0 to 1"):
            validate(frame(*given, value=1.5), "costs")


def test_setups():
    good = ("scan", "scan+hnsw_flat", "ucch+scan@7")
    bad = ("", "+", "scan+", "+scan", "scan+scan", "scan@5", "scan+scan@", "scan+scan@-1", "scan+flat_ip+beit3@5")
    assert [is_setup(s) for s in (*good, *bad)] == [True] * len(good) + [False] * len(bad)
