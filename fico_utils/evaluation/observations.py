"""What is kept of each query, so that a new k, interval or comparison needs no new scoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.tasks import DIRECTIONS, INSTANCE, LEVELS, TIES
from fico_utils.evaluation.ties import hit_rank

K = int | str


@dataclass(frozen=True)
class Side:
    """What the queries of one direction saw at one level: all that a metric is computed from."""

    level: str
    direction: str
    ties: str
    n_item: int  # size of the gallery
    counts: Mapping[str, np.ndarray]  # as in `Observations`; ``relevant``, ``found`` and ``curve`` are of this level
    ks: tuple[K, ...]  # of the columns of the arrays that have one for each k

    @cached_property
    def depth(self) -> int:
        """How many items the shallowest ranking holds."""
        return int(self.counts["ranked"].min())

    def cut(self, k: K) -> int:
        """A k as a number of items: "N", or one beyond the gallery, means all of it."""
        return self.n_item if k == "N" else min(k, self.n_item)

    def reaches(self, k: K) -> bool:
        """Whether all rankings have the first k items."""
        return self.depth == self.n_item or (k != "N" and k <= self.depth)

    def column(self, name: str, k: K) -> np.ndarray:
        """One column of ``ap`` or ``found``, (n_query,); InputError where this k was not observed."""
        if k not in self.ks:
            raise InputError(
                f"k = {k} was not observed at {self.level} level, only {', '.join(map(str, self.ks)) or 'none'}: "
                "observe again with it among the metrics"
            )
        return self.counts[name][:, self.ks.index(k)]


@dataclass(frozen=True)
class Observations:
    """Per-query observations of one system on one corpus.

    ``directions`` holds for "i2t" and "t2i" a dict of arrays, one row per query. Instance level: ``image``, the image
    of the query; ``above`` and ``tied``, how many items score higher than the best correct item and as high (itself
    included); ``tied_correct``, how many of the tied are correct; ``ranked``, the depth of the ranking; ``correct``,
    the number of correct items; ``correct_found`` (n_query, n_k) float64, the expected number of correct items in the
    top k. Category level, only where labels were given: ``ap`` and ``found`` (n_query, n_k) float64, average precision
    and expected number of relevant items in the top k; ``curve`` (n_query, 11) float64, or (n_query, 0) if it was not
    asked for; ``relevant``, the number of relevant items.
    """

    n_img: int
    n_txt: int
    ties: str  # the order of tied items under which ``ap``, ``found`` and ``curve`` were taken
    ks: dict[str, tuple[K, ...]]  # level -> the k of the columns of ``correct_found``, or of ``ap`` and ``found``
    directions: dict[str, dict[str, np.ndarray]]

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that were observed: "category" only with labels."""
        return LEVELS if "relevant" in self.directions["i2t"] else (INSTANCE,)

    def side(self, level: str, direction: str) -> Side:
        """What the queries of one direction saw at one level."""
        n_item, counts = self.n_txt if direction == "i2t" else self.n_img, self.directions[direction]
        if level == INSTANCE:
            no_curve = np.zeros((counts["correct"].size, 0))
            counts = {**counts, "relevant": counts["correct"], "found": counts["correct_found"], "curve": no_curve}
        return Side(level, direction, self.ties, n_item, counts, self.ks[level])

    def first_hit_rank(self, direction: str) -> np.ndarray:
        """Expected rank of the first correct item, from 1: (n_query,) float64, inf where it was not ranked."""
        return hit_rank(self.directions[direction], self.ties)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays for a file; ``category_at`` and ``instance_at`` hold the k, 0 for N."""
        arrays = {
            "sizes": np.array([self.n_img, self.n_txt], dtype=np.int64),
            "ties": np.array([TIES.index(self.ties)], dtype=np.int64),
        }
        for level, ks in self.ks.items():
            arrays[f"{level}_at"] = np.array([0 if k == "N" else k for k in ks], dtype=np.int64)
        for direction in DIRECTIONS:
            arrays |= {f"{direction}_{name}": x for name, x in self.directions[direction].items()}
            arrays[f"{direction}_first_hit_rank"] = self.first_hit_rank(direction)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Observations:
        """The observations that `arrays` wrote."""
        named = {name: np.asarray(array) for name, array in arrays.items() if not name.endswith("_first_hit_rank")}
        n_img, n_txt = (int(n) for n in arrays["sizes"])
        ks = {level: tuple("N" if k == 0 else int(k) for k in arrays[f"{level}_at"]) for level in LEVELS}
        directions = {d: {n[len(d) + 1 :]: x for n, x in named.items() if n.startswith(f"{d}_")} for d in DIRECTIONS}
        return cls(n_img, n_txt, TIES[int(arrays["ties"][0])], ks, directions)
