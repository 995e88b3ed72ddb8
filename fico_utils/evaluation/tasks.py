"""What is asked of whom: the queries of one direction, their gallery, and what is relevant to each; and the words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DIRECTIONS = ("i2t", "t2i")
#: The one direction of a query set that asks a gallery.
QUERIES_ASK = "q2g"
INSTANCE, CATEGORY = LEVELS = ("instance", "category")
#: Orders of items with equal score.
TIES = ("expected", "optimistic", "pessimistic", "index")
#: The first three as compiled code takes them; under "index" nothing ties.
EXPECTED, OPTIMISTIC, PESSIMISTIC = range(3)


class Ragged(NamedTuple):
    """Lists of different lengths in two arrays: list i is ``members[start[i] : start[i + 1]]``."""

    start: np.ndarray
    members: np.ndarray

    def positions(self, chosen: np.ndarray) -> Ragged:
        """The positions in `members` of the lists of some owners, in the order given."""
        start = np.concatenate([[0], np.cumsum(np.diff(self.start)[chosen])])
        return Ragged(start, np.arange(start[-1]) + np.repeat(self.start[chosen] - start[:-1], np.diff(start)))

    def take(self, chosen: np.ndarray) -> Ragged:
        """The lists of some owners, in the order given."""
        at = self.positions(chosen)
        return Ragged(at.start, self.members[at.members])

    @property
    def sizes(self) -> np.ndarray:
        """How long each list is."""
        return np.diff(self.start)


def group_members(owner: np.ndarray, member: np.ndarray, n_owner: int) -> Ragged:
    """The members of each owner 0 ... n_owner - 1, in the order given.

    >>> group_members(np.array([1, 0, 1]), np.array([5, 6, 7]), 2)
    Ragged(start=array([0, 1, 3]), members=array([6, 5, 7]))
    """
    order = np.argsort(owner, kind="stable")
    start = np.searchsorted(owner[order], np.arange(n_owner + 1))
    return Ragged(start.astype(np.int64), member[order].astype(np.int64))


@dataclass(frozen=True)
class SharedLabels:
    """Relevance by a label in common; the grade is the number of labels in common."""

    query_owner: np.ndarray  # (n_query,) whose labels a query has: a list of `of_owner`
    item_owner: np.ndarray  # (n_item,) whose labels an item has; `n_owners` where it has none
    n_owners: int
    of_owner: Ragged  # the labels of each owner of queries
    members: Ragged  # the owners of items of each label

    @property
    def most(self) -> int:
        """The highest grade that there may be, at most 255."""
        return int(min(self.of_owner.sizes.max(initial=1), 255))


@dataclass(frozen=True)
class Task:
    """One direction: who asks, among how many items, and what is relevant, at instance and at category level."""

    direction: str
    n_item: int  # of the gallery, without the query itself where that is left out
    asking: np.ndarray  # (n_query,) the rows of scores that ask
    unit: np.ndarray  # (n_query,) what is drawn together by the bootstrap: the image of each query
    correct: Ragged | None = None  # the correct items of each query, ascending; None without an instance level
    grades: np.ndarray | None = None  # float64, one for each member of `correct`; None where all are 1
    absent: np.ndarray | None = None  # (n_query,) relevant items that are not in the gallery, where there are any
    labels: SharedLabels | None = None  # None without a category level
    leaves_out: bool = False  # query i is item i of the gallery, and is left out of its own ranking

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that have relevance."""
        given = {INSTANCE: self.correct, CATEGORY: self.labels}
        return tuple(level for level in LEVELS if given[level] is not None)

    def sample(self, n: int | None, rng: np.random.Generator) -> Task:
        """The task with `n` queries drawn at random, in their order; as it is where it has no more, or `n` is None."""
        if n is None or n >= self.asking.size:
            return self
        return self.take(np.sort(rng.choice(self.asking.size, n, replace=False)))

    def take(self, chosen: np.ndarray) -> Task:
        """The task of some of its queries, in the order given."""
        from dataclasses import replace

        grades, labels = self.grades, self.labels
        if grades is not None:
            grades = grades[self.correct.positions(chosen).members]
        if labels is not None:
            labels = replace(labels, query_owner=labels.query_owner[chosen])
        correct = None if self.correct is None else self.correct.take(chosen)
        absent = None if self.absent is None else self.absent[chosen]
        kept = {"absent": absent, "asking": self.asking[chosen], "unit": self.unit[chosen]}
        return replace(self, **kept, correct=correct, grades=grades, labels=labels)
