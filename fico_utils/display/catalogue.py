"""Figures and tables by name. Each registers itself by a decorator beside the function that makes it.

`FIGURES` and `TABLES` hold what the modules below `figures/`, `tables/` and the same folders of the extras register.
Notebook, report and tests loop over them, so a new figure is one function with its decorator, and a cell that shows it.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

FIGURES: dict[str, Entry] = {}
TABLES: dict[str, Entry] = {}


def _always(*tables: Any) -> bool:
    return True


@dataclass(frozen=True)
class Entry:
    """A figure or a table.

    Attributes
    ----------
    name : str, the stem of its files.
    title : str, what it shows, for headings and lists.
    function : callable, makes a `Picture` or a `Table` of what it reads.
    reads : tuple of str, what the function takes, in order: ``metrics``, ``costs``, ``stored``, ``seeds``, ``example``.
    corpora : bool, whether it takes ``corpora=[...]``, those of ours to show, and draws each of them.
    options : dict, keywords that this entry passes on.
    when : callable of what is read; false where there is nothing to draw.
    """

    name: str
    title: str
    function: Callable[..., Any]
    reads: tuple[str, ...] = ()
    corpora: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    when: Callable[..., bool] = _always

    def __call__(self, *tables: Any, **options: Any) -> Any:
        """The `Picture` or `Table`, made of what it reads."""
        return self.function(*tables, **{**self.options, **options})

    def make(self, tables: Mapping[str, Any]) -> Any:
        """The same from a mapping of everything there is; None where a table is missing or there is nothing to draw."""
        if any(name not in tables for name in self.reads):
            return None
        given = [tables[name] for name in self.reads]
        return self(*given) if self.when(*given) else None


def register_figure(name: str, title: str, *reads: str, **fields: Any) -> Callable:
    """Decorator that enters a function into `FIGURES`; `fields` are those of `Entry`, other keywords its options."""
    return _register(FIGURES, name, title, reads, fields)


def register_table(name: str, title: str, *reads: str, **fields: Any) -> Callable:
    """Decorator that enters a function into `TABLES`; `fields` are those of `Entry`, other keywords its options."""
    return _register(TABLES, name, title, reads, fields)


def _register(entries: dict[str, Entry], name: str, title: str, reads: tuple[str, ...], fields: dict) -> Callable:
    options = {key: value for key, value in fields.items() if key not in Entry.__dataclass_fields__}
    own = {key: value for key, value in fields.items() if key in Entry.__dataclass_fields__}

    def enter(function: Callable) -> Callable:
        assert name not in entries, f"two entries are called {name}"
        entries[name] = Entry(name, title, function, reads, options=options, **own)
        return function

    return enter


def import_modules(*folders: str) -> None:
    """Import every module of some packages, named by their dotted names, so that their entries are registered."""
    for folder in folders:
        for module in pkgutil.iter_modules(importlib.util.find_spec(folder).submodule_search_locations):
            importlib.import_module(f"{folder}.{module.name}")


def sort_entries(entries: dict[str, Entry], first: str) -> None:
    """Put those whose names begin with `first` in front, in order; then the others by name."""
    order = sorted(entries, key=lambda name: (not name.startswith(first), name))
    for name in order:
        entries[name] = entries.pop(name)
