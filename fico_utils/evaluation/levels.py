"""One level of one direction: which columns are asked for, and their values from the groups of each query."""

from __future__ import annotations

import threading
from collections.abc import Collection

import numpy as np

from fico_utils.evaluation.compiling import fastest
from fico_utils.evaluation.kernels_first import first_block
from fico_utils.evaluation.kernels_measures import KINDS, measure_block
from fico_utils.evaluation.kernels_ranking import Block, curve_block, empty_block
from fico_utils.evaluation.observations import CHANCE, K, is_radius
from fico_utils.evaluation.plan import Plan
from fico_utils.evaluation.tasks import CATEGORY, EXPECTED, INSTANCE, TIES, Task
from fico_utils.evaluation.ties import COUNTS, discount_sums, harmonic_numbers

#: Bytes of the groups of some queries, which are made and measured before those of the next.
GROUPS = 2**19
#: Kinds of columns that depend on how relevant an item is.
GRADED = ("ndcg", "grades", "wap")


def _cut_code(k: K, radii: tuple[int, ...]) -> int:
    """A k as compiled code takes it: 0 is all, -1 as many as are relevant, -2 - b the size of ball b."""
    if is_radius(k):
        return -2 - radii.index(int(k[6:]))
    return {"N": 0, "R": -1}.get(k, k)


def one_group(relevant: np.ndarray, n_item: int) -> tuple[np.ndarray, ...]:
    """The groups of queries for whom all items tie, (n, 1), of which so many are relevant; and how many groups."""
    hits = relevant[:, None]
    return np.zeros_like(hits), np.full_like(hits, n_item), hits, (relevant > 0).astype(np.int64)


