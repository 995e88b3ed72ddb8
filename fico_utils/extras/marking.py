"""Marks the exercise notebooks that students hand back, with nothing done by hand.

Of a student's notebook, the answers count, and code cells that were added. Every other cell is put back as it was
handed out, so that an edited check changes nothing. What is run is the student's code, with the rights of whoever marks.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError
from fico_utils.escaping import one_line
from fico_utils.extras.exercises import NOT_ATTEMPTED, NOT_YET, PASSED
from fico_utils.provenance import project_folder
from fico_utils.workspace import kernel_environment

COLUMNS = ("student", "exercise", "outcome", "hint")
FAILED = "failed"
#: Where the notebooks may lie in a folder that a student hands back.
PLACES = ("", "exercises", "notebooks/exercises")
#: How many times as long as a student's cell one of ours may take, such as the first, which loads libraries.
SLOW = 10
#: The first line of a check, with the number of its exercise.
CHECK = re.compile(r'@exercises\.check\("([\d.]+)"')


def mark_folders(folders: Sequence[str | Path], limit: int, say: Callable[[str], None]) -> Iterator[list[str]]:
    """Rows of the `COLUMNS`, one for each student and exercise: ``passed``, ``failed`` and why, or ``not attempted``.

    Each folder is one student's, who is called as it is. `limit` is the seconds that a cell of theirs may take; `say` is
    called with a line for each student. InputError where one is no folder.
    """
    handed_out = sorted((project_folder("notebooks") / "exercises").glob("*.ipynb"))
    places = [Path(folder).resolve() for folder in folders]
    if missing := [str(place) for place in places if not place.is_dir()]:
        raise InputError(f"{missing[0]} is no folder; expected a folder for each student, with exercises/ in it")
    with (
        tempfile.TemporaryDirectory() as results
    ):  # shared, so that vectors are made once; content is checked when read
        for place in places:
            rows = [row for path in handed_out for row in _mark_notebook(place, path, limit, results)]
            say(f"{place.name}: {sum(row[1] == PASSED for row in rows)} of {len(rows)} exercises passed")
            yield from ([place.name, *row] for row in rows)


def _mark_notebook(place: Path, path: Path, limit: int, results: str) -> list[tuple[str, str, str]]:
    """(exercise, outcome, hint) for each exercise of the notebook that was handed out as `path`."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    names = [match[1] for cell in notebook.cells if (match := CHECK.match(cell.source))]
    found = next((place / where / path.name for where in PLACES if (place / where / path.name).is_file()), None)
    if found is None:
        return [(name, NOT_ATTEMPTED, f"there is no {path.name}") for name in names]
    try:
        theirs = nbformat.read(found, as_version=4).cells
    except Exception as error:  # whatever a file that is no notebook makes of the reader
        return [(name, FAILED, f"{path.name} is no notebook ({type(error).__name__})") for name in names]
    if not {_cell_id(cell) for cell in theirs} & {cell.id for cell in notebook.cells if _is_answer(cell)}:
        return [(name, FAILED, f"{path.name} has none of the cells to fill; it was written anew") for name in names]
    for cell in notebook.cells:
        cell.metadata["ours"] = not _is_answer(cell) and not CHECK.match(cell.source)
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += f"\nout_dir = {results!r}"
    notebook.cells = merge_answers(notebook.cells, theirs)
    return _run_checks(notebook, limit, results)


def merge_answers(ours: Sequence[Any], theirs: Sequence[Any]) -> list[Any]:
    """The cells of `ours`, with the answers of `theirs` and, where these stand, the code cells that they added."""
    import nbformat

    known, theirs_by_id, added, waiting = {cell.id for cell in ours}, {}, {}, []
    for cell in theirs:
        name = _cell_id(cell)
        if name in known and name not in theirs_by_id:
            theirs_by_id[name], added[name], waiting = cell.source, waiting, []
        elif name not in known and cell.cell_type == "code":
            waiting.append(nbformat.v4.new_code_cell(cell.source))
    for cell in ours:
        if _is_answer(cell):
            cell.source = theirs_by_id.get(cell.id, cell.source)
    return [cell for own in ours for cell in (*added.get(own.id, ()), own)]


def _run_checks(notebook: Any, limit: int, folder: str) -> list[tuple[str, str, str]]:
    """(exercise, outcome, hint) after all cells have run; a cell that does not end is emptied, and all run again."""
    cells, answers, checks = notebook.cells, [], {}
    for i, cell in enumerate(cells):
        answers += [i] if _is_answer(cell) else []
        if match := CHECK.match(cell.source):
            checks[i] = match[1]
    answer_of = {i: max(a for a in answers if a < i) for i in checks}
    endless = set()
    while (i := _run_cells(notebook, limit, folder)) is not None:
        if cells[i].metadata.get("ours"):
            hint = (
                f"cell {cells[i].id} of the exercise did not end in {SLOW * limit} s; mark again with a larger --limit"
            )
            return [(name, FAILED, hint) for name in checks.values()]
        i = answer_of[i] if i in checks and answer_of[i] not in endless else i
        endless.add(i)
        cells[i].source = ""
    rows = []
    for i, name in checks.items():
        if {i, answer_of[i]} & endless:
            rows.append((name, FAILED, f"your code ran longer than {limit} s, or ended the kernel"))
        else:
            rows.append((name, *_read_outcome(name, cells[answer_of[i]], cells[i])))
    return rows


def _run_cells(notebook: Any, limit: int, folder: str) -> int | None:
    """Run all cells, whatever they raise; the position of the one that does not end, or ends the kernel, else None."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    client = NotebookClient(notebook, allow_errors=True, shutdown_kernel="immediate")
    client.timeout_func = lambda cell: limit * (SLOW if cell.metadata.get("ours") else 1)
    quiet = {"stdout": open(os.devnull, "w"), "stderr": open(os.devnull, "w")}
    with quiet["stdout"], quiet["stderr"], client.setup_kernel(env=kernel_environment({}, 1), cwd=folder, **quiet):
        for i, cell in enumerate(notebook.cells):
            try:
                if cell.cell_type == "code" and cell.source:
                    client.execute_cell(cell, i)
            except (CellTimeoutError, DeadKernelError):
                return i
    return None


def _read_outcome(name: str, answer: Any, check: Any) -> tuple[str, str]:
    """(outcome, hint) of an exercise: what its check printed last, or the error that kept it from printing."""
    printed = "".join(o.text for o in check.outputs if o.output_type == "stream" and o.name == "stdout")
    said = (printed.splitlines() or [""])[-1].removeprefix(f"{name} ")
    if said == PASSED:
        return PASSED, ""
    errors = [o for cell in (answer, check) for o in cell.outputs if o.output_type == "error"]
    if errors:
        return FAILED, one_line(f"your code stopped with {errors[0].ename}: {errors[0].evalue}")
    return (NOT_ATTEMPTED, "") if said.startswith(NOT_ATTEMPTED) else (FAILED, said.removeprefix(f"{NOT_YET}: "))


def _cell_id(cell: Any) -> str:
    """The id of a cell, where Jupyter keeps it or where Colab does."""
    return cell.get("id") or cell.metadata.get("id", "")


def _is_answer(cell: Any) -> bool:
    return "answer" in cell.metadata.get("tags", [])
