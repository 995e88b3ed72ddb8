"""Golden cases of scores: recall, average precision, curves, ties, intervals, and places among systems."""

from __future__ import annotations

from typing import Any

import numpy as np

from fico_utils.evaluation import Plan, evaluate, observe, score_source
from fico_utils.golden import as_bytes, golden
from fico_utils.results.observed import place_rows, tie_rows


def _collection() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (12, 16), captions (36, 16) and labels (12, 4); in whole numbers, so that scores tie on any machine."""
    rng = np.random.default_rng(0)
    images = rng.integers(-3, 4, (12, 16)).astype(np.float64)
    texts = images.repeat(3, 0) + rng.integers(-4, 5, (36, 16))
    images[7], texts[5] = images[2], texts[4]
    return images, texts, (rng.random((12, 4)) < 0.4).astype(np.uint8)


def _table(name: str, table: Any, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Rows of a table by name, and their numbers."""
    named = [c for c in ("system", "task", "direction", "metric", "k", "status") if c in table]
    lines = sorted((" ".join(str(v) for v in row), i) for i, row in enumerate(table[named].itertuples(index=False)))
    order = [i for _, i in lines]
    numbers = table.iloc[order][list(columns)].to_numpy(np.float64)
    return {f"{name}.rows": as_bytes(*(text for text, _ in lines)), f"{name}.values": numbers}


@golden("scoring", 1e-6)
def scoring() -> dict[str, np.ndarray]:
    """Every number of `evaluate` from embeddings, codes and similarities, under each order of ties."""
    images, texts, labels = _collection()
    out, columns = {}, ("value", "chance", "n_query")
    for measure in ("cosine", "inner_product", "euclidean"):
        table = evaluate(images, texts, labels=labels, measure=measure, recall_at=(1, 5), curve=True)
        out |= _table(measure, table, columns)
    codes = [np.packbits(x > 0, axis=1) for x in (images, texts)]
    for ties in ("expected", "optimistic", "pessimistic", "index"):
        table = evaluate(*codes, labels=labels, measure="hamming", bits=16, ties=ties, recall_at=(1, 5))
        out |= _table(f"hamming.{ties}", table, columns)
    similarity = images @ texts.T
    similarity[similarity < np.median(similarity)] = -np.inf
    out |= _table("ranked", evaluate(similarity=similarity, labels=labels, recall_at=(1, 5), map_at=(3,)), columns)
    return out


@golden("intervals", 1e-4)
def intervals() -> dict[str, np.ndarray]:
    """Bootstrap intervals of scores, and the paired test of two systems."""
    images, texts, labels = _collection()
    codes = [np.packbits(x > 0, axis=1) for x in (images, texts)]
    table = evaluate(*codes, labels=labels, measure="hamming", bits=16, recall_at=(1, 5), intervals=True)
    return _table("hashed", table, ("ci_low", "ci_high"))


@golden("places", 1e-4)
def places() -> dict[str, np.ndarray]:
    """Scores under tied orders, and mean places of two systems with their intervals."""
    images, texts, labels = _collection()
    codes = score_source(*(np.packbits(x > 0, axis=1) for x in (images, texts)), measure="hamming", bits=16)
    metrics = "recall@1,5 map@10"
    seen = {
        "beit3": observe(score_source(images, texts), None, labels, Plan(metrics)),
        "ucch": observe(codes, None, labels, Plan(metrics)),
    }
    tied = observe(codes, None, labels, Plan(metrics, ties="optimistic"))
    out = _table("places", place_rows(seen, repeats=100), ("value", "ci_low", "ci_high", "chance", "n_query"))
    return out | _table("ties", tie_rows(tied, metrics), ("value", "chance", "n_query"))
