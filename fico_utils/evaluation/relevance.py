"""Reads who is relevant to whom, as people hold it, into tasks: an index, names, pairs, or labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.embeddings import as_array
from fico_utils.evaluation.tasks import DIRECTIONS, SharedLabels, Task, group_members

#: Grades of a relevance of pairs; None where all are 1.
Grades = np.ndarray | None


def whole_numbers(array: np.ndarray, name: str, expected: str) -> np.ndarray:
    """An array as int64; InputError where it holds anything but whole numbers."""
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and not np.all(np.mod(array, 1) == 0)):
        raise InputError(f"{name} holds {array.dtype} values, expected {expected}")
    return array.astype(np.int64)


def caption_index(caption_image: Any, n_img: int, n_txt: int, distractors: bool = False) -> np.ndarray:
    """Index of each caption's image, (n_txt,) int64; InputError where it has no meaning.

    None means n_txt / n_img captions per image, those of an image consecutive. With `distractors`, -1 is a caption of
    no image, and images without a caption are allowed.
    """
    if caption_image is None:
        if n_txt % n_img:
            raise InputError(
                f"{n_txt} captions do not divide evenly among {n_img} images: give caption_image, "
                "the index of each caption's image"
            )
        return np.repeat(np.arange(n_img, dtype=np.int64), n_txt // n_img)
    index = as_array(caption_image, "caption_image")
    if index.shape != (n_txt,):
        raise InputError(f"caption_image has shape {index.shape}, expected one index for each of {n_txt} captions")
    index = whole_numbers(index, "caption_image", f"whole numbers from 0 to {n_img - 1}")
    outside = np.flatnonzero((index < (-1 if distractors else 0)) | (index >= n_img))
    if outside.size:
        at = outside[0]
        way = " (-1, a caption of no image, needs distractors)" if index[at] == -1 else ""
        raise InputError(f"caption_image names image {index[at]} at caption {at}, expected 0 to {n_img - 1}{way}")
    bare = np.flatnonzero(np.bincount(index[index >= 0], minlength=n_img) == 0)
    if bare.size and not distractors:
        raise InputError(
            f"image {bare[0]} has no caption ({bare.size} such images): drop these images, "
            "or say that they only stand in the gallery (distractors, --distractors)"
        )
    return index


def read_pairs(relevance: Any, n_query: int, n_item: int, names: tuple[str, str]) -> tuple[np.ndarray, Grades]:
    """Pairs (n, 2) int64 of a query or image and an item or caption, and their grades; InputError on what is none.

    `relevance` is (n, 2), (n, 3) with grades above 0, or a scipy sparse matrix (n_query, n_item) of grades.
    """
    if hasattr(relevance, "tocoo"):
        if relevance.shape != (n_query, n_item):
            raise InputError(
                f"relevance has shape {relevance.shape}, expected {(n_query, n_item)}, {' by '.join(names)}s"
            )
        table = relevance.tocoo()
        kept = table.data != 0
        pairs = np.stack([table.coords[0], table.coords[1]], 1)[kept].astype(np.int64)
        grades = table.data[kept].astype(np.float64)
    else:
        table = as_array(relevance, "relevance")
        if table.ndim != 2 or table.shape[1] not in (2, 3) or table.dtype.kind not in "biuf":
            raise InputError(
                f"relevance has shape {table.shape} of {table.dtype}, expected pairs ({names[0]}, {names[1]}), "
                "with a grade as third column where they have one"
            )
        pairs = whole_numbers(table[:, :2], "relevance", "whole numbers in its first two columns")
        grades = table[:, 2].astype(np.float64) if table.shape[1] == 3 else np.ones(len(table))
    for column, (n, name) in enumerate(zip((n_query, n_item), names, strict=True)):
        outside = np.flatnonzero((pairs[:, column] < 0) | (pairs[:, column] >= n))
        if outside.size:
            raise InputError(
                f"relevance names {name} {pairs[outside[0], column]} in pair {outside[0]}, expected 0 to {n - 1}"
            )
    low = np.flatnonzero(~((grades > 0) & (grades < np.inf)))
    if low.size:
        raise InputError(
            f"relevance has grade {grades[low[0]]:g} in pair {low[0]}, expected a number above 0: leave the pair out"
        )
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    twice = np.flatnonzero((np.diff(pairs[order], axis=0) == 0).all(1))
    if twice.size:
        a, b = pairs[order[twice[0]]]
        raise InputError(f"relevance has the pair {names[0]} {a}, {names[1]} {b} twice: keep one of them")
    return pairs[order], None if (grades == 1).all() else grades[order]


def label_marks(labels: Any, n: int, name: str, what: str) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Owners and labels of every mark, (n_marks,) each, and the number of labels, or None for class numbers.

    `labels` are multi-hot (n, n_labels) of 0 and 1, dense or scipy sparse, or class numbers (n,) or (n, 1), where a
    negative one means no label. InputError where they have no meaning.
    """
    if hasattr(labels, "tocoo"):
        table, shape = labels.tocoo(), labels.shape
        owner, label, values = table.coords[0], table.coords[1], table.data
        owner, label, values = owner[values != 0], label[values != 0], values[values != 0]
        if shape[0] != n or np.any(values != 1):
            raise InputError(f"{name} have shape {shape}, expected one row of 0 and 1 for each of {n} {what}")
        return owner.astype(np.int64), label.astype(np.int64), shape[1]
    labels = as_array(labels, name)
    if labels.ndim not in (1, 2) or labels.shape[0] != n or labels.size == 0:
        raise InputError(f"{name} have shape {labels.shape}, expected one row for each of {n} {what}")
    if labels.dtype.kind not in "biuf":
        raise InputError(f"{name} hold {labels.dtype} values, expected a multi-hot table of 0 and 1, or class numbers")
    if labels.ndim == 1 or labels.shape[1] == 1:
        labels = labels.ravel()
        if labels.dtype.kind == "f" and not np.all(np.mod(labels, 1) == 0):
            raise InputError(f"{name} in one column must be whole class numbers, one for each of {n} {what}")
        owner = np.flatnonzero(labels >= 0)
        return owner, labels[owner].astype(np.int64), None
    odd = np.argwhere((labels != 0) & (labels != 1))
    if odd.size:
        row, column = odd[0]
        raise InputError(
            f"{name} hold {labels[row, column]} in row {row}, expected only 0 and 1: "
            "threshold soft scores, or give class numbers as a one-dimensional array"
        )
    owner, label = np.nonzero(labels)
    return owner, label, labels.shape[1]


