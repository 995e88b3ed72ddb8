"""Rows of metrics.csv from what each query saw: scores, scores under tied orders, places among the systems.

The functions `write_*` write them as parts of the run's table; intervals, which take time to draw, stay in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.artifacts import Recipe
from fico_utils.evaluation import Metric, Observations, Plan, observe, parse_metrics, score_source, summarise
from fico_utils.evaluation.metrics import BOUNDS
from fico_utils.evaluation.tasks import DIRECTIONS
from fico_utils.files import content_digest
from fico_utils.results import store

if TYPE_CHECKING:
    import pandas as pd

    from fico_utils.data.corpus import Corpus
    from fico_utils.workspace import Run

VERSIONS = {"places": 1}
#: Draws held at a time, which bounds the memory.
BATCH = 64
#: Digits to which two average precisions must agree to be the same.
DIGITS = 9


def write_scores(run: Run, system: str, corpus: str, seen: Observations, measured_by: str = "") -> None:
    """Write the profile's metrics of a system on the test split of a corpus, with their intervals.

    `measured_by` is the column `run`; by default this run.
    """
    name, metrics = f"{system}__{corpus}", run["metrics"]
    scores = _kept_rows(run, name, {"metrics": metrics}, (seen,), lambda: summarise(seen, metrics, intervals=True))
    store.write_part(run, "metrics", name, store.score_rows(scores, system, corpus).assign(run=measured_by))


def write_tied(run: Run, system: str, corpus: str, orders: Iterable[Observations], measured_by: str = "") -> None:
    """Write recall and average precision of a system under the best and the worst order of tied items."""
    import pandas as pd

    scores = pd.concat([tie_rows(seen, run["metrics"]) for seen in orders])
    rows = store.score_rows(scores, system, corpus).assign(run=measured_by)
    store.write_part(run, "metrics", f"ties__{system}__{corpus}", rows)


def write_places(run: Run, corpus: str, seen: Mapping[str, Observations]) -> None:
    """Write the mean places of the systems on a corpus, by the first correct item and by average precision at 10."""
    names = {"systems": list(seen), "metrics": "map@10"}
    rows = _kept_rows(run, f"places__{corpus}", names, seen.values(), lambda: place_rows(seen).to_dict("records"))
    store.write_part(run, "metrics", f"places__{corpus}", rows.assign(corpus=corpus))


def write_references(run: Run, part: Corpus, labels: np.ndarray | None, seen: Observations) -> None:
    """Write what frames the systems on a corpus: a random ranking and, of drawn scenes, the perfect retriever.

    The perfect retriever knows the scenes: at instance level it ranks those of which a caption is true, at category
    level whatever shares a label comes first.

    Parameters
    ----------
    part : Corpus, its test split.
    labels : ndarray (n_img, n_labels) or None, by which it is judged.
    seen : Observations, of any system: the chance of each metric is the same for all.
    """
    import pandas as pd

    scores = pd.DataFrame(summarise(seen, run["metrics"]))
    rows = [store.chance_rows(scores, part.name)]
    if part.scenes is not None:  # of pictures that were not drawn here nobody knows all that is true
        known = {"metrics": run["metrics"], "split": part.key}
        perfect = _kept_rows(run, f"perfect__{part.name}", known, (seen,), lambda: _perfect_scores(run, part, labels))
        rows.append(store.score_rows(perfect, "perfect", part.name, "perfect"))
    store.write_part(run, "metrics", f"reference__{part.name}", pd.concat(rows))


def _perfect_scores(run: Run, part: Corpus, labels: np.ndarray) -> list[dict[str, Any]]:
    """The scores of the perfect retriever, in the columns of `evaluate`."""
    from fico_utils.data.pictoscenes import perfect_similarity

    plan, captions = Plan(run["metrics"], curve=True), part.caption_image
    rows = summarise(observe(score_source(similarity=perfect_similarity(part)), captions, plan=plan), plan.metrics)
    if labels is not None:
        hot = labels.astype(np.float32)
        shared = score_source(similarity=(hot @ hot.T > 0).astype(np.float32)[:, captions])
        by_labels = summarise(observe(shared, captions, labels, plan), plan.metrics)
        rows += [row for row in by_labels if row["task"] == "category"]
    return rows


def _kept_rows(
    run: Run, name: str, settings: dict[str, Any], seen: Iterable[Observations], build: Callable[[], list[dict]]
) -> pd.DataFrame:
    """Rows made from observations, kept in the store by what these hold."""
    import pandas as pd

    recipe = Recipe("intervals", settings, 0, tuple(content_digest(o.arrays()) for o in seen))
    return pd.DataFrame(run.store.records("perquery", name, recipe, build))


def tie_rows(seen: Observations, metrics: str | Iterable[Metric]) -> pd.DataFrame:
    """Recall and average precision under one order of tied items, in the columns of `evaluate`.

    `seen` was taken with ``ties="optimistic"`` or ``"pessimistic"``, which goes into the metrics' names.
    """
    import pandas as pd

    assert seen.rules.ties in BOUNDS, f"the observations were taken with ties={seen.rules.ties!r}"
    kept = pd.DataFrame(summarise(seen, [m for m in parse_metrics(metrics) if m.name in ("recall", "map")]))
    kept = kept[kept["metric"] != "precision"]  # the curve
    return kept.assign(metric=kept["metric"] + f"_{seen.rules.ties}").reset_index(drop=True)


def place_rows(
    seen: Mapping[str, Observations], metrics: str | Iterable[Metric] = "map@10", *, repeats: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Mean places of systems on the same queries, with comparison intervals: one row a system, direction, metric.

    Parameters
    ----------
    seen : mapping, system id -> Observations of one corpus.
    metrics : str, or iterable of Metric, by whose value on each query places are given beside the rank of the first
        correct item; a system without it has status ``undefined`` and takes no place.
    repeats, seed : int, of the bootstrap.

    Returns
    -------
    DataFrame, columns system, task, direction, metric, k, value, ci_low, ci_high, chance, n_query, status. `chance` is
    the place of a system that does no better or worse than another.

    Notes
    -----
    A place is 1 for the system that did best on a query; systems that did equally well share the mean of their places.
    A correct item that a system did not rank stands behind all that others ranked. Mean places compare systems where
    scores do not add up, as a critical-difference diagram does (Demsar, 2006). Each interval is half a
    `critical_difference` to either side, hence two systems whose intervals do not overlap differ, all pairs of a panel
    taken together.
    """
    import pandas as pd
    from scipy.stats import rankdata

    first, *others = seen.values()
    panels = []
    for direction in DIRECTIONS:
        image = first.seen[direction]["image"]
        same = all(np.array_equal(image, other.seen[direction]["image"]) for other in others)
        assert same, "the systems have seen different queries"
        for task, metric, k, scores in _panels(seen, direction, parse_metrics(metrics)):
            places = rankdata(-np.stack([*scores.values()], 1), axis=1) if scores else np.zeros((image.size, 0))
            what = {"task": task, "direction": direction, "metric": metric, "k": k}
            rows = pd.DataFrame({"system": list(seen), **what})
            rows["value"] = rows["system"].map(dict(zip(scores, places.mean(axis=0), strict=True))).astype(float)
            half, ranked = critical_difference(places, image, repeats, seed) / 2, rows["value"].notna()
            rows["ci_low"], rows["ci_high"] = (rows["value"] - half).clip(lower=1), rows["value"] + half
            rows["chance"] = np.where(ranked, (len(scores) + 1) / 2, np.nan)
            panels.append(rows.assign(n_query=image.size, status=ranked.map({True: "ok", False: "undefined"})))
    return pd.concat(panels, ignore_index=True)


