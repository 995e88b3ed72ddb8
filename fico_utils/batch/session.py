"""Run the chosen steps in order and say how it goes: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fico_utils.batch import runner
from fico_utils.batch.pipeline import Step, dependants


def run(batch: runner.Batch, chosen: Sequence[Step], force: bool = False, quiet: bool = False) -> dict[str, str]:
    """Step id -> what happened: ``fresh``, ``ok``, ``failed``, or ``blocked`` by one that failed before it.

    A failed step stops the steps that need it and no others.

    Raises
    ------
    InputError
        Another run holds the folder, it cannot be written, or a package is missing.
    KeyboardInterrupt
        Asked to stop; the notebook that was running has been ended and its half-written files removed.
    """
    outcome: dict[str, str] = {}
    with runner.lock(batch.root), _terminable(), Progress(len(chosen), quiet) as progress:
        runner.sweep(batch.root)
        blocked: dict[str, str] = {}
        for step in chosen:
            progress.start(step)
            if step.id in blocked:
                outcome[step.id] = "blocked"
                progress.end(f"not run: needs {blocked[step.id]}, which failed")
                continue
            found, _ = runner.state(batch, step)
            if found.name == "fresh" and not force:
                outcome[step.id] = "fresh"
                progress.end("fresh, skipped")
                continue
            try:
                record = runner.run_step(batch, step, progress.cell)
            except KeyboardInterrupt:
                runner.sweep(batch.root)
                raise
            outcome[step.id] = record["status"]
            if record["status"] == "failed":
                progress.end(f"failed after {record['seconds']:.0f} s", describe(record))
                blocked |= {name: step.id for name in dependants(batch.steps, step.id) if name not in blocked}
            else:
                progress.end(f"done in {record['seconds']:.0f} s")
    return outcome


def run_one(batch: runner.Batch, step: Step, force: bool = False, quiet: bool = False) -> str:
    """What happened to one step: ``fresh``, ``ok`` or ``failed``; other steps may run beside it meanwhile.

    Raises
    ------
    InputError
        A whole run, or another run of this step, holds the folder.
    """
    with runner.lock(batch.root, step), _terminable(), Progress(1, quiet) as progress:
        progress.start(step)
        if runner.state(batch, step)[0].name == "fresh" and not force:
            progress.end("fresh, skipped")
            return "fresh"
        record = runner.run_step(batch, step, progress.cell)
        if record["status"] == "failed":
            progress.end(f"failed after {record['seconds']:.0f} s", describe(record))
        else:
            progress.end(f"done in {record['seconds']:.0f} s")
        return record["status"]


def describe(record: dict[str, Any]) -> str:
    """Which cell of a failed step stopped it, and with what.

    >>> describe({"step": "02", "failure": {"cell": "fit", "heading": "2.2 Fit", "error": "ValueError: no"}})
    'step 02 failed in cell fit (2.2 Fit): ValueError: no'
    """
    failed = record["failure"]
    place = f" in cell {failed['cell']}" if failed["cell"] else ""
    heading = f" ({failed['heading']})" if failed["heading"] else ""
    return f"step {record['step']} failed{place}{heading}: {failed['error']}"


class Progress:
    """One bar over the steps with the heading of the running cell; plain lines where there is no terminal."""

    def __init__(self, total: int, quiet: bool) -> None:
        from tqdm import tqdm

        self.quiet = quiet
        self.total = total
        self.done = 0
        shape = "{desc} {bar:20} {n_fmt}/{total_fmt} [{elapsed}]"
        self.bar = tqdm(total=total, bar_format=shape, leave=False) if sys.stderr.isatty() and not quiet else None
        self.step: Step | None = None
        self.over = threading.Event()

    def __enter__(self) -> Progress:
        if self.bar is not None:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        if self.bar is not None:
            self.bar.close()

    def _tick(self) -> None:
        """Keep the clock of the bar going during long cells."""
        while not self.over.wait(1):
            self.bar.refresh()

    def _line(self, text: str, write: Callable[[str], Any] = print) -> None:
        if self.bar is not None:
            self.bar.clear()
        write(text)
        if self.bar is not None:
            self.bar.refresh()

    def start(self, step: Step) -> None:
        """A step is looked at."""
        self.step = step
        if self.bar is not None:
            self.bar.set_description_str(step.notebook)

    def cell(self, heading: str) -> None:
        """A cell below `heading` starts."""
        if self.bar is not None:
            self.bar.set_description_str(f"{self.step.notebook} · {heading[:50]}")

    def end(self, text: str, problem: str | None = None) -> None:
        """A step has ended; a `problem` is said on stderr even when quiet."""
        self.done += 1
        if not self.quiet:
            self._line(f"[{self.done}/{self.total}] {self.step.notebook}: {text}", _say)
        if problem:
            self._line(problem, lambda line: print(line, file=sys.stderr, flush=True))
        if self.bar is not None:
            self.bar.update()
            self.bar.refresh()


def _say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, which schedulers and `kill` send, stop a run as Ctrl-C does."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
