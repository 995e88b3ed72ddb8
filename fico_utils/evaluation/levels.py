"""One level of one direction: which columns are asked for, and their values from the groups of each query."""

from __future__ import annotations

import threading
from collections.abc import Collection

import numpy as np

from fico_utils.evaluation.compiling import fastest
from fico_utils.evaluation.kernels_first import curve_block, first_block
from fico_utils.evaluation.kernels_measures import KINDS, measure_block
from fico_utils.evaluation.kernels_ranking import Block, empty_block
from fico_utils.evaluation.observations import CHANCE, K, is_radius
from fico_utils.evaluation.plan import Plan
from fico_utils.evaluation.tasks import CATEGORY, EXPECTED, INSTANCE, TIES, Task
from fico_utils.evaluation.ties import COUNTS, discount_sums, harmonic_numbers

#: Kinds of columns that depend on how relevant an item is.
GRADED = ("ndcg", "grades", "wap")
#: Grades and gains listed, and levels of gains, where all relevant items count 1.
UNGRADED = (np.zeros((0, 0)), np.zeros((0, 0))), (np.zeros((0, 0)), np.zeros((0, 0), np.int64))
#: How kernels take each order of tied items; under that of the arrays, and in a random ranking, nothing is left open.
POLICIES = {ties: TIES.index(ties) if ties in TIES[:3] else EXPECTED for ties in (*TIES, CHANCE)}


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
        graded = GRADED if self.graded else ()
        self.codes = {column.k: _cut_code(column.k, plan.radii) for column in self.columns}
        whole = self.curve or self.counted or "first" in kinds
        depth, graded_depth = (self._deepest(among, task.n_item) for among in (kinds, graded))
        self.depths = task.n_item if whole else max(depth, 1), graded_depth
        self.n_listed = width if level == CATEGORY else max(1, int(self.relevant.max(initial=1)))
        parts = {False: {*KINDS}.difference(graded), True: graded}
        # a random ranking comes first: the best and the worst order sort the grades
        every = {(ties, part): self._asked(ties, parts[part]) for ties in (CHANCE, *TIES) for part in parts}
        self.by_chance = every.pop((CHANCE, False)), self._asked_first(CHANCE)
        self.asked = {which: asked for which, asked in every.items() if asked[3].size}
        self.asked_first = {ties: asked for ties in TIES if (asked := self._asked_first(ties))[1].size}
        self.n_levels = 0
        if self.graded:
            self.n_levels = task.labels.most if level == CATEGORY else self.n_listed

    @property
    def is_grouped(self) -> bool:
        """Whether groups are needed: at instance level the first correct item alone is found without them."""
        return bool(self.columns) or self.curve or (self.by_index if self.level == INSTANCE else self.counted)

    def _deepest(self, among: Collection[str], n_item: int) -> int:
        """The deepest rank at which columns of some kinds are cut; 0 where there is no such column."""
        cuts = [self.codes[column.k] for column in self.columns if column.kind in among]
        return min(max(cuts, default=0), n_item) if min(cuts, default=1) > 0 else n_item

    def _asked(self, ties: str, among: Collection[str]) -> tuple[np.ndarray, ...]:
        """The columns of some kinds under one order of tied items, as `measure_block` takes them."""
        at = np.flatnonzero([column.ties == ties and column.kind in among for column in self.columns])
        chosen = [self.columns[i] for i in at]
        specs = [self.codes[k] for k in dict.fromkeys(column.k for column in chosen)]
        kinds, cuts = [KINDS.index(column.kind) for column in chosen], [specs.index(self.codes[c.k]) for c in chosen]
        return *(np.array(part, np.int64) for part in (specs, kinds, cuts)), at

    def _asked_first(self, ties: str) -> tuple[np.ndarray, np.ndarray]:
        """The columns of the first relevant items under one order of tied items, as `first_block` takes them."""
        at = np.flatnonzero([column.ties == ties and column.kind == "first" for column in self.columns])
        return np.array([self.codes[self.columns[i].k] for i in at], np.int64), at

    def results(self, n_item: int) -> dict[str, np.ndarray]:
        """What was seen, under the names of `Observations`."""
        self._measure_chance(n_item)
        arrays = {"relevant": self.relevant, "values": self.values, "curve": self.curves}
        return arrays | (self.filled if self.counted else {})

    def _measure_chance(self, n_item: int) -> None:
        """Fill the columns of a random ranking that `measure` left: alike for queries with as many relevant items."""
        cases, case_of = np.unique(self.relevant, return_inverse=True)
        facts = cases, np.zeros((cases.size, 0), np.int32), n_item
        values = np.zeros((len(cases), len(self.columns)))
        groups, (asked, first) = one_group(facts[0], n_item), self.by_chance
        fastest(measure_block, values.size)(groups, *UNGRADED, 0, facts, asked, EXPECTED, self.tables, values)
        if first[1].size:
            fastest(first_block, values.size * n_item)(groups, 0, facts[:2], first, EXPECTED, values)
        filled = np.append(asked[3], first[1])
        self.values[:, filled] = values[case_of][:, filled]

    def block(self, rows: int, n_groups: int, room: int) -> Block:
        """Room for the groups of at most so many queries, of this thread, in about so many bytes."""
        if not hasattr(self.thread, "block"):
            width = 12 * n_groups + self.n_listed * (8 * self.by_index + 16 * self.graded)
            most = max(1, min(rows, room // width))
            self.thread.block = empty_block(most, n_groups, self.n_listed, self.by_index, self.n_levels)
            self.thread.ones = np.ones(self.thread.block.places.shape, np.int32)
        return self.thread.block

    def _added_up(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Grades and gains of all relevant items together, as `measure_block` takes those of one group."""
        if self.level == INSTANCE:  # where all are listed
            return block.grades, block.gains
        grades = np.arange(self.n_levels, 0.0, -1)
        return tuple((block.times * level).sum(axis=1, keepdims=True) for level in (grades, block.level_gains))

    def measure(self, block: Block, first: int, n: int, facts: tuple) -> None:
        """Fill the columns of `n` queries from `first`, whose groups are the first rows of `block`.

        `facts` are how many items each query ranks, the sizes of its Hamming balls, and the size of the gallery.
        """
        ranked, balls, n_item = facts
        block, rows = Block(*(array[:n] for array in block)), slice(first, first + n)
        groups, ones = (block.above, block.size, block.hits, block.n), self.thread.ones[:n]
        found = dict.fromkeys(TIES, groups) | {"index": (block.places, ones, ones, block.n_places)}
        judged = (block.grades, block.gains), (block.level_gains, block.times)
        facts = self.relevant, balls, n_item
        for (ties, graded), asked in self.asked.items():
            mine, order = judged if graded else UNGRADED, found.get(ties)
            if ties == CHANCE:
                mine, order = (self._added_up(block), judged[1]), one_group(self.relevant[rows], n_item)
            how = facts, asked, POLICIES[ties], self.tables, self.values
            fastest(measure_block, n * asked[3].size)(order, *mine, first, *how)
        for ties, asked in self.asked_first.items():
            how = facts[:2], asked, POLICIES[ties], self.values
            fastest(first_block, n * n_item)(found[ties], first, *how)
        if self.counted:
            there = block.n > 0
            for name, array, none in zip(COUNTS, groups, (ranked[rows], 0, 0), strict=False):
                self.filled[name][rows] = np.where(there, array[:, 0], none)
        if self.by_index:
            self.filled["first"][rows] = block.places[:, 0] + 1
        if self.curve:
            how = self.relevant, POLICIES[self.curve_ties], self.curves
            fastest(curve_block, n)(found[self.curve_ties], first, *how)
