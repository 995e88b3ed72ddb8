"""In the kernel of a notebook: before a cell runs, forks of the kernel run it, in each of which one call fails.

A fork stands for a run of its own that came as far as this cell: it goes on with the cell, ends where its call failed,
and says how. Once a fork meets no call that has not failed before, the kernel runs the cell itself, on top of what all
these accidents left. IPython's startup file `STARTUP` begins it; `faulty.c` makes the calls fail.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fico_utils.files import remove_unfinished

STARTUP = "from tests.faults import probing\n\nprobing.watch_cells(get_ipython())\n"
#: Variables of a kernel: the state file of `faulty.c`, and the file to which the forks say how they ended.
STATE, TOLD = "PROBE_STATE", "PROBE_TOLD"


def probing_environment(folder: Path, state: Path, told: Path) -> dict[str, str]:
    """Variables of a run whose kernels fail in forks; `folder` is to hold IPython's profile."""
    startup = folder / "profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "00-probing.py").write_text(STARTUP)
    return {"IPYTHONDIR": str(folder), STATE: str(state), TOLD: str(told)}


def watch_cells(shell: Any, environment: Mapping[str, str] = os.environ) -> None:
    """Probe each cell of a kernel before it runs."""
    root, state, told = (Path(environment[name]) for name in ("FAULT_BELOW", STATE, TOLD))

    def probe(info: Any) -> None:
        while os.getpid() == kernel:
            before = failed_calls(state)
            child = os.fork()
            if not child:
                fork_ends_after_cell(shell, told, before, state)
                os.environ["FAULT_STATE"] = str(state)
                return  # to the cell, as the kernel does
            _, status = os.waitpid(child, 0)
            remove_unfinished(root)  # as the runner does
            hidden = [p.name for p in root.rglob(".*") if p.is_file() and p.suffix not in (".lock", ".pid")]
            if status or hidden:
                say(told, {"new": failed_calls(state)[len(before) :], "status": status, "hidden": hidden})
            if status or failed_calls(state) == before:
                return

    kernel = os.getpid()
    shell.events.register("pre_run_cell", probe)


def fork_ends_after_cell(shell: Any, told: Path, before: list[str], state: Path) -> None:
    """Let this fork of a kernel be silent, and end when its cell has ended."""

    def end(result: Any) -> None:
        error = result.error_before_exec or result.error_in_exec
        said = error and f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"  # as `Execution`
        say(told, {"new": failed_calls(state)[len(before) :], "said": said})
        os._exit(0)

    shell.kernel.session.send = lambda *_, **__: {}
    sys.stdout = sys.stderr = io.StringIO()
    faulthandler.enable(file=sys.__stderr__)
    shell.events.register("post_run_cell", end)


def failed_calls(state: Path) -> list[str]:
    """The calls that have failed, in order."""
    return state.read_text(encoding="utf-8").splitlines() if state.is_file() else []


def say(told: Path, what: dict[str, Any]) -> None:
    """Append a line of JSON."""
    with told.open("a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\n")
