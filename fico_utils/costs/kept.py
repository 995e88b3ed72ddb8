"""Measurements kept on disk as they are made: a long one that was stopped goes on where it was.

One JSON file a cell, below the run's ``costs`` folder, with the key of all that the number depends on. Delete the
file, or the folder, to measure again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fico_utils.costs.clock import Timing
from fico_utils.errors import InputError
from fico_utils.workspace import key_of, read_json, write_json


class Kept:
    """What was measured of one cell so far: `content`, a dict that `save` writes to `path`.

    Parameters
    ----------
    path : Path or None; None keeps nothing beyond the process.
    key : str; a file of another key, or one that cannot be read, is started anew.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self.path, self.key = path, key
        self.content: dict[str, Any] = {}
        if path is not None and path.is_file():
            try:
                found = read_json(path)
            except InputError:
                found = None  # half a file is stale like any other
            if isinstance(found, dict) and found.get("key") == key:
                self.content = found.get("content", {})

    def save(self) -> None:
        """Write what is there, atomically."""
        if self.path is not None:
            write_json(self.path, {"key": self.key, "content": self.content})


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
