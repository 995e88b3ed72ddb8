"""What is kept of each query, so that a new k, interval or comparison needs no new scoring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.tasks import DIRECTIONS
from fico_utils.evaluation.ties import TIES, hit_probability, hit_rank

K = int | str
#: The arrays of one direction, one row per query; those of category level are there only if labels were given.
INSTANCE = ("image", "above", "tied", "tied_correct", "ranked", "correct")
CATEGORY = ("ap", "found", "curve", "relevant")


@dataclass(frozen=True)
class Observations:
    """Per-query observations of one system on one corpus.

    Attributes
    ----------
    n_img, n_txt : int
        Sizes of the two galleries.
    ties : str
        The order of tied items under which ``ap``, ``found`` and ``curve`` were taken.
    map_at : tuple of int or "N"
        The k of the columns of ``ap`` and ``found``; empty without labels.
    directions : dict
        For "i2t" and "t2i" a dict of arrays, one row per query. Instance level: ``image``, the image of the
        query; ``above`` and ``tied``, how many items score higher than the best correct item and as high (itself
        included); ``tied_correct``, how many of the tied are correct; ``ranked``, the depth of the ranking;
        ``correct``, the number of correct items. Category level: ``ap`` and ``found`` (n_query, n_k) float64,
        average precision and expected number of relevant items in the top k; ``curve`` (n_query, 11) float64, or
        (n_query, 0) if it was not asked for; ``relevant``, the number of relevant items.
    """

    n_img: int
    n_txt: int
    ties: str
    map_at: tuple[K, ...]
    directions: dict[str, dict[str, np.ndarray]]

    def n_query(self, direction: str) -> int:
        """Number of queries of a direction."""
        return self.directions[direction]["image"].size

    def n_item(self, direction: str) -> int:
        """Size of the gallery of a direction."""
        return self.n_txt if direction == "i2t" else self.n_img

    @property
    def has_labels(self) -> bool:
        """Whether the category level was observed."""
        return "relevant" in self.directions["i2t"]

    def hit_probability(self, direction: str, k: int) -> np.ndarray:
        """Probability that a correct item is in the top k: (n_query,) float64, 0 or 1 where nothing ties."""
        return hit_probability(self.directions[direction], k, self.ties)

    def first_hit_rank(self, direction: str) -> np.ndarray:
        """Expected rank of the first correct item, from 1: (n_query,) float64, inf where it was not ranked."""
        return hit_rank(self.directions[direction], self.ties)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, ready for a safetensors file; `from_arrays` reads them back.

        ``{direction}_first_hit_rank`` and, at category level, ``{direction}_ap`` and ``{direction}_curve`` are
        what readers look for; ``map_at`` holds 0 for N.
        """
        arrays = {
            "sizes": np.array([self.n_img, self.n_txt], dtype=np.int64),
            "ties": np.array([TIES.index(self.ties)], dtype=np.int64),
            "map_at": np.array([0 if k == "N" else k for k in self.map_at], dtype=np.int64),
        }
        for direction in DIRECTIONS:
            arrays |= {f"{direction}_{name}": x for name, x in self.directions[direction].items()}
            arrays[f"{direction}_first_hit_rank"] = self.first_hit_rank(direction)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Observations:
        """The observations that `arrays` wrote; InputError if an array is missing."""
        labelled = "i2t_relevant" in arrays
        names = INSTANCE + (CATEGORY if labelled else ())
        try:
            directions = {d: {name: np.asarray(arrays[f"{d}_{name}"]) for name in names} for d in DIRECTIONS}
            return cls(
                n_img=int(arrays["sizes"][0]),
                n_txt=int(arrays["sizes"][1]),
                ties=TIES[int(arrays["ties"][0])],
                map_at=tuple("N" if k == 0 else int(k) for k in arrays["map_at"]),
                directions=directions,
            )
        except KeyError as error:
            raise InputError(
                f"the array {error} is missing, expected the arrays of Observations.arrays(): score again"
            ) from None
