"""Run the chosen steps, independent ones side by side, and say how it goes: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any

from fico_utils.batch import runner
from fico_utils.batch.notebook import PATIENCE, Execution
from fico_utils.batch.pipeline import Step, all_needs
from fico_utils.files import remove_unfinished
from fico_utils.locks import hold_locks
from fico_utils.progress import show_progress

#: What is running: the future of its manifest, the step, and its execution.
Running = dict[Future, tuple[Step, Execution]]


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
    need it and no others. InputError where another run holds the folder or it cannot be written; KeyboardInterrupt when
    asked to stop, after the running notebooks have been ended and their half-written files removed.

    Parameters
    ----------
    jobs : int, number of steps that may run at a time.
    beside_others : bool, let other processes run other steps in the same folder meanwhile.
    """
    outcome: dict[str, str] = {}
    waiting, running, needs = list(chosen), {}, all_needs(batch.steps)
    with ExitStack() as stack:
        held = chosen if beside_others else batch.steps
        stack.enter_context(hold_locks(batch.root / "runs", [step.notebook for step in held]))
        # what schedulers and `kill` send stops a run as Ctrl-C does
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        stack.callback(signal.signal, signal.SIGTERM, before)
        pool = stack.enter_context(ThreadPoolExecutor(max(1, jobs)))
        progress = stack.enter_context(Progress(len(chosen), quiet))
        if not beside_others:
            remove_unfinished(batch.root)
        _ = batch.package  # once, here: Python 3.11 may fail where two threads parse at a time
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
                    execution = Execution()
                    running[pool.submit(runner.run_step, batch, step, execution)] = step, execution
        except BaseException:
            for _, execution in running.values():
                execution.stop()
            wait(running, 2 * PATIENCE)
            if not beside_others:
                remove_unfinished(batch.root)
            raise
    return outcome


def _next_step(waiting: Sequence[Step], running: Sequence[Step], needs: dict[str, set[str]], jobs: int) -> Step | None:
    """The first step that may start beside those that are running; none overtakes one that has to run alone."""
    unfinished = {step.id for step in (*waiting, *running)}
    if len(running) < jobs and not any(step.exclusive for step in running):
        for step in waiting:
            if not unfinished & needs[step.id]:
                return None if step.exclusive and running else step
    return None


def _collect(running: Running, outcome: dict[str, str], progress: Progress) -> None:
    """Wait, at most a second, for steps that end."""
    progress.show(running.values())
    for done in wait(running, 1, FIRST_COMPLETED).done:
        record, (step, _) = done.result(), running.pop(done)
        outcome[step.id] = record["status"]
        if failed := record["failure"]:
            place = f" in cell {failed['cell']}" if failed["cell"] else ""
            place += f" ({failed['heading']})" if failed["heading"] else ""
            problem = f"step {step.id} failed{place}: {failed['error']}"
            progress.end_step(step, f"failed after {record['seconds']:.0f} s", problem)
        else:
            progress.end_step(step, f"done in {record['seconds']:.0f} s")


class Progress:
    """A bar over the steps that names the running cells; a line now and then where there is no terminal."""

    def __init__(self, total: int, quiet: bool) -> None:
        self.quiet, self.done, self.total = quiet, 0, total
        self.bar = show_progress(total=total, shown=not quiet, leave=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, running: Iterable[tuple[Step, Any]]) -> None:
        """Show which steps are running, and the heading of the cell that each is at."""
        texts = (f"{step.notebook} · {execution.heading[:50]}".rstrip(" ·") for step, execution in running)
        self.bar.set_description_str(" | ".join(texts))

    def end_step(self, step: Step, text: str, problem: str = "") -> None:
        """Say that a step has ended; a `problem` is said on stderr even when quiet."""
        self.done += 1
        self.bar.clear()
        if not self.quiet:
            print(f"[{self.done}/{self.total}] {step.notebook}: {text}", flush=True)
        if problem:
            print(problem, file=sys.stderr, flush=True)
        self.bar.update()
        self.bar.refresh()
