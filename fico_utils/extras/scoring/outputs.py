"""Files beside the scores: the value of each query, and ranking and relevance as TREC files hold them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.given import Given
from fico_utils.evaluation.observations import Observations
from fico_utils.evaluation.plan import Request
from fico_utils.evaluation.similarity import ScoreSource
from fico_utils.evaluation.summary import list_scores
from fico_utils.evaluation.tasks import INSTANCE, Task
from fico_utils.files import atomic_path, write_text

#: Columns of a file of values per query; ``image`` is what is drawn together: the image of the query.
PER_QUERY = ("task", "direction", "query", "metric", "k", "value", "image")
#: Items of each query in a TREC run: what trec_eval reads by custom.
DEPTH = 1000


def item_names(given: Given, direction: str) -> tuple[list[str], list[str]]:
    """The names of queries and of items of one direction: those that were given, else their positions."""
    names = []
    for ids, n in zip((given.image_ids, given.caption_ids), given.source.shape, strict=True):
        names.append([str(i) for i in (range(n) if ids is None else np.asarray(ids).ravel().tolist())])
    return (names[1], names[0]) if direction == "t2i" else (names[0], names[1])


def write_per_query(path: str | Path, seen: Observations, asked: Request, given: Given) -> None:
    """Write the value of each query, one row a query and metric, with the columns `PER_QUERY`."""
    import pandas as pd

    frames = []
    for score in list_scores(seen, asked):
        if getattr(score, "values", None) is None or not score.is_defined:
            continue  # the median is no mean over queries, and sums of metrics are none either
        task, direction, metric, k = score.key
        queries = np.array(item_names(given, direction)[0], object)[score.side.counts["query"]]
        what = {"task": task, "direction": direction, "query": queries, "metric": metric, "k": k}
        frames.append(pd.DataFrame({**what, "value": score.values, "image": score.side.counts["image"]}))
    table = pd.concat(frames) if frames else pd.DataFrame(columns=list(PER_QUERY))
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.12g", lineterminator="\n")


def score_blocks(source: ScoreSource, task: Task) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows that ask, some at a time, and their scores (n, m) with all items in the order of the arrays."""
    ids, columns = source.ids[task.direction], source.columns[task.direction]
    width = source.n_columns(task.direction)
    rows = source.tile[task.direction] or max(1, 2**22 // width)
    for start in range(0, task.asking.size, rows):
        asking = task.asking[start : start + rows]
        out = np.empty((rows, width), source.dtype)
        scores = source.rows(task.direction, asking if ids is None else ids[asking], out)
        yield asking, scores if columns is None else scores[:, np.argsort(columns)]


def rankings(source: ScoreSource, task: Task) -> Iterator[tuple[int, np.ndarray]]:
    """Each asking row and its first `DEPTH` items, in the order of the arrays where scores are equal."""
    lowest = source.dtype.type(0 if source.bits else -np.inf)
    for asking, scores in score_blocks(source, task):
        if task.leaves_out:
            scores[np.arange(asking.size), asking] = lowest
        order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :DEPTH]
        for query, row, items in zip(asking, scores, order, strict=True):
            yield int(query), items[row[items] > lowest]


def trec_name(name: str) -> str:
    """A name as a TREC file may hold it; InputError where it has blanks, which separate columns there."""
    if not name or name.split() != [name]:
        raise InputError(
            f"{name!r} cannot stand in a TREC file, whose columns are separated by blanks: give names without"
        )
    return name


def trec_run_text(given: Given, protocol: str) -> str:
    """Rankings as a TREC run: query, Q0, item, rank, score, tag; a query is named ``i2t:NAME``.

    The score counts down from the depth, so that other tools keep the order among items of equal score.
    """
    lines = []
    for task in given.tasks:
        queries, items = (list(map(trec_name, names)) for names in item_names(given, task.direction))
        for query, order in rankings(given.source, task):
            head = f"{task.direction}:{queries[query]} Q0"
            lines += [
                f"{head} {items[j]} {rank + 1} {order.size - rank} fico-{protocol}" for rank, j in enumerate(order)
            ]
    return "\n".join(lines) + "\n"


def trec_qrels_text(given: Given) -> str:
    """Relevance as TREC qrels: query, 0, item, grade; of the instance level where there is one."""
    lines = []
    for task in given.tasks:
        queries, items = (list(map(trec_name, names)) for names in item_names(given, task.direction))
        for row, query in enumerate(task.asking):
            found, grades = relevant_items(task, row)
            if np.any(grades != np.round(grades)):
                raise InputError(
                    f"relevance has grade {grades[grades != np.round(grades)][0]:g}, and TREC has whole numbers: "
                    "leave out trec_qrels"
                )
            head = f"{task.direction}:{queries[query]} 0"
            lines += [f"{head} {items[j]} {int(grade)}" for j, grade in zip(found, grades, strict=True)]
    return "\n".join(lines) + "\n"


def relevant_items(task: Task, row: int) -> tuple[np.ndarray, np.ndarray]:
    """The items that are relevant to one query, and their grades."""
    if INSTANCE in task.levels:
        at = slice(task.correct.start[row], task.correct.start[row + 1])
        items = task.correct.members[at]
        return items, np.ones(items.size) if task.grades is None else task.grades[at]
    labels, owner = task.labels, task.labels.query_owner[row]
    shared = np.zeros(labels.n_owners + 1)
    for label in labels.of_owner.members[labels.of_owner.start[owner] : labels.of_owner.start[owner + 1]]:
        shared[labels.members.members[labels.members.start[label] : labels.members.start[label + 1]]] += 1
    grades = shared[labels.item_owner]
    if task.leaves_out:
        grades[task.asking[row]] = 0
    items = np.flatnonzero(grades)
    return items, grades[items]


def write_outputs(scoring: Any, protocol: Any, per_query: Any, trec_run: Any, trec_qrels: Any) -> None:
    """Write what is asked for of a `Scoring` that has made its rows; paths, or None. Nothing where one is refused."""
    texts = {}
    paths = [Path(path) for path in (per_query, trec_run, trec_qrels) if path is not None]
    if len({*paths}) < len(paths):
        raise InputError(
            f"per_query, trec_run and trec_qrels name {max(paths, key=paths.count)} twice: give each a file of its own"
        )
    if trec_run is not None:
        texts[trec_run] = trec_run_text(scoring.given, protocol.name)
    if trec_qrels is not None:
        texts[trec_qrels] = trec_qrels_text(scoring.given)
    if per_query is not None:
        write_per_query(per_query, scoring.latest, scoring.requested(protocol), scoring.given)
    for path, text in texts.items():
        write_text(path, text)
