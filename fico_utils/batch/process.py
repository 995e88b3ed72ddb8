"""Start the process that executes a notebook, follow what it says, end it in order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fico_utils.workspace import PROJECT, write_text

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
#: Each kernel start prints these; they say nothing about the notebook.
NOISE = re.compile(
    r"unencrypted TCP|\bTCP\b.*(encrypt|security)|frozen modules|Debugger warning|PYDEVD|Xfrozen_modules|"
    r"make the debugger miss breakpoints|to python to disable frozen|Debugging will proceed"
)


def environment(changed: dict[str, Any], threads: int) -> dict[str, str]:
    """Variables of the notebook's process: threads, this environment's kernel, overrides for `setup`."""
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
        "JUPYTER_PREFER_ENV_PATH": "1",  # not a kernel of the same name in the home folder
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "FICO_UTILS_SETTINGS": json.dumps(changed),
    }


def execute(
    request: dict[str, Any],
    log: Path,
    environment: dict[str, str],
    on_cell: Callable[[str], None],
) -> dict[str, Any]:
    """The last event of each kind that the worker told: ``kernel``, ``cell``, ``heading``, ``peak``, ``error``."""
    with open(log, "w", encoding="utf-8") as stderr:
        # A session of its own, so that Ctrl-C reaches only the runner, which ends the notebook in order.
        worker = subprocess.Popen(
            [sys.executable, "-m", "fico_utils.batch.worker"],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr, "text": True},
            env=environment,
            start_new_session=True,
        )
    events: dict[str, Any] = {}
    try:
        with suppress(BrokenPipeError), worker.stdin as stdin:
            json.dump(request, stdin)
        for line in worker.stdout:
            event = json.loads(line)
            events.update(event)
            if "heading" in event:
                on_cell(event["heading"])
        worker.wait()
    except BaseException:
        _end(worker, events.get("kernel"))
        raise
    if worker.returncode < 0:
        events["error"] = f"the notebook's process was ended by {signal.Signals(-worker.returncode).name}"
    return events


def _end(worker: subprocess.Popen, kernel: int | None) -> None:
    """Interrupt the running cell, so that it tidies up; then, for the unwilling, terminate and kill."""
    attempts = [(kernel, signal.SIGINT, 5), (worker.pid, signal.SIGTERM, 5), (worker.pid, signal.SIGKILL, 5)]
    for pid, number, seconds in attempts:
        if pid is None or worker.poll() is not None:
            continue
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(seconds)
    if kernel is not None:
        with suppress(ProcessLookupError):
            os.kill(kernel, signal.SIGKILL)


def quieten(log: Path) -> None:
    """Take out of a log what each kernel start prints and means nothing."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if log.is_file() else []
    kept = [line for line in lines if not NOISE.search(line)]
    if len(kept) < len(lines):
        write_text(log, "".join(kept))
