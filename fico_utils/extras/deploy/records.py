"""What a run of `deploy` keeps in its folder: each measurement, so that an interrupted run goes on, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.escaping import csv_text
from fico_utils.files import (
    content_digest,
    key_of,
    read_arrays,
    read_metadata,
    read_record,
    write_arrays,
    write_record,
    write_text,
)
from fico_utils.provenance import commit

if TYPE_CHECKING:
    from fico_utils.extras.deploy.result import Deployment

#: Says which run a folder belongs to; the folder of its measurements.
RUN, MEASURED = "deploy.json", "measured"
#: Raised when the meaning of what is measured changes.
LAYOUT = 1


class Records:
    """The records of one run, in a folder or, where `out` is None, nowhere.

    `run` is what the measurements depend on. InputError where the folder is a file, or holds another run.
    """

    def __init__(self, out: str | Path | None, run: Mapping[str, Any]) -> None:
        self.folder = None if out is None else Path(out)
        if self.folder is None:
            return
        run = {"layout": LAYOUT, **run}
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"out is {out}, a file, expected a folder")
        path = self.folder / RUN
        if not path.exists():
            write_record(path, {**run, "commit": commit()})
            return
        before = read_record(path)
        other = [name for name, value in run.items() if before.get(name) != value]
        if other:
            raise InputError(
                f"{out} holds another run (its {', '.join(other)} {'differs' if len(other) == 1 else 'differ'}): "
                "choose another folder, or delete this one"
            )

    def kept(self, name: str, measure: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """The rows under a name, as they were kept, or measured and kept; a damaged record is measured again."""
        if self.folder is None:
            return measure()
        path = self.folder / MEASURED / f"{key_of(name)}.json"
        if path.exists():
            try:
                return read_record(path)["rows"]
            except InputError:
                path.unlink()
        rows = measure()
        write_record(path, {"name": name, "rows": rows})
        return rows

    def kept_arrays(self, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Named arrays, as they were kept in ``NAME.safetensors``, or made and kept; damaged ones are made again."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.safetensors"
        if path.exists():
            try:
                if read_metadata(path).get("digest") == content_digest(arrays := read_arrays(path)):
                    return arrays
            except InputError:
                pass
        arrays = make()
        write_arrays(path, arrays, {"digest": content_digest(arrays)})
        return arrays

    def write_answer(self, found: Deployment) -> None:
        """Write table.csv, answer.md, figure.svg and figure.html."""
        from fico_utils.extras.deploy.figure import hover_page

        picture = found.figure()
        write_text(self.folder / "table.csv", csv_text(found.table))
        write_text(self.folder / "answer.md", found.answer)
        write_text(self.folder / "figure.svg", picture.render("svg").decode())
        write_text(self.folder / "figure.html", hover_page(found))
