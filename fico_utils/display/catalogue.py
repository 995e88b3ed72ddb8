"""Figures and tables by name; each registers itself by a decorator beside the function that makes it."""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A figure or a table; called with what it reads, it gives the `Picture` or the `Table`."""

    title: str  # what it shows, for headings and lists
    function: Callable[..., Any]
    reads: tuple[str, ...]  # what the function takes, in order: metrics, costs, stored, seeds, example
    when: Callable[..., bool] | None  # of what is read: false where there is nothing to draw

    def __call__(self, *tables: Any, **options: Any) -> Any:
        return self.function(*tables, **options)

    def make(self, tables: Mapping[str, Any]) -> Any:
        """The same from a mapping of everything there is; None where a table is missing or there is nothing to draw."""
        if any(name not in tables for name in self.reads):
            return None
        given = [tables[name] for name in self.reads]
        return self(*given) if self.when is None or self.when(*given) else None


#: Name, which is the stem of its files -> entry.
FIGURES: dict[str, Entry] = {}
TABLES: dict[str, Entry] = {}


def _register(entries: dict[str, Entry], name: str, title: str, *reads: str, when=None, **options: Any) -> Callable:
    """Decorator that enters a function under a name; it is called with `options`, the others are fields of `Entry`."""

    def enter(function: Callable) -> Callable:
        assert name not in entries, f"two entries are called {name}"
        entries[name] = Entry(title, partial(function, **options), reads, when)
        return function

    return enter


register_figure = partial(_register, FIGURES)
register_table = partial(_register, TABLES)


def load_entries(entries: dict[str, Entry], first: str, *packages: str) -> None:
    """Import every module of some packages, then sort what they entered: names that begin with `first` in front."""
    for package in packages:
        for module in pkgutil.iter_modules(importlib.util.find_spec(package).submodule_search_locations):
            importlib.import_module(f"{package}.{module.name}")
    for name in sorted(entries, key=lambda name: (not name.startswith(first), name)):
        entries[name] = entries.pop(name)
