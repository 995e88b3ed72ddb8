"""A corpus that brings no splits is divided evenly."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils.extras.corpora.folder import stratified_split


def test_stratified_split_divides_rare_labels_too():
    rng = np.random.default_rng(0)
    labels = rng.random((2000, 12)) < 1 / np.arange(3, 15) ** 1.5
    fractions = {"train": 0.7, "val": 0.1, "test": 0.2}
    split = stratified_split(labels, fractions, seed=3)
    assert np.array_equal(split, stratified_split(labels, fractions, seed=3))
    assert not np.array_equal(split, stratified_split(labels, fractions, seed=4))
    for name, fraction in fractions.items():
        chosen = split == name
        assert abs(chosen.sum() - fraction * len(labels)) <= 12
        assert np.abs(labels[chosen].sum(0) - fraction * labels.sum(0)).max() <= 3
    by_chance = rng.choice(list(fractions), len(labels), p=list(fractions.values()))
    unevenness = [np.abs(labels[s == "test"].sum(0) - 0.2 * labels.sum(0)).sum() for s in (split, by_chance)]
    assert unevenness[0] < unevenness[1] / 3


@pytest.mark.parametrize("fractions", [{}, {"train": 0.5, "test": 0.4}, {"train": 1.5, "test": -0.5}])
def test_fractions_that_are_none_are_refused(fractions):
    with pytest.raises(AssertionError):
        stratified_split(np.eye(4), fractions)
