"""A notebook as a file: its parameters; and its execution in a kernel of its own, which may be stopped."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError
from fico_utils.files import write_text

#: What a kernel is asked at the end: the most memory that it held, B.
PEAK = "__import__('fico_utils.machine').machine.peak_memory()"
PATIENCE = 5  # seconds that a kernel has to end after it was interrupted
STARTUP = 600  # seconds that a kernel has to start, from a slow disk, too, unless it dies
#: Arguments of a kernel: it does not warn of its transport, and ends where its parent died while it started. From then
#: on ipykernel itself watches the parent, every second.
KERNEL_ARGUMENTS = ["--log-level=40"]
if os.name == "posix":
    ORPHAN = "__import__('os').getppid() != int(__import__('os').environ['JPY_PARENT_PID'])"
    KERNEL_ARGUMENTS.append(f"--IPKernelApp.exec_lines=if {ORPHAN}: __import__('os')._exit(1)")


def read_notebook(path: Path) -> dict[str, Any]:
    """The JSON of a notebook, sources joined; InputError where the file is missing or no notebook."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
    except FileNotFoundError as error:
        raise InputError(f"notebook {path} does not exist; expected one file per step in {path.parent}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a notebook (not JSON with cells); restore it, for example with git") from error
    return notebook


def declared_parameters(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> default of the cell tagged ``parameters``; InputError where one is not a literal."""
    tagged = [c["source"] for c in notebook["cells"] if "parameters" in c.get("metadata", {}).get("tags", [])]
    defaults: dict[str, Any] = {}
    try:
        for node in ast.parse("\n".join(tagged)).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
                defaults[name] = ast.literal_eval(node.value)
    except SyntaxError as error:
        raise InputError(f"the parameters cell is no Python ({error.msg}, line {error.lineno}); mend it") from error
    except ValueError as error:
        raise InputError(f"parameter {name} is {ast.unparse(node.value)}; expected a literal") from error
    return defaults


class Execution:
    """One execution of a notebook: `run` in a thread, `stop` from another."""

    def __init__(self) -> None:
        self.heading, self.cell = "", "?"  # the last Markdown heading above the running cell; the cell's id
        self.failure: dict[str, str] | None = None  # cell, heading and last line of the error, where one was raised
        self.phases: list[dict[str, Any]] = []  # heading, seconds and number of cells, in reading order
        self.peak: int | None = None  # most memory that the kernel held, B
        self.kernel: Any = None
        self.stopped, self.over = threading.Event(), threading.Event()

    def run(self, path: Path, target: Path, parameters: dict[str, Any], environment: dict[str, str]) -> None:
        """Execute a notebook where it lies; the folder `target` gets it with its outputs, and ``log.txt``."""
        # jsonschema would spend two seconds on a grammar of web addresses, for a check that no notebook asks for
        sys.modules.setdefault("rfc3987_syntax", None)
        import nbformat
        from nbclient import NotebookClient
        from papermill.iorw import load_notebook_node
        from papermill.parameterize import parameterize_notebook

        content = None
        try:
            content = load_notebook_node(str(path))
            if parameters:
                content = parameterize_notebook(content, parameters)
            client = NotebookClient(content, timeout=None, startup_timeout=STARTUP, extra_arguments=KERNEL_ARGUMENTS)
            self.kernel = client.create_kernel_manager()
            with open(target / "log.txt", "w", encoding="utf-8") as printed:
                start = {"env": environment, "cwd": str(path.parent), "stdout": printed, "stderr": printed}
                with client.setup_kernel(**start):
                    for index, cell in enumerate(content.cells):
                        self._run_cell(client, cell, index)
                        printed.writelines(o.text for o in cell.get("outputs", []) if o.output_type == "stream")
                        printed.flush()
                    with suppress(Exception):  # a number for the manifest, not worth a failure
                        reply = client.wait_for_reply(client.kc.execute("", silent=True, user_expressions={"B": PEAK}))
                        self.peak = int(reply["content"]["user_expressions"]["B"]["data"]["text/plain"])
                    client.set_widgets_metadata()
        except BaseException as error:  # a dead kernel, a broken notebook: anything must reach the manifest
            name, text = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
            line = f"{name}: {(text.strip().splitlines() or [''])[0]}".rstrip(": ")
            self.failure = {"cell": self.cell, "heading": self.heading, "error": line}
        finally:
            self.over.set()
            if content is not None and not self.stopped.is_set():
                write_text(target / path.name, nbformat.writes(content) + "\n")

    def _run_cell(self, client: Any, cell: Any, index: int) -> None:
        """Execute a cell of code, its time added to the phase of its heading."""
        if self.stopped.is_set():
            raise KeyboardInterrupt
        self.cell = cell.get("id", str(index))
        if cell.cell_type != "code":
            titles = [line.lstrip("#").strip() for line in cell.source.splitlines() if line.startswith("#")]
            self.heading = [self.heading, *titles][-1]
            return
        if not self.phases or self.phases[-1]["heading"] != self.heading:
            self.phases.append({"heading": self.heading, "seconds": 0.0, "cells": 0})
        began, phase = time.monotonic(), self.phases[-1]
        try:
            client.execute_cell(cell, index, execution_count=client.code_cells_executed + 1)
        finally:
            phase["seconds"] = round(phase["seconds"] + time.monotonic() - began, 3)
            phase["cells"] += 1

    def stop(self) -> None:
        """Interrupt the running cell, so that it tidies up; kill the kernel of an unwilling one."""
        self.stopped.set()
        for end in (lambda kernel: kernel.send_signal(signal.SIGINT), lambda kernel: kernel.kill()):
            with suppress(Exception):  # it has not started yet, or ends by itself meanwhile
                asyncio.run(end(self.kernel.provisioner))
            if self.over.wait(PATIENCE):
                return
