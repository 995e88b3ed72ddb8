"""Figures and tables by name; each registers itself by a decorator beside the function that makes it."""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from fico_utils.display.rows import NothingMeasuredError


@dataclass(frozen=True)
class Entry:
    """A figure or a table; called with what it reads, it gives the `Picture` or the `Table`."""

    title: str  # what it shows: heading of a figure, begin of the caption of a table
    function: Callable[..., Any]
    reads: tuple[str, ...]  # what the function takes, in order: metrics, costs, stored, seeds, example

    def __call__(self, *tables: Any, **options: Any) -> Any:
        return self.function(*tables, **options)

    @property
    def sentence(self) -> str:
        """What a figure shows, for listeners: the first line about its function."""
        text = re.sub(r"^Figure \w+: ", "", inspect.getdoc(self.function.func).partition("\n")[0])
        return text if text.startswith("mAP") else text[0].upper() + text[1:]

    def make(self, tables: Mapping[str, Any]) -> Any:
        """The same from a mapping of everything there is; None where a table is missing or there is nothing to draw."""
        if not tables.keys() >= {*self.reads}:
            return None
        try:
            return self(*(tables[name] for name in self.reads))
        except NothingMeasuredError:
            return None


class Catalogue(dict[str, Entry]):
    """Entries by name, which is the stem of their files."""

    def register(self, name: str, title: str, /, *reads: str, **options: Any) -> Callable:
        """Decorator that enters a function, to be called with `options`; the rest are fields of `Entry`."""

        def enter(function: Callable) -> Callable:
            assert name not in self, f"two entries are called {name}"
            self[name] = Entry(title, partial(function, **options), reads)
            return function

        return enter

    def load_modules(self, first: str, *packages: str) -> None:
        """Import every module of some packages, then sort what they entered: names that begin with `first` in front."""
        for package in packages:
            for module in pkgutil.iter_modules(importlib.util.find_spec(package).submodule_search_locations):
                importlib.import_module(f"{package}.{module.name}")
        for name in sorted(self, key=lambda name: (not name.startswith(first), name)):
            self[name] = self.pop(name)

    def make_entry(self, name: str, *tables: Any, **options: Any) -> Any:
        """What a name stands for, made of tables: ``draw_figure("fig3", metrics, corpora=["picto_people"])``."""
        return self[name](*tables, **options)


FIGURES, TABLES = Catalogue(), Catalogue()
register_figure, register_table = FIGURES.register, TABLES.register
draw_figure, make_table = FIGURES.make_entry, TABLES.make_entry
