"""Encoding more than fits in memory: rows go to a memory-mapped safetensors file, and a killed run goes on.

While it grows, the file is called ``NAME.safetensors.part`` and carries one checksum a row behind its arrays. A row
counts as done if its checksum fits, so a row torn by a crash is encoded again, and no finished row ever is. The last
step cuts the checksums off and renames the file: what is left is a plain safetensors file.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from fico_utils.errors import InputError
from fico_utils.extras.corpora.arrays import read_array
from fico_utils.extras.pretrained.batches import Side, encode_checked, load_shared, prepared_batches
from fico_utils.files import content_digest, note, read_metadata
from fico_utils.progress import show_progress

_NAMES = {"float16": "F16", "float32": "F32"}
#: Stands for the digest of the content until that is known; as long.
UNKNOWN = "0" * 64


def stream(
    path: str | Path,
    sides: dict[str, Side],
    header: Mapping[str, Any],
    *,
    dtype: str = "float32",
    label: str = "encoding",
    workers: int = 2,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Memory-mapped arrays (n, ...) by name, read-only; encoded where `path` does not hold them already.

    Parameters
    ----------
    path : the file, ``.safetensors``.
    sides : dict of Side, array by array.
    header : mapping, JSON-able, of the file; its ``key`` stands for all that the arrays depend on: a file or a
        beginning of another key is made anew. The digest of the content is added at the end.
    dtype : str, of the arrays: float32 or float16.
    label : str, what the progress bar says.
    workers : int, threads that prepare batches.

    Raises
    ------
    InputError
        No room on the disk, another process at the same file, or an encoding that is NaN or infinite: which row.
    """
    path = Path(path)
    if dtype not in _NAMES:
        raise InputError(f"embeddings cannot be stored as {dtype!r}; expected one of {', '.join(_NAMES)}")
    for name, side in sides.items():
        if side.n < 1:
            raise InputError(f"{label}: there is nothing to encode under {name!r}; expected at least one item")
    if not _finished(path, header["key"]):
        part = path.with_name(path.name + ".part")
        with _alone(part):
            if _begun(part, header["key"]):
                growing = _Growing(part)
            else:
                growing = _start(part, sides, dtype, label, header)
            _fill(growing, sides, label, workers, progress)
            growing.finish(path)
    return {name: read_array(f"{path}:{name}") for name in sides}


def _finished(path: Path, key: str) -> bool:
    """Is the whole file there, of this key, with the content that it says?"""
    try:
        header = read_metadata(path)
        if header.get("key") != key:
            return False
        stat = path.stat()
        whole = _digest(path, stat.st_size, stat.st_mtime_ns) == header.get("digest")
    except InputError:
        return False  # missing, truncated or foreign: stale like any other
    if whole:
        note("read", path, header["digest"])
    return whole


@lru_cache(maxsize=64)
def _digest(path: Path, _size: int, _changed: int) -> str:
    """Digest of the arrays of a file, which stay on the disk; read once as long as its size and time stay."""
    with safe_open(path, "np") as file:
        names = list(file.keys())
    return content_digest({name: read_array(f"{path}:{name}") for name in names})


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Holds the file against other processes that would write to it, until the block ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(part.with_name(f".{part.name}.lock"), timeout=0)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(f"another process is writing {part}; wait for it, or choose another folder") from None
    except OSError as error:
        raise InputError(f"cannot write {part} ({error.strerror}); choose a folder you may write to") from error
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _start(part: Path, sides: dict[str, Side], dtype: str, label: str, about: Mapping[str, Any]) -> _Growing:
    """A new file with room for all rows, holding the first batch of each side, which told its shape."""
    about = {**about, "digest": UNKNOWN}
    header: dict[str, Any] = {"__metadata__": {name: json.dumps(value) for name, value in about.items()}}
    offset, rows, first = 0, 0, {}
    for name, side in sides.items():
        chosen = _order(side)[: side.batch]
        first[name] = chosen, encode_checked(side, side.load(chosen), chosen, np.dtype(dtype), f"{label}: {name}")
        shape = (side.n, *first[name][1].shape[1:])
        size = math.prod(shape) * np.dtype(dtype).itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": [offset, offset + size]}
        offset, rows = offset + size, rows + side.n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    total = 8 + len(text) + offset + 4 * rows
    try:
        with open(part, "w+b") as file:
            if hasattr(os, "posix_fallocate"):  # a full disk is an error now, not a crash of the memory map later
                os.posix_fallocate(file.fileno(), 0, total)
            else:
                file.truncate(total)
            file.write(len(text).to_bytes(8, "little") + text)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(
            f"{part} needs {total / 2**30:.2f} GiB, and there is no room for it ({error.strerror}); free some, "
            "store float16, or choose another folder"
        ) from error
    growing = _Growing(part)
    for name, (chosen, values) in first.items():
        growing.write(name, chosen, values)
    return growing


