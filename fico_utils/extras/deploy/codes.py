"""Codes of the vectors of a gallery and of its queries: by sign, by rotations, learned from pairs, or brought along."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fico_utils.costs.indexes import make_binariser
from fico_utils.extras.deploy.inputs import Asked, Part, unit_rows

#: Vectors that a rotation is learned from at most.
LEARNED_FROM = 10_000
#: Code lengths of what is learned.
BITS = (64, 128, 256)


def list_codes(asked: Asked, quick: bool) -> list[str]:
    """Names of the codes that are tried, a method and a length each, such as ``itq 128``."""
    dim = asked.gallery.shape[1]
    enough = [b for b in BITS if b <= dim and b <= min(asked.n_items, LEARNED_FROM)]
    names = [] if asked.codes is None else [f"own {asked.codes.bits}"]
    if dim % 8 == 0:
        names += [f"sign {dim}"] + ([] if quick else [f"rotation {dim}"])
    return names + [f"itq {b}" for b in (enough[-2:-1] or enough if quick else enough)]


@dataclass
class Coder:
    """Makes the codes of a run by their names; each method is learned once, from the whole gallery, when it is needed.

    ``codes(name, part)`` gives packed codes (n, bits / 8) of items and queries, and the seconds that the items' took.
    """

    asked: Asked
    heads: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    _made: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = field(default_factory=dict)

    def codes(self, name: str, part: Part) -> tuple[tuple[np.ndarray, np.ndarray], float]:
        """Codes of a gallery and of the queries."""
        if name.startswith("own"):
            own = self.asked.codes
            return (own.gallery[part.chosen], own.asking[part.task.asking]), 0.0
        encode, learned_s = self._encoder(name)
        start = time.perf_counter()
        items = encode(part.items)
        return (items, encode(part.queries)), time.perf_counter() - start + learned_s

    def _encoder(self, name: str) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
        if name not in self._made:
            method, bits = name.split()
            rng, start = np.random.default_rng(self.asked.seed), time.perf_counter()
            rows = np.sort(rng.permutation(self.asked.n_items)[:LEARNED_FROM])
            made: Any = make_binariser(method, unit_rows(self.asked.gallery, rows), int(bits))
            self._made[name] = made, time.perf_counter() - start
        return self._made[name]
