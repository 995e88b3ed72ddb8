"""Groups of correct items, counted through buckets of scores, against the definition: on scores made to break them."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils.evaluation import kernels_instance as kernels
from fico_utils.evaluation.compiling import compiled
from fico_utils.evaluation.kernels_ranking import empty_block

_RNG = np.random.default_rng
#: Kind of scores -> (type, scores of n items).
SCORES = {
    "any": ("f4", lambda rng, n: rng.standard_normal(n)),
    "any, float64": ("f8", lambda rng, n: rng.standard_normal(n)),
    "float16": ("f4", lambda rng, n: rng.standard_normal(n).astype("f2")),
    "few": ("f4", lambda rng, n: rng.integers(-3, 4, n)),
    "codes": ("u2", lambda rng, n: rng.binomial(64, 0.5, n)),
    "long codes": ("u2", lambda rng, n: rng.integers(0, 65535, n)),
    "equal": ("f4", lambda rng, n: np.full(n, 0.3)),
    "neighbours": ("f8", lambda rng, n: 1 + rng.integers(0, 4, n) * 2.0**-52),
    "denormal": ("f4", lambda rng, n: rng.integers(-50, 50, n) * 2.0**-149),
    "denormal, float64": ("f8", lambda rng, n: rng.integers(-50, 50, n) * 2.0**-1074),
    "far apart": ("f4", lambda rng, n: rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-44, 38, n)),
    "too far apart": ("f8", lambda rng, n: rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-320, 308, n)),
    "one far away": ("f8", lambda rng, n: np.where(np.arange(n) == rng.integers(n), 1e300, rng.standard_normal(n))),
    "zeros": ("f4", lambda rng, n: rng.choice([-0.0, 0.0, 1e-45, -1e-45], n)),
}


def defined(row, correct, lowest):
    """(above, size, hits) of each group, and the places of the ranked correct items, by one look at all for each."""
    chosen = row[correct]
    groups = [((row > s).sum(), (row == s).sum(), (chosen == s).sum()) for s in np.unique(chosen)[::-1] if s > lowest]
    place = np.empty(row.size, int)
    place[np.argsort(-row.astype("f8"), kind="stable")] = np.arange(row.size)
    return groups, np.sort(place[correct[chosen > lowest]])


def check_groups(group, kind, seed, n):
    """Compare the groups of five queries: none, one, some or all of the items are correct, or the best quarter."""
    rng, (dtype, draw) = _RNG(seed), SCORES[kind]
    scores = np.stack([draw(rng, n) for _ in range(5)]).astype(dtype)
    lowest = scores.dtype.type(0 if dtype == "u2" else -np.inf)
    if seed % 2:
        scores[rng.random(scores.shape) < 0.3] = lowest
    correct = [np.sort(rng.permutation(n)[:m]) for m in (0, 1, rng.integers(2, n), n)]
    correct.append(np.sort(np.argsort(scores[4])[-n // 4 :]))
    start = np.append(0, np.cumsum([len(c) for c in correct]))
    block = empty_block(5, n, n, True, 0)
    group(scores, 0, start, np.concatenate(correct), (np.zeros(0), np.zeros(0)), lowest, block)
    for i, (row, items) in enumerate(zip(scores, correct, strict=True)):
        groups, places = defined(row, items, lowest)
        found = [a[i, : block.n[i]] for a in (block.above, block.size, block.hits)]
        assert np.column_stack(found).tolist() == np.reshape(groups, (-1, 3)).tolist()
        assert block.places[i, : block.n_places[i]].tolist() == places.tolist()


@pytest.mark.parametrize("kind", SCORES)
def test_compiled_groups_are_as_defined(kind):
    for seed in range(2):
        check_groups(compiled(kernels.group_correct), kind, seed, kernels.BUCKETS + 150)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", SCORES)
def test_plain_groups_are_as_defined(kind, monkeypatch):
    monkeypatch.setattr(kernels, "MANY", 2)
    for seed in range(6):
        monkeypatch.setattr(kernels, "BUCKETS", 4 + 4 * seed)
        check_groups(kernels.group_correct, kind, seed, 60)


@pytest.mark.parametrize(("kind", "divided"), [("any", True), ("one far away", True), ("equal", False)])
def test_scores_are_divided_where_they_can_be(kind, divided):
    dtype, draw = SCORES[kind]
    n = kernels.BUCKETS + 1
    row, counts = draw(_RNG(0), n).astype(dtype), np.zeros((2, kernels.BUCKETS), np.int32)
    correct = np.argsort(-row)[:: n // (2 * kernels.MANY)]
    assert kernels._fill_buckets(row, correct, np.zeros(n, np.uint16), counts, row.copy()) == divided
    assert not kernels._fill_buckets(row, correct[: kernels.MANY], np.zeros(n, np.uint16), counts, row.copy())
