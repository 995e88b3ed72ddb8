"""Batches of an encoder: prepared on the CPU while the one before is encoded, halved where memory is short, checked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from fico_utils.errors import InputError

#: Batches that are prepared ahead of the one that is encoded, and rows of a batch that a thread prepares alone.
AHEAD, PIECE = 2, 8


@dataclass(frozen=True)
class Side:
    """One array of a file: how its rows are made.

    Attributes
    ----------
    n : int, rows.
    load : callable, row numbers (b,) -> what `encode` takes, prepared on the CPU while the batch before is encoded.
    encode : callable, that -> Tensor (b, ...) float32 on the CPU.
    batch : int, rows at once.
    order : ndarray (n,) or None, the order in which rows are encoded: those of like cost side by side.
    """

    n: int
    load: Callable[[np.ndarray], Tensor]
    encode: Callable[[Tensor], Tensor]
    batch: int
    order: np.ndarray | None = None


def load_shared(pool: ThreadPoolExecutor, workers: int, load: Callable, rows: np.ndarray) -> list[Future]:
    """A batch that is being loaded, in pieces for all workers."""
    pieces = np.array_split(rows, min(workers, -(-len(rows) // PIECE)))
    return [pool.submit(load, piece) for piece in pieces]


def prepared_batches(share: Callable, load: Callable, batches: list[np.ndarray]) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Batches with what was loaded for them, a few ahead of the one in use, so that memory stays bounded."""
    ahead: deque[tuple[np.ndarray, list[Future]]] = deque()
    coming = iter(batches)
    try:
        while True:
            ahead.extend((rows, share(load, rows)) for rows in islice(coming, AHEAD + 1 - len(ahead)))
            if not ahead:
                return
            rows, pieces = ahead.popleft()
            yield rows, torch.cat([piece.result() for piece in pieces])
    finally:
        for _, pieces in ahead:
            for piece in pieces:
                piece.cancel()


def encode_checked(side: Side, loaded: Tensor, rows: np.ndarray, dtype: np.dtype, what: str) -> np.ndarray:
    """What `side` makes of a batch, as it is stored; refused where it is not finite, at the latest then."""
    with np.errstate(over="ignore"):
        values = _encoded(side, loaded).numpy().astype(dtype)
    bad = ~np.isfinite(values).reshape(len(values), -1).all(1)
    if bad.any():
        raise InputError(
            f"{what}, row {rows[bad][0]}: what was encoded is NaN or infinite; the weights are broken, or overflow in "
            "half precision: try bfloat16 or float32"
        )
    return values


@torch.inference_mode()
def _encoded(side: Side, loaded: Tensor) -> Tensor:
    """What `side` makes of a batch; of its halves, where the whole does not fit on the device."""
    try:
        return side.encode(loaded)
    except torch.OutOfMemoryError as error:
        if len(loaded) == 1:
            raise InputError(
                "one item does not fit into the memory of the device; use float16 or bfloat16, or the CPU"
            ) from error
    torch.cuda.empty_cache()
    return torch.cat([_encoded(side, half) for half in loaded.chunk(2)])
