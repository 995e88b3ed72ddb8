"""Run the chosen steps, independent ones side by side, and say how it goes: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any

from fico_utils.batch import runner
from fico_utils.batch.notebook import PATIENCE, Execution
from fico_utils.batch.pipeline import Step, all_needs
from fico_utils.files import remove_unfinished
from fico_utils.locks import hold_locks
from fico_utils.progress import show_progress


def run_steps(
    batch: runner.Batch,
    chosen: Sequence[Step],
    *,
    force: bool = False,
    quiet: bool = False,
    jobs: int = 1,
    beside_others: bool = False,
) -> dict[str, str]:
    """Step id -> what happened: ``fresh``, ``ok``, ``failed``, or ``blocked`` by one that failed before it.

    A step starts when all that it needs have ended; one that takes times runs alone. A failed step stops the steps that
    need it and no others.

    Parameters
    ----------
    jobs : int, number of steps that may run at a time.
    beside_others : bool, let other processes run other steps in the same folder meanwhile.

    Raises
    ------
    InputError
        Another run holds the folder, or it cannot be written.
    KeyboardInterrupt
        Asked to stop; the notebooks that were running have been ended and their half-written files removed.
    """
    outcome: dict[str, str] = {}
    waiting, running, needs = list(chosen), {}, all_needs(batch.steps)
    progress = Progress(len(chosen), quiet)
    names = [step.notebook for step in (chosen if beside_others else batch.steps)]
    with (
        hold_locks(batch.root / "runs", names),
        _interrupted_by_sigterm(),
        ThreadPoolExecutor(max(1, jobs)) as pool,
    ):
        if not beside_others:
            remove_unfinished(batch.root)
        try:
            while waiting or running:
                step = _next_step(waiting, [s for s, _ in running.values()], needs, jobs)
                if step is None:
                    _collect(running, outcome, progress)
                    continue
                waiting.remove(step)
                failed = [need for need in outcome if outcome[need] == "failed" and need in needs[step.id]]
                if failed:
                    outcome[step.id] = "blocked"
                    progress.end_step(step, f"not run: needs {failed[0]}, which failed")
                elif not force and runner.step_state(batch, step).name == "fresh":
                    outcome[step.id] = "fresh"
                    progress.end_step(step, "fresh, skipped")
                else:
                    execution = Execution(partial(progress.start_cell, step))
                    progress.start_cell(step, "")
                    running[pool.submit(runner.run_step, batch, step, execution)] = (step, execution)
        except BaseException:
            for _, execution in running.values():
                execution.stop()
            wait(running, 2 * PATIENCE)
            if not beside_others:
                remove_unfinished(batch.root)
            raise
        finally:
            progress.bar.close()
    return outcome


def _next_step(waiting: Sequence[Step], running: Sequence[Step], needs: dict[str, set[str]], jobs: int) -> Step | None:
    """The first step that may start beside those that are running; none overtakes one that has to run alone."""
    unfinished = {step.id for step in (*waiting, *running)}
    if len(running) < jobs and not any(step.exclusive for step in running):
        for step in waiting:
            if not unfinished & needs[step.id]:
                return None if step.exclusive and running else step
    return None


def _collect(running: dict[Future, tuple[Step, Execution]], outcome: dict[str, str], progress: Progress) -> None:
    """Wait, at most a second, for steps that end."""
    progress.refresh()
    for done in wait(running, 1, FIRST_COMPLETED).done:
        record = done.result()
        step, _ = running.pop(done)
        outcome[step.id] = record["status"]
        word = "done in" if record["status"] == "ok" else "failed after"
        progress.end_step(step, f"{word} {record['seconds']:.0f} s", describe_failure(record))


def describe_failure(record: dict[str, Any]) -> str:
    """Which cell of a failed step stopped it, and with what; empty where none did.

    >>> describe_failure({"step": "02", "failure": {"cell": "fit", "heading": "2.2 Fit", "error": "ValueError: no"}})
    'step 02 failed in cell fit (2.2 Fit): ValueError: no'
    """
    failed = record["failure"]
    if not failed:
        return ""
    place = f" in cell {failed['cell']}" if failed["cell"] else ""
    heading = f" ({failed['heading']})" if failed["heading"] else ""
    return f"step {record['step']} failed{place}{heading}: {failed['error']}"


class Progress:
    """A bar over the steps that names the running cells; a line now and then where there is no terminal."""

    def __init__(self, total: int, quiet: bool) -> None:
        self.quiet, self.done, self.total = quiet, 0, total
        self.cells: dict[str, str] = {}
        self.bar = show_progress(total=total, shown=not quiet, leave=False)

    def start_cell(self, step: Step, heading: str) -> None:
        """A cell below `heading` starts."""
        self.cells[step.notebook] = heading

    def refresh(self) -> None:
        """Show what is running, and how long it took so far."""
        texts = (f"{name} · {cell[:50]}".rstrip(" ·") for name, cell in list(self.cells.items()))
        self.bar.set_description_str(" | ".join(texts))

    def end_step(self, step: Step, text: str, problem: str = "") -> None:
        """A step has ended; a `problem` is said on stderr even when quiet."""
        self.done += 1
        self.cells.pop(step.notebook, None)
        self.bar.clear()
        if not self.quiet:
            print(f"[{self.done}/{self.total}] {step.notebook}: {text}", flush=True)
        if problem:
            print(problem, file=sys.stderr, flush=True)
        self.bar.update()
        self.refresh()


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, which schedulers and `kill` send, stop a run as Ctrl-C does."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
