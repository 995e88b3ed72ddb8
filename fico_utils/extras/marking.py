"""Marks the exercise notebooks that students hand back, with nothing done by hand.

Of a student's notebook, the answers count, and code cells that were added. Every other cell is put back as it was
handed out, so that an edited check changes nothing. What runs is the student's code, with the rights of whoever marks.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError
from fico_utils.escaping import HALF_LETTER, one_line
from fico_utils.extras.exercises import NOT_ATTEMPTED, NOT_YET, PASSED
from fico_utils.provenance import project_path
from fico_utils.workspace import kernel_environment

COLUMNS = ("student", "exercise", "outcome", "hint")
FAILED = "failed"
_CHECK = re.compile(r'@exercises\.check\("([\d.]+)"')


def mark_folders(folders: Sequence[str], limit: int, say: Callable[[str], None]) -> Iterator[list[str]]:
    """Rows of the `COLUMNS`, one for each student and exercise: ``passed``, ``failed`` and why, or ``not attempted``.

    Each folder is one student's, who is called as it is. `limit` is the seconds that a cell of theirs may take; our own
    take what they need. `say` is called with a line for each student. InputError where one is no folder.
    """
    handed_out = sorted((project_path("notebooks") / "exercises").glob("*.ipynb"))
    places = [Path(folder).resolve() for folder in folders]
    for place in places:
        if not place.is_dir():
            raise InputError(f"{place} is no folder; expected a folder for each student, with exercises/ in it")
    # one folder for all, so that vectors are made once; what is kept there is checked when it is read
    with tempfile.TemporaryDirectory() as results:
        for place in places:
            rows = [row for path in handed_out for row in _mark_notebook(place, path, limit, results)]
            say(f"{place.name}: {sum(row[1] == PASSED for row in rows)} of {len(rows)} exercises passed")
            yield from ([place.name, *row] for row in rows)


def _mark_notebook(place: Path, path: Path, limit: int, results: str) -> list[tuple[str, str, str]]:
    """(exercise, outcome, hint) for each exercise of the notebook that was handed out as `path`."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    names = [_CHECK.match(cell.source)[1] for cell in notebook.cells if _has_tag(cell, "check")]
    theirs = [place / folder / path.name for folder in ("notebooks/exercises", "exercises", "")]
    found = [file for file in theirs if file.is_file()]
    if not found:
        return [(name, NOT_ATTEMPTED, f"there is no {path.name}") for name in names]
    for cell in notebook.cells:
        cell.metadata["ours"] = not (_has_tag(cell, "answer") or _has_tag(cell, "check"))
        if _has_tag(cell, "parameters"):
            cell.source += f"\nout_dir = {results!r}"
    try:
        notebook.cells = merge_answers(notebook.cells, nbformat.read(found[0], as_version=4).cells)
    except Exception as error:  # whatever a file that is no notebook makes of the reader
        return [(name, FAILED, f"{path.name} is not the exercise any more ({type(error).__name__})") for name in names]
    return _run_checks(notebook, limit, results)


def merge_answers(ours: Sequence[Any], theirs: Sequence[Any]) -> list[Any]:
    """The cells of `ours`, with the answers of `theirs` and, where these stand, the code cells that they added.

    KeyError where none of the cells to fill is left, TypeError where the code of a cell is no text.
    """
    import nbformat

    known, answers, added, waiting = {cell.id for cell in ours}, {}, {}, []
    for cell in theirs:
        name = cell.get("id") or cell.metadata.get("id", "")  # where Jupyter keeps it, or where Colab does
        if name in known:
            answers[name], added[name], waiting = _code_of(cell), waiting, []
        elif cell.cell_type == "code":
            waiting.append(nbformat.v4.new_code_cell(_code_of(cell)))
    fill = [cell for cell in ours if _has_tag(cell, "answer")]
    if answers.keys().isdisjoint(cell.id for cell in fill):
        raise KeyError("no cell to fill")
    for cell in fill:
        cell.source = answers.get(cell.id, cell.source)
    return [cell for own in ours for cell in (*added.get(own.id, ()), own)]


def _code_of(cell: Any) -> str:
    """The code of a cell that a student wrote; half characters, which no kernel takes, are replaced."""
    return HALF_LETTER.sub("\ufffd", cell.source)


def _has_tag(cell: Any, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def _run_checks(notebook: Any, limit: int, folder: str) -> list[tuple[str, str, str]]:
    """(exercise, outcome, hint) after all cells have run; a cell that does not end is emptied, and all run again."""
    cells, answer, exercises = notebook.cells, 0, {}
    for i, cell in enumerate(cells):
        answer = i if _has_tag(cell, "answer") else answer
        if _has_tag(cell, "check"):
            exercises[i] = _CHECK.match(cell.source)[1], answer
    endless = set()
    while (i := _run_cells(notebook, limit, folder)) is not None:
        i = exercises[i][1] if i in exercises and exercises[i][1] not in endless else i
        endless.add(i)
        cells[i].source = ""
    late = FAILED, f"your code ran longer than {limit} s, or ended the kernel"
    return [
        (name, *(late if {i, answer} & endless else _outcome(name, cells[answer], cells[i])))
        for i, (name, answer) in exercises.items()
    ]


def _run_cells(notebook: Any, limit: int, folder: str) -> int | None:
    """Run all cells, whatever they raise; the position of the one that does not end, or ends the kernel, else None."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    client = NotebookClient(notebook, allow_errors=True, shutdown_kernel="immediate")
    client.timeout_func = lambda cell: None if cell.metadata.get("ours") else limit
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with client.setup_kernel(env=kernel_environment({}, 1), cwd=folder, **quiet):
        for i, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, i)  # of no effect where it is text, or empty
            except (CellTimeoutError, DeadKernelError):
                return i
    return None


def _outcome(name: str, answer: Any, check: Any) -> tuple[str, str]:
    """(outcome, hint) of an exercise: what its check printed last, or the error that kept it from printing."""
    printed = "".join(o.text for o in check.outputs if o.output_type == "stream" and o.name == "stdout")
    said = (printed.splitlines() or [""])[-1].removeprefix(f"{name} ")
    if said == PASSED:
        return PASSED, ""
    errors = [o for cell in (answer, check) for o in cell.outputs if o.output_type == "error"]
    if errors:
        return FAILED, one_line(f"your code stopped with {errors[0].ename}: {errors[0].evalue}")
    return (
        (NOT_ATTEMPTED, "") if said.startswith(NOT_ATTEMPTED) else (FAILED, one_line(said.removeprefix(f"{NOT_YET}: ")))
    )
