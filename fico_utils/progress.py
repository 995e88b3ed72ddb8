"""How far long work has come: a bar on a terminal and in a notebook, a line every ten seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

#: Seconds between two lines in a log. Work that ends sooner says nothing there.
INTERVAL = 10


def show_progress(
    iterable: Iterable[Any] | None = None,
    description: str = "",
    total: int | None = None,
    *,
    unit: str = "step",
    initial: int = 0,
    shown: bool = True,
    leave: bool = True,
) -> Any:
    """`iterable`, with its progress shown while it is read; without one, something whose `update(n)` is called.

    Parameters
    ----------
    iterable : iterable, optional
    description : str, what is being done.
    total : int, optional, number of steps; the length of `iterable` by default.
    unit : str, what a step is called.
    initial : int, number of steps that were done before.
    shown : bool, False shows nothing.
    leave : bool, whether the bar stays where it is when all is done.

    Returns
    -------
    An object of tqdm: iterable, a context manager, with `update`, `set_postfix` and `close`.
    """
    from tqdm.auto import tqdm

    options = {"desc": description, "total": total, "unit": unit, "initial": initial, "disable": not shown}
    if unit == "B":
        options |= {"unit_scale": True}
    if not shown or sys.stderr.isatty() or _in_notebook():
        return tqdm(iterable, leave=leave, **options)
    return _line_progress()(iterable, leave=False, **options)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


def _line_progress() -> type:
    """tqdm whose states are lines, below each other."""
    from tqdm import tqdm

    class LineProgress(tqdm):
        """States as lines of text: `description: 3/9 files, 00:12 so far, 00:24 left`."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.last_line = time.monotonic()
            shape = "{desc}: {n_fmt}/{total_fmt} {unit}, {elapsed} so far, {remaining} left{postfix}"
            super().__init__(*arguments, bar_format=shape, **options)

        def display(self, *arguments: Any, **options: Any) -> bool:
            """Write a line, if the last one is long enough ago."""
            if time.monotonic() - self.last_line < INTERVAL or self.n >= (self.total or float("inf")):
                return False
            self.last_line = time.monotonic()
            return super().display(*arguments, **options)

        @staticmethod
        def status_printer(file: Any) -> Any:
            """A function that writes a state as a line."""

            def write(text: str) -> None:
                if text:
                    file.write(f"{text}\n")
                    file.flush()

            return write

        def clear(self, *_: Any, **__: Any) -> None:
            """A line stays."""

        def moveto(self, n: int) -> None:
            """Lines have no cursor to move."""

    return LineProgress
