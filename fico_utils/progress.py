"""How far long work has come: a bar on a terminal and in a notebook, a line every ten seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

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
) -> tqdm:
    """`iterable`, with its progress shown while it is read; without one, something whose `update(n)` is called.

    Of `total` steps, each a `unit`, `initial` were done before; with `leave`, the bar stays when all is done.
    """
    from tqdm.auto import tqdm as bar

    options = {"desc": description, "total": total, "unit": unit, "initial": initial, "disable": not shown}
    options["unit_scale"] = unit == "B"
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    in_notebook = shell is not None and "IPKernelApp" in shell.config
    if not shown or sys.stderr.isatty() or in_notebook:
        return bar(iterable, leave=leave, **options)
    return LineProgress(iterable, leave=False, **options)


class LineProgress(tqdm):
    """States as lines of text, below each other: `description: 3/9 files, 00:12 so far, 00:24 left`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.last_line = time.monotonic()
        shape = "{desc}: {n_fmt}/{total_fmt} {unit}, {elapsed} so far, {remaining} left{postfix}"
        super().__init__(*arguments, bar_format=shape, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line, if the last one is long enough ago and work is left."""
        due = time.monotonic() - self.last_line >= INTERVAL and self.n < (self.total or float("inf"))
        if due and msg is None:
            self.last_line = time.monotonic()
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def clear(self, *_: Any, **__: Any) -> None:
        """A line stays."""