def _header(part: Path) -> tuple[dict[str, Any], int]:
    """Header of a growing file and where its arrays begin."""
    with open(part, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length < min(1 << 24, part.stat().st_size):
            raise ValueError
        return json.loads(file.read(length)), 8 + length


def _begun(part: Path, key: str) -> bool:
    """Is there a beginning of this key, of full size?"""
    try:
        header, start = _header(part)
        if json.loads(header.pop("__metadata__")["key"]) != key:
            return False
        end = max(entry["data_offsets"][1] for entry in header.values())
        return part.stat().st_size == start + end + 4 * sum(entry["shape"][0] for entry in header.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


class _Growing:
    """A file being filled: arrays by name, and the checksum of each row that is done, 0 of the others."""

    def __init__(self, part: Path) -> None:
        self.part = part
        header, start = _header(part)
        del header["__metadata__"]
        self.end = start + max(entry["data_offsets"][1] for entry in header.values())
        self.arrays, self.sums, place = {}, {}, self.end
        for name, entry in header.items():
            dtype = {v: k for k, v in _NAMES.items()}[entry["dtype"]]
            offset, shape = start + entry["data_offsets"][0], tuple(entry["shape"])
            self.arrays[name] = np.memmap(part, dtype, "r+", offset, shape)
            self.sums[name] = np.memmap(part, "<u4", "r+", place, shape[:1])
            place += 4 * shape[0]

    def waiting(self, name: str) -> np.ndarray:
        """Rows that are not done: without a checksum, or with one that does not fit."""
        array, sums = np.asarray(self.arrays[name]), np.asarray(self.sums[name])
        torn = [row for row in np.flatnonzero(sums) if sums[row] != _sum(array[row])]
        return np.union1d(np.flatnonzero(sums == 0), np.array(torn, np.int64))

    def write(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Rows, and only then their checksums."""
        self.arrays[name][rows] = values
        self.sums[name][rows] = [_sum(value) for value in values]

    def finish(self, path: Path) -> None:
        """Write the digest, cut the checksums off and give the file its name, once it is on the disk."""
        digest = content_digest(self.arrays)
        for array in (*self.arrays.values(), *self.sums.values()):
            array.flush()
        self.arrays, self.sums = {}, {}  # a mapped file is not cut
        with open(self.part, "r+b") as file:
            start = file.read(1 << 20).index(UNKNOWN.encode())
            file.seek(start)
            file.write(digest.encode())
            file.truncate(self.end)
            os.fsync(file.fileno())
        os.replace(self.part, path)
        note("wrote", path, digest)


def _sum(row: np.ndarray) -> int:
    return zlib.crc32(row.tobytes()) or 1


def _order(side: Side) -> np.ndarray:
    return np.arange(side.n) if side.order is None else side.order


def _fill(growing: _Growing, sides: dict[str, Side], label: str, workers: int, progress: bool) -> None:
    """Encode what is waiting, with a bar that says how long it will take."""
    waiting = {name: growing.waiting(name) for name in sides}
    total = sum(side.n for side in sides.values())
    done = total - sum(map(len, waiting.values()))
    with (
        show_progress(description=label, total=total, initial=done, unit="item", shown=progress) as bar,
        ThreadPoolExecutor(max(1, workers)) as pool,
    ):
        share = partial(load_shared, pool, max(1, workers))
        for name, side in sides.items():
            order = _order(side)
            order = order[np.isin(order, waiting[name])]
            batches = [order[i : i + side.batch] for i in range(0, len(order), side.batch)]
            for rows, loaded in prepared_batches(share, side.load, batches):
                values = encode_checked(side, loaded, rows, growing.arrays[name].dtype, f"{label}: {name}")
                growing.write(name, rows, values)
                bar.update(len(rows))
