"""Runs the chosen steps, independent ones side by side, and says how it goes: a bar on a terminal, lines elsewhere.

The manifest of a step is written last and atomically: no manifest, no success. Killing a run loses the steps that were
running and nothing else, and inside them only the artefact being made, as each has its own recipe.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from tqdm import tqdm

from fico_utils.batch.notebook import Execution
from fico_utils.batch.pipeline import Batch, Step, step_state
from fico_utils.escaping import one_line
from fico_utils.files import (
    RECORD,
    RECORDED,
    file_row,
    key_of,
    note,
    recorded_files,
    remove_unfinished,
    write_record,
)
from fico_utils.locks import hold_locks, write_owner
from fico_utils.machine import describe_machine
from fico_utils.progress import show_progress
from fico_utils.provenance import said_by
from fico_utils.stopping import handle_signals
from fico_utils.workspace import kernel_environment


def run_steps(
    batch: Batch,
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

    At most `jobs` steps run at a time; `beside_others` lets other processes run other steps in the same folder.
    """
    outcome: dict[str, str] = {}
    waiting, running = list(chosen), {}
    with ExitStack() as stack:
        held = chosen if beside_others else batch.steps
        stack.enter_context(hold_locks(batch.root / "runs", [step.notebook for step in held]))
        if not beside_others:
            remove_unfinished(batch.root)  # what a killed run left
            stack.callback(remove_unfinished, batch.root)
        pool = stack.enter_context(ThreadPoolExecutor(max(1, jobs)))
        bar = stack.enter_context(show_progress(total=len(chosen), shown=not quiet, leave=False))
        _ = batch.package  # once, here: Python 3.11 may fail where two threads parse at a time
        try:
            while waiting or running:
                step = _next_step(waiting, [s for s, _ in running.values()], jobs)
                if step is None:
                    outcome |= _wait_for_steps(running, bar)
                    continue
                waiting.remove(step)
                failed = next((need for need in step.needs if outcome.get(need) == "failed"), None)
                if failed:
                    outcome[step.id] = "blocked"
                    end_step(bar, step, f"not run: needs {failed}, which failed")
                elif not force and step_state(batch, step).name == "fresh":
                    outcome[step.id] = "fresh"
                    end_step(bar, step, "fresh, skipped")
                else:
                    execution = Execution()
                    write_owner(batch.root / "runs", step.notebook, working=True)
                    running[pool.submit(run_step, batch, step, execution)] = step, execution
        except BaseException:
            handle_signals(signal.SIG_IGN)  # a second Ctrl-C must not leave a kernel
            for _, execution in running.values():
                execution.stop()
            raise
    return outcome


def _next_step(waiting: Sequence[Step], running: Sequence[Step], jobs: int) -> Step | None:
    """The first step that may start beside those that are running; none overtakes one that has to run alone."""
    unfinished = {step.id for step in (*waiting, *running)}
    if len(running) < jobs and not any(step.exclusive for step in running):
        for step in waiting:
            if unfinished.isdisjoint(step.needs):
                return None if step.exclusive and running else step
    return None


def _wait_for_steps(running: dict[Future, tuple[Step, Execution]], bar: tqdm) -> dict[str, str]:
    """Step id -> what happened to the steps that end within a second; they are taken out of those `running`."""
    outcome = {}
    show_running(bar, running.values())
    for done in wait(running, 1, FIRST_COMPLETED).done:
        record, (step, _) = done.result(), running.pop(done)
        outcome[step.id] = record["status"]
        if failed := record["failure"]:
            heading = f" ({failed['heading']})" if failed["heading"] else ""
            problem = f"step {step.id} failed in cell {failed['cell']}{heading}: {failed['error']}"
            end_step(bar, step, f"failed after {record['seconds']:.0f} s", problem)
        else:
            end_step(bar, step, f"done in {record['seconds']:.0f} s")
    return outcome


def show_running(bar: tqdm, running: Iterable[tuple[Step, Execution]]) -> None:
    """Show which steps are running, and the heading of the cell that each is at."""
    texts = (f"{step.notebook} · {execution.heading[:50]}".rstrip(" ·") for step, execution in running)
    bar.set_description_str(" | ".join(texts))


def end_step(bar: tqdm, step: Step, text: str, problem: str = "") -> None:
    """Say that a step has ended; a `problem` is said on stderr even when the bar is not shown."""
    bar.update()
    with bar.external_write_mode():
        if not bar.disable:
            print(f"[{bar.n}/{bar.total}] {step.notebook}: {text}", flush=True)
        if problem:
            print(one_line(problem), file=sys.stderr, flush=True)


def run_step(batch: Batch, step: Step, execution: Execution | None = None) -> dict[str, Any]:
    """The manifest of one execution of a step's notebook, just written.

    KeyboardInterrupt where the execution was stopped; no manifest is left then.
    """
    execution = execution or Execution()
    parts, parameters, folder = batch.parts(step), batch.parameters(step), batch.runs(step)
    began, record = datetime.now(UTC), folder / RECORDED
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    note("began", folder, record=record)
    environment = kernel_environment(batch.settings, batch.threads) | {RECORD: str(record)}
    execution.run(batch.folder / f"{step.notebook}.ipynb", folder, parameters, environment)
    if execution.stopped.is_set():
        raise KeyboardInterrupt
    inputs, outputs = recorded_files(record, batch.root)
    shown = (folder / f"{step.notebook}.ipynb", folder / "log.txt")
    outputs += [file_row(path, batch.root) for path in shown if path.is_file()]
    ended = datetime.now(UTC)
    seconds = (ended - began).total_seconds()
    changes = said_by("git", "status", "--porcelain")
    manifest = {
        "step": step.id,
        "notebook": step.notebook,
        "status": "failed" if execution.failure else "ok",
        "failure": execution.failure,
        "key": key_of(parts, [[row["path"], row["sha256"]] for row in inputs]),
        "profile": batch.profile,
        "parameters": parameters,
        "seed": batch.settings.get("seed"),
        "threads": {"native": batch.threads, "PYTHONHASHSEED": "0"},
        "start": began.isoformat(timespec="seconds"),
        "end": ended.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "phases": execution.phases,
        "untracked_seconds": round(max(0.0, seconds - sum(row["seconds"] for row in execution.phases)), 3),
        "peak_memory_bytes": execution.peak,
        "git": {"commit": said_by("git", "rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)},
        "environment": describe_machine(),
        "inputs": inputs,
        "outputs": outputs,
        "made_from": parts,
    }
    write_record(folder / "manifest.json", manifest)
    return manifest
