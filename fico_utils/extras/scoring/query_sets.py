"""A query set that asks a gallery, in one direction: images ask images, a query set asks a retrieval set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.given import Given
from fico_utils.evaluation.relevance import read_pairs, shared_labels
from fico_utils.evaluation.tasks import QUERIES_ASK, Task, group_members

#: Arguments that are about images and captions, and have no meaning of a query set.
OF_IMAGES = ("caption_image", "labels", "text_labels", "images_repeated", "similarity_t2i", "caption_image_ids")


def read_sets(given: Given) -> Given:
    """The same with its gallery, by default the query set itself where that is left out; InputError on other inputs."""
    for name in OF_IMAGES:
        if getattr(given, name) is not None:
            raise InputError(
                f"{name} is given with a query set, which has labels of its own or relevance: leave it out"
            )
    alone = given.leave_out_self and given.gallery is None and given.similarity is None
    return replace(given, gallery=given.queries) if alone else given


def query_gallery_tasks(given: Given) -> list[Task]:
    """The one task of a query set that asks a gallery."""
    n_query, n_item = given.source.shape
    correct = grades = shared = None
    if given.relevance is not None:
        pairs, grades = read_pairs(given.relevance, n_query, n_item, ("query", "item"))
        if given.leave_out_self:
            others = pairs[:, 0] != pairs[:, 1]
            pairs, grades = pairs[others], None if grades is None else grades[others]
        correct = group_members(pairs[:, 0], pairs[:, 1], n_query)
    asking, asked = given.query_labels, given.gallery_labels
    if (asking is None) != (asked is None) and not given.leave_out_self:
        missing = "gallery_labels" if asked is None else "query_labels"
        raise InputError(f"{missing} is not given, and both sets need labels: give query_labels and gallery_labels")
    if asking is not None:
        theirs = None if asked is None else (asked, n_item, "gallery_labels", "items")
        mine = asking, n_query, "query_labels", "queries"
        shared = shared_labels(mine, theirs, (np.arange(n_query), np.arange(n_item)))
    if correct is None and shared is None:
        raise InputError("nothing says what is relevant: give query_labels and gallery_labels, or relevance")
    if given.leave_out_self and n_query != n_item:
        raise InputError(
            f"leave_out_self is given with {n_query} queries and {n_item} items, expected one set: query i is item i"
        )
    queries, n_asked = np.arange(n_query), n_item - given.leave_out_self
    kept = {"labels": shared, "leaves_out": given.leave_out_self}
    return [Task(QUERIES_ASK, n_asked, queries, queries, correct, grades, **kept)]
