"""Codes of the vectors of a gallery and of its queries: by sign, by rotations, learned from pairs, or brought along."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fico_utils.costs.indexes import faiss_threads, make_binariser
from fico_utils.evaluation.embeddings import read_chunks
from fico_utils.extras.deploy.inputs import Asked, Part, unit_rows

#: Vectors that a rotation is learned from at most; pairs that heads are, at most and at least.
LEARNED_FROM, MOST_PAIRS, LEAST_PAIRS = 10_000, 60_000, 200
#: Code lengths of what is learned.
BITS = (64, 128, 256)
#: Arrays by name, kept or made: of a name, and of what makes them.
Keep = Callable[[str, Callable[[], dict[str, np.ndarray]]], dict[str, np.ndarray]]
#: Gives packed codes (n, bits / 8) of vectors (n, d) of the gallery, or of what asks.
Encode = Callable[[np.ndarray, bool], np.ndarray]


def list_codes(asked: Asked, quick: bool) -> list[str]:
    """Names of the codes that are tried, a method and a length each, such as ``itq 128``."""
    dim = asked.dim
    enough = [b for b in BITS if b <= min(dim, asked.n_items)]
    names = [] if asked.codes is None else [f"own {8 * asked.codes[0].shape[1]}"]
    if dim % 8 == 0:
        names += [f"sign {dim}"] + ([] if quick else [f"rotation {dim}"])
    names += [f"itq {b}" for b in (enough[-2:-1] or enough if quick else enough)]
    return names + ([f"learned {enough[-1]}"] if enough and not quick and len(asked.pairs) >= LEAST_PAIRS else [])


@dataclass
class Coder:
    """Makes the codes of a run by their names; each method is learned once, from the whole gallery, when it is needed.

    ``codes(name, part)`` gives packed codes (n, bits / 8) of items and queries, and the seconds that the items' took.
    """

    asked: Asked
    keep: Keep
    _made: dict[str, tuple[Encode, float]] = field(default_factory=dict)

    def codes(self, name: str, part: Part) -> tuple[tuple[np.ndarray, np.ndarray], float]:
        """Codes of a gallery and of the queries."""
        if name.startswith("own"):
            own = self.asked.codes
            return (own[0][part.chosen], own[1][part.task.asking]), 0.0
        if name not in self._made:
            start = time.perf_counter()
            method, bits = name.split()
            made = self._heads(int(bits)) if method == "learned" else self._binariser(method, int(bits))
            self._made[name] = made, time.perf_counter() - start
        encode, learned_s = self._made[name]
        start = time.perf_counter()
        items = np.concatenate([encode(block, False) for _, block in read_chunks(part.items)])
        return (items, encode(part.queries, True)), time.perf_counter() - start + learned_s

    def _sample(self) -> np.ndarray:
        rows = np.random.default_rng(self.asked.seed).permutation(self.asked.n_items)[:LEARNED_FROM]
        return unit_rows(self.asked.gallery, np.sort(rows))

    def _binariser(self, method: str, bits: int) -> Encode:
        with faiss_threads(1):  # more of them wait for each other
            binarise = make_binariser(method, self._sample(), bits)
        return lambda vectors, asks: binarise(vectors)

    def _heads(self, bits: int) -> Encode:
        from fico_utils.extras.deploy.learned import head_codes, learn_heads

        def learn() -> dict[str, np.ndarray]:
            import faiss

            asked = self.asked
            turn = faiss.ITQTransform(asked.dim, bits, True)
            with faiss_threads(1):
                turn.train(self._sample())
            rotation = faiss.vector_to_array(turn.pca_then_itq.A).reshape(bits, -1)
            rows = np.random.default_rng(asked.seed).permutation(len(asked.pairs))[:MOST_PAIRS]
            (items, item), (asking, row) = (np.unique(asked.pairs[rows, i], return_inverse=True) for i in (0, 1))
            sides = unit_rows(asked.gallery, items), unit_rows(asked.asking, asking)
            return learn_heads(*sides, np.stack([item, row], 1), rotation, asked.seed)

        head = self.keep(f"learned_{bits}", learn)
        return lambda vectors, asks: head_codes(head, "asking" if asks else "items", vectors)