def _panels(
    seen: Mapping[str, Observations], direction: str, metrics: tuple[Metric, ...]
) -> Iterator[tuple[str, str, str, dict[str, np.ndarray]]]:
    """(task, metric, k, system -> score of each query, larger is better) of what systems are ranked by."""
    yield "instance", "place", "", {s: -o.first_hit_rank(direction) for s, o in seen.items()}
    for metric in metrics:
        scores, (level, *_) = {}, metric.entry.levels
        for system, o in seen.items():
            side = o.side(level, direction) if level in o.levels else None
            if side and metric.held_by(side) and metric.entry.defined(side, metric.k):
                scores[system] = np.round(metric.entry.values(side, metric.k), DIGITS)
        yield level, f"{metric.name}_place", metric.k_text, scores


def critical_difference(places: np.ndarray, image: np.ndarray, repeats: int = 1000, seed: int = 0) -> float:
    """The difference of two mean places that noise alone does not make, for all pairs at once (95 %).

    `places` are (n_query, n_system); `image` (n_query,) is the image of each query. Captions of one image are not
    independent, so images are resampled with their captions: the result is the 95th percentile, over the draws, of the
    largest deviation between any two systems.
    """
    if places.shape[1] < 2:
        return 0.0
    unit = np.unique(image, return_inverse=True)[1]
    sizes, rng = np.bincount(unit), np.random.default_rng(seed)
    sums = np.stack([np.bincount(unit, column) for column in places.T], axis=1)
    widest = []
    for start in range(0, repeats, BATCH):
        drawn = rng.multinomial(sizes.size, np.full(sizes.size, 1 / sizes.size), min(BATCH, repeats - start))
        deviation = (drawn @ sums) / (drawn @ sizes)[:, None] - places.mean(axis=0)
        widest.append(np.ptp(deviation, axis=1))
    return float(np.percentile(np.concatenate(widest), 95))
