"""Packed hash codes of a stream, written to disk block by block: 6 M codes of 64 bits are 46 MiB."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fico_utils.errors import InputError


class CodeFiles:
    """The .npy files of one system at one size, mapped into memory while they grow.

    While it grows, a file ends in ``.part.npy``: a stream that was stopped goes on in it.

    Parameters
    ----------
    folder : Path
    names : dict, side -> file name.
    """

    def __init__(self, folder: Path, names: Mapping[str, str]) -> None:
        self.paths = {side: Path(folder) / name for side, name in names.items()}
        self._maps: dict[str, np.memmap] = {}

    def there(self, finished: bool) -> bool:
        """Whether every side has its file: the finished one, or the one that grows."""
        return all((path if finished else _growing(path)).is_file() for path in self.paths.values())

    def write(self, side: str, first: int, total: int, codes: np.ndarray) -> None:
        """Put codes (n, bits / 8) uint8 at row `first` of the `total` rows of a side.

        Raises
        ------
        InputError
            The file would not fit on the disk.
        """
        if side not in self._maps:
            self._maps[side] = _open(self.paths[side], (total, codes.shape[1]))
        self._maps[side][first : first + len(codes)] = codes

    def flush(self) -> None:
        """Bring what was written to the disk."""
        for codes in self._maps.values():
            codes.flush()

    def finish(self) -> None:
        """Give the files their names."""
        self.flush()
        self._maps.clear()
        for path in self.paths.values():
            if _growing(path).is_file():
                os.replace(_growing(path), path)


def _growing(path: Path) -> Path:
    return path.with_suffix(".part.npy")


def _open(path: Path, shape: tuple[int, int]) -> np.memmap:
    """The growing file as an array: what is there where it has this shape, else a new one."""
    part = _growing(path)
    part.parent.mkdir(parents=True, exist_ok=True)
    if part.is_file():
        try:
            found = np.lib.format.open_memmap(part, "r+")
        except (ValueError, OSError):
            found = None  # not whole: made anew
        if found is not None and found.shape == shape and found.dtype == np.uint8:
            return found
    needed, free = shape[0] * shape[1], shutil.disk_usage(part.parent).free
    if needed > free:
        raise InputError(
            f"{shape[0]} codes of {8 * shape[1]} bits need {needed / 2**30:.2f} GiB of disk at {part.parent}, and "
            f"{free / 2**30:.2f} GiB are free; drop the codes (codes=None), or encode fewer"
        )
    return np.lib.format.open_memmap(part, "w+", np.uint8, shape)
