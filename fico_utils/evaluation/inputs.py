"""What every source of scores shares: its inputs are checked here, and read in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fico_utils.errors import InputError

#: Bytes of float64 that a pass over the embeddings holds at a time.
CHUNK = 2**22


def read_table(array: Any, name: str) -> np.ndarray:
    """``array`` as a two-dimensional, non-empty array of numbers (a memory map stays one)."""
    array = array if isinstance(array, np.ndarray) else np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} hold {array.dtype} values, expected numbers: give a plain numeric array")
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{name} have shape {array.shape}, expected two dimensions (items, width), none empty")
    return array


def read_chunks(array: np.ndarray, width: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Consecutive rows of an array, each piece with its first row; ``width`` if a row stands for more numbers."""
    step = max(1, CHUNK // (8 * (width or array.shape[1])))
    for start in range(0, array.shape[0], step):
        yield start, array[start : start + step]


class Whole:
    """A source whose rows and columns are simply the queries and the gallery, each score exact wherever it stands."""

    def ids(self, direction: str) -> None:
        """Each query has a row of its own."""
        return None

    def columns(self, direction: str) -> None:
        """Columns are in the order of the gallery."""
        return None

    def tile(self, direction: str) -> None:
        """Any number of rows may be asked for."""
        return None
