"""Measurements kept on disk as they are made: a long one that was stopped goes on where it was.

One file a cell, below the run's ``costs`` folder, with the key of all that the number depends on: JSON, or safetensors
where arrays belong to it. Delete the file, or the folder, to measure again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.costs.clock import Timing
from fico_utils.errors import InputError
from fico_utils.workspace import key_of, read_arrays, read_json, read_metadata, write_arrays, write_json


class Kept:
    """What was measured of one cell so far: `content`, a dict that `save` writes to `path`.

    Parameters
    ----------
    path : Path or None; None keeps nothing beyond the process. One that ends in ``.safetensors`` keeps `arrays` too.
    key : str; a file of another key, or one that cannot be read, is started anew.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self.path, self.key = path, key
        self.content: dict[str, Any] = {}
        self.arrays: dict[str, np.ndarray] = {}
        if path is not None and path.is_file():
            try:
                found = read_metadata(path) if self._holds_arrays else read_json(path)
            except InputError:
                found = None  # half a file is stale like any other
            if isinstance(found, dict) and found.get("key") == key:
                self.content = found.get("content", {})
                self.arrays = read_arrays(path) if self._holds_arrays else {}

    @property
    def _holds_arrays(self) -> bool:
        return self.path is not None and self.path.suffix == ".safetensors"

    def save(self) -> None:
        """Write what is there, atomically."""
        about = {"key": self.key, "content": self.content}
        if self._holds_arrays:
            write_arrays(self.path, self.arrays, about)
        elif self.path is not None:
            write_json(self.path, about)


class Walk:
    """How far something that grows block by block has come, and the files of its state and of what it hands on.

    Parameters
    ----------
    what : what grows, with ``add(*block)``, ``values()``, and ``state()`` and ``restore(*state)``: (JSON-able content,
        arrays). Where its file is of this key, it takes up that state.
    path : Path or None, a ``.safetensors`` file; what is handed on with a block lies in the folder of its name.
    key : str, see `Kept`.

    Attributes
    ----------
    handed : list of dict, what was handed on with each block of the walk that goes on; empty where nothing was.
    """

    def __init__(self, what: Any, path: Path | None, key: str) -> None:
        self.what, self.path, self.kept, self._whole = what, path, Kept(path, key), True
        there = self.kept.content.get("handed", [])
        self.handed = [Kept(self._block(b), key).arrays if any_ else {} for b, any_ in enumerate(there)]
        if [bool(arrays) for arrays in self.handed] != there:
            self.kept.content, self.handed = {}, []  # a block is gone: walk again
        if self.kept.content:
            what.restore(self.kept.content["state"], self.kept.arrays)
        else:
            self.kept.content = {"handed": [], "values": []}
        self._written = self.done

    def _block(self, b: int) -> Path | None:
        return self.path and self.path.with_suffix("") / f"{b}.safetensors"

    @property
    def done(self) -> int:
        """Blocks that it has seen."""
        return len(self.kept.content["handed"])

    def add(self, *block: Any, handed: dict[str, np.ndarray] | None = None, look: int = 0) -> None:
        """See the next block; `handed` is kept with it; its `values` are at the size `look`, unless that is 0."""
        self._whole = False  # an interruption in here leaves half a block behind
        self.what.add(*block)
        if handed:
            part = Kept(self._block(self.done), self.kept.key)
            part.arrays = handed
            part.save()
        if look:
            self.kept.content["values"].append([look, self.what.values()])
        self.kept.content["handed"].append(bool(handed))
        self._whole = True

    def save(self) -> None:
        """Write how far it has come; after half a block, what was written before stands."""
        if self._whole and self.done > self._written and self.path is not None:
            self.kept.content["state"], self.kept.arrays = self.what.state()
            self.kept.save()
            self._written = self.done

    def values(self, size: int) -> dict[str, float | None]:
        """What was seen at one of the sizes."""
        return dict(self.kept.content["values"])[size]


def kept_timings(
    folder: Path | None, key: str, time_at: Callable[[int, int], dict[str, Timing]]
) -> Callable[[int, int], dict[str, Timing]]:
    """`time_at`, whose answers are kept in `folder`, one file a size, and asked for once only.

    Parameters
    ----------
    folder : Path or None; None gives `time_at` itself.
    key : str, of what is timed and how.
    time_at : callable giving the timings at (n_img, n_txt).
    """
    if folder is None:
        return time_at

    def ask(n_img: int, n_txt: int) -> dict[str, Timing]:
        kept = Kept(folder / f"{n_img}x{n_txt}.json", key_of(key, n_img, n_txt))
        if not kept.content:
            timings = time_at(n_img, n_txt)
            # what the last run returned is no part of the measurement
            kept.content = {name: {**asdict(t), "result": None} for name, t in timings.items()}
            kept.save()
        return {name: Timing(**{**t, "samples": tuple(t["samples"])}) for name, t in kept.content.items()}

    return ask