class Level:
    """The columns that are asked for at one level, and the arrays that are filled, one row a query."""

    def __init__(self, level: str, task: Task, plan: Plan, width: int) -> None:
        n, self.columns = task.asking.size, plan.columns(level)
        self.level, self.counted, self.by_index = level, plan.counts_first(level), plan.by_index
        self.curve = level == CATEGORY and plan.curve
        self.curve_ties = plan.rules.ties
        self.relevant = np.zeros(n, np.int32)
        if level == INSTANCE:
            self.relevant = (task.correct.sizes + (0 if task.absent is None else task.absent)).astype(np.int32)
        self.filled = {name: np.zeros(n, np.int32) for name in ("above", "tied", "tied_correct")}
        if plan.by_index:
            self.filled["first"] = np.zeros(n, np.int32)
        self.values = np.zeros((n, len(self.columns)))
        self.curves = np.zeros((n, 11 if self.curve else 0))
        self.tables = harmonic_numbers(width), discount_sums(width)
        self.thread = threading.local()  # holds the groups that a thread works on
        kinds = {column.kind for column in self.columns}
        self.graded = bool(kinds.intersection(GRADED)) and (
            task.grades is not None if level == INSTANCE else task.labels.most > 1
        )
        self.ks = tuple(dict.fromkeys(column.k for column in self.columns))
        self.specs = np.array([_cut_code(k, plan.radii) for k in self.ks], np.int64)
        whole = self.curve or self.counted or self.graded or "first" in kinds or (self.specs < 1).any()
        self.limit = task.n_item if whole else int(min(self.specs.max(initial=1), task.n_item))
        self.n_listed = width if level == CATEGORY else max(1, int(self.relevant.max(initial=1)))
        self.asked = {ties: self._asked(ties) for ties in TIES}
        by_query = GRADED if self.graded else ()  # a random ranking of graded items differs from query to query
        self.asked[CHANCE] = self._asked(CHANCE, by_query)
        self.asked_alike = self._asked(CHANCE, {*KINDS}.difference(by_query))
        self.asked_first = {ties: self._asked_first(ties) for ties in (*TIES, CHANCE)}
        self.n_levels = 0
        if self.graded:
            self.n_levels = task.labels.most if level == CATEGORY else self.n_listed

    @property
    def is_grouped(self) -> bool:
        """Whether groups are needed: at instance level the first correct item alone is found without them."""
        return bool(self.columns) or self.curve or (self.by_index if self.level == INSTANCE else self.counted)

    def _asked(self, ties: str, among: Collection[str] = KINDS) -> tuple[np.ndarray, ...]:
        """The columns of some kinds under one order of tied items, as `measure_block` takes them."""
        at = np.flatnonzero([column.ties == ties and column.kind in among for column in self.columns])
        chosen = [self.columns[i] for i in at]
        kinds = np.array([KINDS.index(column.kind) for column in chosen], np.int64)
        return self.specs, kinds, np.array([self.ks.index(c.k) for c in chosen], np.int64), at

    def _asked_first(self, ties: str) -> tuple[np.ndarray, np.ndarray]:
        """The columns of the first relevant items under one order of tied items, as `first_block` takes them."""
        at = np.flatnonzero([column.ties == ties and column.kind == "first" for column in self.columns])
        return self.specs[[self.ks.index(self.columns[i].k) for i in at]], at

    def results(self, balls: np.ndarray, n_item: int) -> dict[str, np.ndarray]:
        """What was seen, under the names of `Observations`."""
        self._measure_chance(balls, n_item)
        arrays = {"relevant": self.relevant, "values": self.values, "curve": self.curves}
        return arrays | (self.filled if self.counted else {})

    def _measure_chance(self, balls: np.ndarray, n_item: int) -> None:
        """Fill the columns of a random ranking that `measure` left: alike for queries with as many relevant items."""
        cases, case_of = np.unique(np.column_stack([self.relevant, balls]), axis=0, return_inverse=True)
        facts = np.ascontiguousarray(cases[:, 0]), np.ascontiguousarray(cases[:, 1:]), n_item
        ungraded = (np.zeros((0, 0)), np.zeros((0, 0))), (np.zeros((0, 0)), np.zeros((0, 0), np.int64))
        values = np.zeros((len(cases), len(self.columns)))
        where = facts, self.asked_alike, EXPECTED, self.tables, values
        groups, first = one_group(facts[0], n_item), self.asked_first[CHANCE]
        fastest(measure_block, values.size)(groups, *ungraded, 0, *where)
        if first[1].size:
            fastest(first_block, values.size * n_item)(groups, 0, facts[:2], first, EXPECTED, values)
        filled = np.append(self.asked_alike[3], first[1])
        self.values[:, filled] = values[case_of][:, filled]

    def block(self, rows: int, n_groups: int) -> Block:
        """Room for the groups of some queries, of this thread."""
        if not hasattr(self.thread, "block"):
            width = 12 * n_groups + self.n_listed * (8 * self.by_index + 16 * self.graded)
            most = max(1, min(rows, GROUPS // width))
            self.thread.block = empty_block(most, n_groups, self.n_listed, self.by_index, self.n_levels)
            self.thread.ones = np.ones(self.thread.block.places.shape, np.int32)
        return self.thread.block

    def measure(self, block: Block, first: int, n: int, facts: tuple) -> None:
        """Fill the columns of `n` queries from `first`, whose groups are the first rows of `block`.

        `facts` are how many items each query ranks, the sizes of its Hamming balls, and the size of the gallery.
        """
        ranked, balls, n_item = facts
        block, rows = Block(*(array[:n] for array in block)), slice(first, first + n)
        groups = block.above, block.size, block.hits, block.n
        listed, levels = (block.grades, block.gains), (block.level_gains, block.times)
        if self.counted:
            there = block.n > 0
            for name, array, none in zip(COUNTS, groups, (ranked[rows], 0, 0), strict=False):
                self.filled[name][rows] = np.where(there, array[:, 0], none)
        ones = self.thread.ones[:n]
        takes = [("index", (block.places, ones, ones, block.n_places)), ("expected", groups)]
        if self.asked[CHANCE][3].size:
            takes.append((CHANCE, one_group(self.relevant[rows], n_item)))
        takes += [("optimistic", groups), ("pessimistic", groups)]  # these sort the grades of tied items
        for ties, found in takes:
            policy = TIES.index(ties) if ties in TIES[:3] else EXPECTED
            if self.asked[ties][3].size:
                where = (self.relevant, balls, n_item), self.asked[ties], policy, self.tables, self.values
                fastest(measure_block, n * self.asked[ties][3].size)(found, listed, levels, first, *where)
            if ties != CHANCE and self.asked_first[ties][1].size:
                facts = (self.relevant, balls), self.asked_first[ties], policy, self.values
                fastest(first_block, n * n_item)(found, first, *facts)
        if self.by_index:
            self.filled["first"][rows] = block.places[:, 0] + 1
        if self.curve:
            found = takes[0][1] if self.curve_ties == "index" else groups
            policy = EXPECTED if self.curve_ties == "index" else TIES.index(self.curve_ties)
            fastest(curve_block, n)(found, first, self.relevant, policy, self.curves)
