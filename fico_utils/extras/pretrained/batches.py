"""Encoding in batches: prepared ahead, halved where memory is short, checked, and kept in units of the store."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fico_utils.artifacts import Units
from fico_utils.errors import InputError
from fico_utils.extras.corpora.arrays import read_array
from fico_utils.progress import show_progress

#: Batches that are prepared ahead of the one that is encoded, and rows of a batch that a thread prepares alone.
AHEAD, PIECE = 2, 8


@dataclass(frozen=True)
class Side:
    """How the rows of one array are made."""

    n: int  # rows
    load: Callable[[np.ndarray], Tensor]  # row numbers (b,) -> what `encode` takes, prepared on the CPU ahead of time
    encode: Callable[[Tensor], Tensor]  # that -> (b, ...) float32 on the CPU
    batch: int  # rows at once
    order: np.ndarray | None = None  # (n,) in which rows are encoded: those of like cost side by side
    unit: int = 512  # rows of a unit of the store; a killed run loses at most so many

    def unit_rows(self) -> list[np.ndarray]:
        """The rows of each unit."""
        order = np.arange(self.n) if self.order is None else self.order
        return np.split(order, range(self.unit, self.n, self.unit))


@dataclass(frozen=True)
class Effort:
    """What an encoding may take of the machine."""

    memory_mib: int = 0  # of a batch, see `embedding.batch_size`
    workers: int = 2  # threads that prepare batches
    progress: bool = True  # a bar says how long it takes


def encode_units(
    side: Side, units: Units, *, dtype: str = "float32", label: str = "encoding", effort: Effort = Effort()
) -> None:
    """Encode what is not in the units of a work, and write it there as `dtype`.

    InputError where there is no room on the disk, or an encoding is NaN or infinite (it names the row).
    """
    rows, done = side.unit_rows(), set(units.numbers())
    waiting = [n for n in range(len(rows)) if n not in done]
    batches = [rows[n][i : i + side.batch] for n in waiting for i in range(0, len(rows[n]), side.batch)]
    left, values = iter(waiting), []
    done_before, workers = side.n - sum(map(len, batches)), max(1, effort.workers)
    bar = show_progress(description=label, total=side.n, initial=done_before, unit="item", shown=effort.progress)
    with bar, ThreadPoolExecutor(workers) as pool:
        number = next(left, None)
        for chosen, loaded in _prepared(side.load, batches, pool, workers):
            values.append(_encode_checked(side, loaded, chosen, np.dtype(dtype), label))
            if chosen is batches[0]:
                _check_room(units.folder, len(waiting) * side.unit * values[0][0].nbytes)
            if sum(map(len, values)) == len(rows[number]):
                units.write(number, {"rows": np.concatenate(values)})
                number, values = next(left, None), []
            bar.update(len(chosen))


def gather_units(side: Side, units: Units) -> np.ndarray:
    """All rows (n, ...) of a finished work, in memory."""
    read = np.concatenate([units.read(number)[0]["rows"] for number in range(len(side.unit_rows()))])
    gathered = np.empty_like(read)
    gathered[np.concatenate(side.unit_rows())] = read
    return gathered


class MappedUnits:
    """The rows of a finished work without an order of its own; they stay on the disk until a tensor asks for some."""

    def __init__(self, side: Side, units: Units) -> None:
        self.unit = side.unit
        self.parts = [read_array(f"{units.path(number)}:rows") for number in range(len(side.unit_rows()))]

    def __getitem__(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([self.parts[row // self.unit][row % self.unit] for row in rows.tolist()]))


def _prepared(
    load: Callable, batches: list[np.ndarray], pool: ThreadPoolExecutor, workers: int
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Batches with what was loaded for them, a few ahead of the one in use, so that memory stays bounded."""
    ahead: deque[tuple[np.ndarray, list[Future]]] = deque()
    for place, rows in enumerate(batches, 1):
        pieces = np.array_split(rows, min(workers, -(-len(rows) // PIECE)))
        ahead.append((rows, [pool.submit(load, piece) for piece in pieces]))
        while len(ahead) > (AHEAD if place < len(batches) else 0):
            rows, loading = ahead.popleft()
            yield rows, torch.cat([piece.result() for piece in loading])


def _encode_checked(side: Side, loaded: Tensor, rows: np.ndarray, dtype: np.dtype, label: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = _encode_in_parts(side, loaded).numpy().astype(dtype)
    bad = ~np.isfinite(values).reshape(len(values), -1).all(1)
    if bad.any():
        raise InputError(
            f"{label}, row {rows[bad][0]}: what was encoded is NaN or infinite; the weights are broken, or overflow in "
            "half precision: try bfloat16 or float32"
        )
    return values


@torch.inference_mode()
def _encode_in_parts(side: Side, loaded: Tensor) -> Tensor:
    """What `side` makes of a batch; of its halves, where the whole does not fit on the device."""
    try:
        return side.encode(loaded)
    except torch.OutOfMemoryError as error:
        if len(loaded) == 1:
            raise InputError(
                "one item does not fit into the memory of the device; use float16 or bfloat16, or the CPU"
            ) from error
    torch.cuda.empty_cache()
    return torch.cat([_encode_in_parts(side, half) for half in loaded.chunk(2)])


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(next(place for place in folder.absolute().parents if place.is_dir())).free
    if needed > free:
        raise InputError(
            f"{folder} needs {needed / 2**30:.2f} GiB, and there is no room for it; free some, store float16, "
            "or choose another folder"
        )
