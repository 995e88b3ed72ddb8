"""One notebook in one process: ``python -m fico_utils.batch.worker`` with a request on stdin.

The request is JSON (notebook, output, cwd, parameters). Events go to stdout, one JSON object a line:
``kernel`` (its process id), ``cell`` and ``heading`` (of what starts), ``peak`` (bytes), ``error`` (last
line of what went wrong outside a cell). All else, the kernel's own output too, goes to stderr, the log.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from fico_utils.machine import peak_memory


def headings(cells: list[dict[str, Any]]) -> list[str]:
    """For each cell the last Markdown heading above it, without the hashes; empty before the first.

    >>> headings([{"cell_type": "markdown", "source": "# 4 Costs"}, {"cell_type": "code", "source": "1"}])
    ['4 Costs', '4 Costs']
    """
    found, heading = [], ""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            lines = [line for line in "".join(cell["source"]).splitlines() if line.startswith("#")]
            heading = lines[-1].lstrip("#").strip() if lines else heading
        found.append(heading)
    return found


def main() -> int:
    """Exit code of the execution: 0 where every cell ran."""
    request = json.load(sys.stdin)
    # Whatever is printed by libraries or by the kernel, which inherits this descriptor, belongs to the log.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    state: dict[str, int] = {}

    def tell(**event: Any) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    threading.Thread(target=_watch_parent, args=(os.getppid(), state), daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("papermill").setLevel(logging.INFO)
    code = 0
    try:
        _execute(request, tell, state)
    except BaseException as error:  # a dead kernel, a broken notebook: anything must reach the manifest
        lines = str(error).strip().splitlines()
        tell(error=f"{type(error).__name__}: {lines[-1] if lines else ''}".rstrip(": "))
        code = 1
    tell(peak=peak_memory() + peak_memory(children=True))  # this process lives while the kernel peaks, so they add
    return code


def _execute(request: dict[str, Any], tell: Any, state: dict[str, int]) -> None:
    # jsonschema would spend two seconds on a grammar of web addresses, for a check that no notebook asks for
    sys.modules["rfc3987_syntax"] = None
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import Engine, papermill_engines
    from papermill.execute import execute_notebook
    from papermill.log import logger

    class ReportingEngine(Engine):
        """papermill's engine, which says what it is doing."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **_: Any) -> Any:
            """The executed notebook."""
            titles = headings(nb_man.nb.cells)
            client = PapermillNotebookClient(
                nb_man, timeout=None, startup_timeout=60, kernel_name=kernel_name, log=logger, log_output=True
            )

            def started(cell: Any, cell_index: int) -> None:
                if "kernel" not in state:
                    state["kernel"] = client.km.provisioner.pid
                    tell(kernel=state["kernel"])
                tell(cell=cell.get("id", str(cell_index)), heading=titles[cell_index])

            client.on_cell_start = started
            return client.execute()

    papermill_engines.register("reporting", ReportingEngine)
    # papermill formats paths with str.format, so that braces in a folder's name have to be doubled
    notebook, output = (request[n].replace("{", "{{").replace("}", "}}") for n in ("notebook", "output"))
    execute_notebook(
        notebook,
        output,
        request["parameters"],
        engine_name="reporting",
        progress_bar=False,
        log_output=True,
        cwd=request["cwd"],
    )


def _watch_parent(parent: int, state: dict[str, int]) -> None:
    """End with the runner, also when it is killed outright: nothing may go on writing unseen."""
    while os.getppid() == parent:
        time.sleep(0.5)
    if "kernel" in state:
        os.kill(state["kernel"], signal.SIGINT)  # lets the cell remove its temporary files
        time.sleep(1)
    os._exit(1)  # the kernel notices that its parent is gone and ends by itself


if __name__ == "__main__":
    sys.exit(main())
