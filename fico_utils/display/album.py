"""What a notebook shows of a run: figures and tables, each made once and written at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fico_utils.display.figures import FIGURES
from fico_utils.display.picture import save_picture
from fico_utils.display.tables import TABLES
from fico_utils.workspace import Run


class Album:
    """Every figure and table that can be made of some tables (``metrics``, ``costs``, ``stored``) of a run."""

    def __init__(self, run: Run, **tables: Any) -> None:
        self.run, self.tables = run, tables
        self.made: dict[str, Any] = {}

    def show(self, name: str) -> Any:
        """The `Picture` or `Table` of a name; None where there is nothing to draw."""
        if name not in self.made:
            self.made[name] = {**FIGURES, **TABLES}[name].make(self.tables)
        return self.made[name]

    def save(self) -> list[Path]:
        """Paths of the files of every table and figure, shown or not, just written."""
        paths = [path for name in TABLES if self.show(name) for path in self.show(name).write(self.run)]
        drawn = [name for name in FIGURES if self.show(name)]
        return paths + [path for name in drawn for path in save_picture(self.show(name), self.run, name)]