def shared_labels(
    ask: tuple[Any, int, str, str], item: tuple[Any, int, str, str] | None, owners: tuple[np.ndarray, np.ndarray]
) -> SharedLabels:
    """Relevance by labels of two sides, each (labels, how many, name, what they belong to); None: of one side for both.

    `owners` are the owner of each query and of each item, -1 where there is none.
    """
    a, label_a, n_a = label_marks(*ask)
    b, label_b, n_b = (a, label_a, n_a) if item is None else label_marks(*item)
    if n_a != n_b:
        shown = ["class numbers" if n is None else f"{n} labels" for n in (n_a, n_b)]
        raise InputError(f"{ask[2]} hold {shown[0]} and {item[2]} {shown[1]}, expected the same labels on both sides")
    if n_a is None:
        classes, both = np.unique(np.concatenate([label_a, label_b]), return_inverse=True)
        label_a, label_b, n_a = both[: label_a.size], both[label_a.size :], max(1, classes.size)
    n_ask, n_items = ask[1], ask[1] if item is None else item[1]
    query_owner, item_owner = (np.where(o < 0, n, o) for o, n in zip(owners, (n_ask, n_items), strict=True))
    of_owner = group_members(a, label_a, n_ask + 1)  # the last owner has no labels
    return SharedLabels(query_owner, item_owner, n_items, of_owner, group_members(label_b, b, n_a))


def image_text_tasks(
    n_img: int,
    n_txt: int,
    caption_image: Any = None,
    labels: Any = None,
    *,
    text_labels: Any = None,
    relevance: Any = None,
    distractors: bool = False,
) -> list[Task]:
    """The tasks of both directions, parameters as in `evaluate`."""
    images, captions = np.arange(n_img), np.arange(n_txt)
    index = captions  # each caption is drawn alone where nobody says of which image it is
    if relevance is None or caption_image is not None:
        index = caption_index(caption_image, n_img, n_txt, distractors)
    elif labels is not None and text_labels is None:
        raise InputError(
            "labels and relevance are given, and not which labels captions have: give caption_image or text_labels"
        )
    with_image = np.flatnonzero(index >= 0)
    own = np.stack([index[with_image], with_image], 1), None
    if relevance is not None and not isinstance(relevance, Mapping):
        own = read_pairs(relevance, n_img, n_txt, ("image", "caption"))
    tasks = []
    for direction, (ask, item), n, units in zip(
        DIRECTIONS, ((0, 1), (1, 0)), ((n_img, n_txt), (n_txt, n_img)), (images, index), strict=True
    ):
        (pairs, grades), absent = own, None
        if isinstance(relevance, Mapping):  # published relevance need not be the same in both directions
            given, absent = relevance[direction]
            pairs, grades = read_pairs(given, n_img, n_txt, ("image", "caption"))
        order = np.lexsort((pairs[:, item], pairs[:, ask]))
        correct = group_members(pairs[order, ask], pairs[order, item], n[0])
        shared = None
        if labels is not None:
            sides = [(labels, n_img, "labels", "images"), (text_labels, n_txt, "text_labels", "captions")]
            owners = (images, index) if text_labels is None else (images, captions)
            mine, theirs = (sides[ask], sides[item]) if text_labels is not None else (sides[0], None)
            shared = shared_labels(mine, theirs, (owners[ask], owners[item]))
        every = np.arange(n[0])
        task = Task(direction, n[1], every, units, correct, None if grades is None else grades[order], absent, shared)
        tasks.append(task.take(np.flatnonzero(correct.sizes > 0)) if distractors else task)
    return tasks
