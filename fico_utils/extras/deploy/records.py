"""What a run of `deploy` keeps in its folder: each measurement, so that an interrupted run goes on, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import files
from fico_utils.errors import InputError
from fico_utils.escaping import csv_text
from fico_utils.files import atomic_path, key_of, read_arrays, read_record, write_arrays, write_record, write_text

if TYPE_CHECKING:
    from fico_utils.extras.deploy.deployment import Deployment

#: Raised when the meaning of what is measured changes.
LAYOUT = 4


class Records:
    """The records of one run, in the folder `out`, or nowhere where it is None.

    `run` is what the measurements depend on. InputError where the folder is a file, or holds another run.
    """

    def __init__(self, out: str | Path | None, run: Mapping[str, Any]) -> None:
        self.folder = None if out is None else Path(out)
        if self.folder is None:
            return
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"out is {out}, a file, expected a folder")
        path, run = self.folder / "deploy.json", {"layout": LAYOUT, **run}
        before = read_record(path) if path.exists() else run
        if other := [name for name in run if before.get(name) != run[name]]:
            raise InputError(f"{out} holds a run with other {', '.join(other)}: choose another folder, or delete it")
        write_record(path, run)

    def kept(self, name: str, measure: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """The rows under a name, as they were kept, or measured and kept; a damaged record is measured again."""
        if self.folder is None:
            return measure()
        path = self.folder / "measured" / f"{key_of(name)}.json"
        with suppress(InputError, KeyError):
            return read_record(path)["rows"]
        rows = measure()
        write_record(path, {"name": name, "rows": rows})
        return rows

    def kept_arrays(self, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Named arrays, as they were kept in ``NAME.safetensors``, or made and kept, as are those that were changed."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.safetensors"
        with suppress(InputError):
            held = read_arrays(path)
            if files.read_metadata(path).get("digest") == files.content_digest(held):
                return held
        arrays = make()
        write_arrays(path, arrays, {"name": name, "digest": files.content_digest(arrays)})
        return arrays

    def write_answer(self, found: Deployment, quality: str) -> None:
        """Write table.csv, answer.md, and the figure as figure.png, figure.svg and figure.html."""
        from fico_utils.extras.deploy.figure import hover_page, hover_svg

        picture = found.figure()
        texts = {"table.csv": csv_text(found.table), "answer.md": found.answer}
        texts |= {"figure.svg": hover_svg(picture, quality), "figure.html": hover_page(picture, quality, found.answer)}
        for name, text in texts.items():
            write_text(self.folder / name, text)
        with atomic_path(self.folder / "figure.png") as path:
            path.write_bytes(picture.render("png"))
