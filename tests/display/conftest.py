"""Synthetic results of a run: three systems, chance and the perfect retriever, costs; the paper's rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fico_utils.results import store
from fico_utils.workspace import Run

CHANCE = {"picto_diverse": 0.33, "picto_people": 0.887}
#: system -> (height of its recall, height of its mAP over chance)
QUALITY = {"beit3": (0.35, 0.25), "scan": (0.22, 0.2), "ucch": (0.08, 0.3)}
SPEED = {"flat_ip": 1e-9, "hnsw_flat": 2e-10, "binary_flat": 3e-10, "binary_flat_counting": 1e-10, "binary_ivf": 5e-11}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return Run("mini", 0, tmp_path_factory.mktemp("results") / "mini", {})


def make_scores(recall: float, above: float, chance: float) -> pd.DataFrame:
    """What `evaluate` returns, with numbers that fall as real ones do."""
    rows = []
    for direction, better in (("i2t", 1.2), ("t2i", 1.0)):
        for k in (1, 5, 10, 50, 100, 200):
            value = 1 - (1 - recall * better) ** (k**0.8)
            rows.append(("instance", direction, "recall", k, value, k / 1000))
        rows.append(("instance", direction, "median_rank", None, 4.5, 500.5))
        for k, share in ((10, 1.0), (100, 0.7), ("N", 0.3)):
            rows.append(("category", direction, "map", k, chance + above * share * (1 - chance) * better, chance))
        for level in np.arange(11) / 10:
            value = chance + (1 - chance) * min(1, above * 3 * better) * (1 - level) ** 2
            rows.append(("category", direction, "precision", f"R={level:.1f}", value, chance))
    frame = pd.DataFrame(rows, columns=["task", "direction", "metric", "k", "value", "chance"])
    return frame.assign(ci_low=np.nan, ci_high=np.nan, n_query=1000, ties="expected", status="ok")


@pytest.fixture(scope="session")
def metrics(run):
    """metrics.csv of a run, as `merge` makes it."""
    for corpus, chance in CHANCE.items():
        for system, quality in QUALITY.items():
            scores = make_scores(*quality, chance)
            store.write_part(run, "metrics", f"{system}__{corpus}", store.score_rows(scores, system, corpus))
        store.write_part(run, "metrics", f"chance__{corpus}", store.chance_rows(scores, corpus))
        perfect = make_scores(0.75, 1 / 1.2, chance).query("metric == 'recall'")
        rows = store.score_rows(perfect, "perfect", corpus, "perfect")
        store.write_part(run, "metrics", f"perfect__{corpus}", rows)
    return store.merge(run, "metrics")


@pytest.fixture(scope="session")
def costs(run):
    """costs.csv of a run, as `merge` makes it."""
    rows = []

    def add(system, corpus, phase, images, texts, quantity, value, status="ok"):
        rows.append((system, corpus, phase, images, texts, quantity, value, status))

    for system, seconds in (("beit3", 4.0), ("scan", 1.5), ("ucch", 0.004)):
        for n in (250, 500, 1000):
            add(system, "picto_diverse", "encode", n, 5 * n, "seconds", seconds * n / 1000)
        add(system, "picto_diverse", "encode", 10_000, 50_000, "seconds", seconds * 10, "extrapolated")
        width = {"beit3": 1024, "scan": 4096, "ucch": 64}[system]
        add(system, "", "store", 1_000_000, 5_000_000, "paper_bytes", 6_000_000 * width)
        add(
            system,
            "",
            "store",
            1_000_000,
            5_000_000,
            "packed_bytes",
            6_000_000 * width / (8 if width == 64 else 1),
        )
    add("scan", "picto_diverse", "store", 1_000_000, 5_000_000, "feature_bytes", 3e12)
    for n in (125, 250, 500):
        add("scan", "picto_diverse", "attention", n, 5 * n, "seconds", 17 * (n / 1000) ** 2)
    add("scan", "picto_diverse", "attention", 1000, 5000, "seconds", np.nan, "dnf")
    for index, speed in SPEED.items():
        for queries in (500, 1000, 2000):
            add(index, "synthetic", "index", queries, 25 * queries, "seconds", 1e-7 * queries)
            add(index, "synthetic", "search", queries, 25 * queries, "seconds", speed * queries**2 * 25 * 256)
            for k in (1, 10, 100, 1000):
                exact = index == "flat_ip"
                add(
                    index,
                    "synthetic",
                    "search",
                    queries,
                    25 * queries,
                    f"recall@{k}",
                    1 if exact else 0.1 * np.log10(10 * k) + 0.4,
                )
    columns = ["system", "corpus", "phase", "scale_img", "scale_txt", "quantity", "value", "status"]
    frame = pd.DataFrame(rows, columns=columns).assign(repeats=5, threads=2, spread=0.0)
    store.write_part(run, "costs", "05_complexity_analysis", frame)
    return store.merge(run, "costs")
