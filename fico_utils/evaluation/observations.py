"""What is kept of each query, so that a new metric, interval or comparison needs no new scoring."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.tasks import INSTANCE, TIES
from fico_utils.evaluation.ties import hit_rank, random_counts

K = int | str
#: Beside `TIES`: everything ties, which is a random ranking, chance level.
CHANCE = "chance"
#: The choices that code bases make differently, and what each may be.
CHOICES = {
    "ties": TIES,
    "map_divisor": ("found", "min", "relevant", "first"),
    "no_relevant": ("zero", "skip"),
    "empty_ball": ("zero", "skip"),
}


@dataclass(frozen=True)
class Rules:
    """How numbers are made of what was seen; InputError on a choice that there is not. See `evaluate`."""

    ties: str = "expected"
    map_divisor: str = "found"
    no_relevant: str = "zero"
    empty_ball: str = "zero"
    median: str = "middle"  # of an even number of queries, or "floor", rounded down

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known and (name, value) != ("ties", CHANCE):
                raise InputError(f"{name} is {value!r}, expected one of {', '.join(known)}")


class Column(NamedTuple):
    """What a column of values holds: a kind of `kernels_measures.KINDS`, its k, and the order of tied items."""

    kind: str
    k: K
    ties: str


@dataclass(frozen=True)
class Side:
    """What the queries of one direction saw at one level: all that a metric is computed from."""

    level: str
    direction: str
    rules: Rules
    n_item: int  # size of the gallery
    counts: Mapping[str, np.ndarray]  # as in `Observations`, of this level, and what both levels share
    columns: tuple[Column, ...]  # of ``values``
    radii: tuple[int, ...] = ()  # of the columns of ``balls``

    @cached_property
    def depth(self) -> int:
        """How many items the shallowest ranking holds."""
        return int(self.counts["ranked"].min())

    @property
    def relevant(self) -> np.ndarray:
        """How many items are relevant to each query, (n_query,)."""
        return self.counts["relevant"]

    def cuts(self, k: K) -> np.ndarray:
        """A k as a number of items of each query, (n_query,) int64; one beyond the gallery means all of it."""
        if k == "R":
            return self.relevant.astype(np.int64)
        if is_radius(k):
            return self.counts["balls"][:, self.radii.index(int(k[6:]))].astype(np.int64)
        return np.full(self.relevant.size, self.n_item if k == "N" else min(k, self.n_item), np.int64)

    def reaches(self, k: K) -> bool:
        """Whether all rankings have the first k items."""
        return self.depth == self.n_item or self.cuts(k).max(initial=0) <= self.depth

    def column(self, kind: str, k: K) -> np.ndarray:
        """One column of values, (n_query,); InputError where it was not observed."""
        column = Column(kind, k, self.rules.ties)
        if column not in self.columns:
            known = dict.fromkeys(str(c.k) for c in self.columns if c[::2] == column[::2]) or ["none"]
            raise InputError(
                f"{kind} at k = {k} was not observed at {self.level} level with ties {column.ties}, only at "
                f"{', '.join(known)}: observe again with it among the metrics"
            )
        return self.counts["values"][:, self.columns.index(column)]

    def by_chance(self) -> Side:
        """The same queries under a random ranking."""
        counts = {**self.counts, **random_counts(self.n_item, self.relevant)}
        return replace(self, rules=replace(self.rules, ties=CHANCE), counts=counts)

    def take(self, chosen: np.ndarray) -> Side:
        """Some of the queries, by a mask (n_query,)."""
        if chosen.all():
            return self
        return replace(self, counts={name: array[chosen] for name, array in self.counts.items()})


def is_radius(k: K | None) -> bool:
    """Whether a k is a Hamming radius, such as ``radius2``."""
    return isinstance(k, str) and k.startswith("radius")


@dataclass(frozen=True)
class Observations:
    """Per-query observations of one system on one corpus.

    ``seen`` holds for each direction a dict of arrays, one row per query: ``query``, which it is; ``image``, its image
    (what is drawn together by the bootstrap); ``ranked``, the depth of its ranking; ``balls`` (n_query, n_radii), how
    many items lie within Hamming distance; and, under the name of a level and a slash, ``relevant``, the number of
    relevant items; ``above`` and ``tied``, how many items score higher than the best relevant item and as high (itself
    included); ``tied_correct``, how many of the tied are relevant; ``first``, the rank of the first under the order of
    the arrays (only if it was asked for); ``values`` (n_query, n_columns) float64, see `Column`; ``curve`` (n_query,
    11) float64, or (n_query, 0).
    """

    sizes: dict[str, int]  # direction -> size of the gallery
    columns: dict[str, tuple[Column, ...]]  # level -> what ``values`` holds
    seen: dict[str, dict[str, np.ndarray]]
    rules: Rules = field(default_factory=Rules)
    radii: tuple[int, ...] = ()

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions that were observed."""
        return tuple(self.seen)

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that were observed."""
        return tuple(self.columns)

    def side(self, level: str, direction: str, rules: Rules | None = None) -> Side:
        """What the queries of one direction saw at one level; `rules` are those of the observation by default."""
        arrays = self.seen[direction]
        counts = {name.removeprefix(f"{level}/"): a for name, a in arrays.items() if "/" not in name or level in name}
        return Side(
            level, direction, rules or self.rules, self.sizes[direction], counts, self.columns[level], self.radii
        )

    def first_hit_rank(self, direction: str) -> np.ndarray:
        """Expected rank of the first correct item, from 1: (n_query,) float64, inf where it was not ranked."""
        return hit_rank(self.side(INSTANCE, direction).counts, self.rules.ties)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays for a file; ``about`` is JSON of what is no array."""
        about = {"sizes": self.sizes, "columns": self.columns, "rules": asdict(self.rules), "radii": self.radii}
        arrays = {f"{d}/{name}": array for d, seen in self.seen.items() for name, array in seen.items()}
        return {"about": np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Observations:
        """The observations that `arrays` wrote."""
        about = json.loads(np.asarray(arrays["about"]).tobytes())
        columns = {level: tuple(Column(*column) for column in kept) for level, kept in about["columns"].items()}
        seen: dict[str, dict[str, np.ndarray]] = {direction: {} for direction in about["sizes"]}
        for name, array in arrays.items():
            direction, slash, rest = name.partition("/")
            if slash:
                seen[direction][rest] = np.asarray(array)
        return cls(about["sizes"], columns, seen, Rules(**about["rules"]), tuple(about["radii"]))
